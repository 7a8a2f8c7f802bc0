"""ZigZag's tables for an accelerator that target.toml describes by itself, without yaml files.

What the tables of target.toml say becomes the usual machine: an array that unrolls the loops of
[hardware].array, a register of weights per unit (shared by the units that need the same weight),
partial sums per lane of the array (shared along the dimensions that are summed up), then the
[[memory]] levels, innermost first. On-chip levels have a port for reads and one for writes, the
outermost one port for both. Energies are not known there, so none are reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from hwopt.errors import BadInput
from hwopt.oracles.zigzag_checks import DEFAULT
from hwopt.oracles.zigzag_yaml import Keys, Source
from hwopt.target.file import FILE_NAME, Memory, Target
from hwopt.target.toml_lines import line_of, lines_of
from hwopt.wording import unknown

DEPTHWISE = "Depthwise"  # the generated entry for depthwise convolutions
_LOOP_OF = {"out_channels": "K", "in_channels": "C", "out_width": "OX", "out_height": "OY"}
_DEPTHWISE_LOOPS = {
    "groups": "G", "out_width": "OX", "out_height": "OY", "kernel_width": "FX", "kernel_height": "FY",
}  # fmt: skip
_IDLE = "-"
_SAME_WEIGHT = ("OX", "OY")  # units along these use one weight
_SAME_SUM = ("C",)  # units along these add to one sum
_GRANULE_BITS = 64
_WEIGHTS_KEPT = 2  # by default: one at work, the next one loading
_SUMS_KEPT = 64  # by default, of twice an element each: a row of pixels or so
_NO_COST = 1.0  # ZigZag wants energies; equal ones let it choose by time alone


def generate(target: Target) -> tuple[Source, Source]:
    """The accelerator and the mapping that target.toml describes.

    Raises BadInput with the line of target.toml that does not hold together.
    """
    if not target.array or prod(target.array.values()) != target.macs_per_cycle:
        says = (
            f"without a yaml file the array is generated: hardware.array must multiply to "
            f"macs_per_cycle = {target.macs_per_cycle}, it gives {prod(target.array.values())}"
        )
        raise refuse(target, ("hardware", "array"), says)
    if len(target.memories) < 2:
        says = "without a yaml file the memories are generated: give the on-chip memory and the outermost one"
        raise refuse(target, ("memory",), says)
    dims = {f"D{index}": name for index, name in enumerate(target.array, 1)}
    name = str(target.folder / FILE_NAME)
    accelerator = Source(name, {"name": target.name, **_accelerator(target, dims)}, {})
    return accelerator, Source(name, _mapping(target, dims), {})


def refuse(target: Target, keys: Keys, says: str) -> BadInput:
    """The error for what target.toml says under these keys, with its line."""
    path = target.folder / FILE_NAME
    try:
        line = f":{line_of(lines_of(path.read_text('utf-8')), keys)}"
    except (OSError, ValueError):
        line = ""
    return BadInput(f"{path}{line}: {says}")


def _accelerator(target: Target, dims: Mapping[str, str]) -> dict[str, Any]:
    weight_buffer = _weight_buffer(target)
    operands = ["I1", "O"] if weight_buffer else ["I1", "I2", "O"]
    memories = {**_registers(target, dims)}
    if weight_buffer is not None:
        memories["weight_buffer"] = _on_chip(weight_buffer, ["I2"], list(dims))
    for memory in target.memories[:-1]:
        memories[memory.name] = _on_chip(memory, operands, list(dims))
    outermost = target.memories[-1]
    bits = _bits(outermost.bytes_per_cycle)
    port = _port("rw_port_1", "read_write", bits, _flows(["I1", "I2", "O"], ("fh", "tl", "fl", "th")), bits)
    memories[outermost.name] = _memory(outermost.bytes, ["I1", "I2", "O"], list(dims), [port])
    array = {"unit_energy": _NO_COST, "unit_area": 1.0, "dimensions": list(dims)}
    return {"memories": memories, "operational_array": {**array, "sizes": list(target.array.values())}}


def _weight_buffer(target: Target) -> Memory | None:
    options = target.oracle.options
    size, rate = options.get("weight_buffer_bytes"), options.get("weight_buffer_bytes_per_cycle")
    if size is None and rate is None:
        return None
    for name, value in (("weight_buffer_bytes", size), ("weight_buffer_bytes_per_cycle", rate)):
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            says = f"{name} must be a positive number; a weight buffer needs its bytes and bytes per cycle"
            raise refuse(target, ("oracle", "options", name), says)
    return Memory("weight_buffer", int(float(size or 0)), float(rate or 0))


def _registers(target: Target, dims: Mapping[str, str]) -> dict[str, Any]:
    """Weights and partial sums beside the array."""
    element = 8 * target.element_bytes
    same_weight = [dim for dim, name in dims.items() if _LOOP_OF[name] in _SAME_WEIGHT]
    same_sum = [dim for dim, name in dims.items() if _LOOP_OF[name] in _SAME_SUM]
    weights = [
        _port("r_port_1", "read", element, ["I2, tl"]),
        _port("w_port_1", "write", element, ["I2, fh"]),
    ]
    # Four ports, as sums are read and written on both sides.
    flows = {"tl": "r_port_1", "th": "r_port_2", "fh": "w_port_1", "fl": "w_port_2"}
    sums = [
        _port(port, "read" if port.startswith("r") else "write", 2 * element, [f"O, {flow}"])
        for flow, port in flows.items()
    ]
    return {
        "weight_register": _memory(
            _size(target, "weight_register_bytes", 1, _WEIGHTS_KEPT), ["I2"], same_weight, weights
        ),
        "accumulator": _memory(_size(target, "accumulator_bytes", 2, _SUMS_KEPT), ["O"], same_sum, sums),
    }


def _size(target: Target, option: str, elements: int, kept: int) -> int:
    """Bytes of a register: as the option says, else for `kept` values of so many elements each."""
    least = elements * target.element_bytes
    value = target.oracle.options.get(option, kept * least)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        says = f"{option} is {value}: at {target.precision} it holds {least} bytes or more"
        raise refuse(target, ("oracle", "options", option), says)
    return value


def _on_chip(memory: Memory, operands: list[str], dims: list[str]) -> dict[str, Any]:
    bits = _bits(memory.bytes_per_cycle)
    read = _port("r_port_1", "read", bits, _flows(operands, ("tl", "th")))
    write = _port("w_port_1", "write", bits, _flows(operands, ("fh", "fl")))
    return _memory(memory.bytes, operands, dims, [read, write])


def _flows(operands: list[str], directions: tuple[str, ...]) -> list[str]:
    """Only results travel from below and to above."""
    return [
        f"{operand}, {direction}"
        for operand in operands
        for direction in directions
        if operand == "O" or direction in ("fh", "tl")
    ]


def _port(name: str, kind: str, bits: int, allocation: list[str], least: int | None = None) -> dict[str, Any]:
    least = min(_GRANULE_BITS, bits) if least is None else least
    return {
        "name": name, "type": kind, "bandwidth_min": least, "bandwidth_max": bits, "allocation": allocation,
    }  # fmt: skip


def _memory(size: int, operands: list[str], dims: list[str], ports: list[dict[str, Any]]) -> dict[str, Any]:
    costs = {"r_cost": _NO_COST, "w_cost": _NO_COST, "area": 0.0, "latency": 1}
    return {"size": 8 * size, **costs, "operands": operands, "ports": ports, "served_dimensions": dims}


def _bits(bytes_per_cycle: float) -> int:
    return max(round(8 * bytes_per_cycle), 1)


def _mapping(target: Target, dims: Mapping[str, str]) -> list[dict[str, Any]]:
    """Entries for convolutions, depthwise ones, products of matrices, additions and poolings."""
    sizes = dict(zip(dims, target.array.values(), strict=True))
    default = {dim: [f"{_LOOP_OF[name]}, {sizes[dim]}"] for dim, name in dims.items()}
    rows = [dim for dim, name in dims.items() if _LOOP_OF[name] in _SAME_WEIGHT][:1]
    gemm = {
        dim: [f"D, {sizes[dim]}"]
        if dim in rows
        else ["C, 1"]
        if _LOOP_OF[name] in _SAME_WEIGHT
        else default[dim]
        for dim, name in dims.items()
    }
    lanes = next((dim for dim, name in dims.items() if name == "out_channels"), next(iter(dims)))
    vector = {dim: [f"G, {sizes[dim]}"] if dim == lanes else ["C, 1"] for dim in dims}
    depthwise = _depthwise(target, sizes)
    entries = {
        DEFAULT: default,
        DEPTHWISE: depthwise or default,
        "Gemm": gemm,
        "Add": vector,
        "Pooling": vector,
    }
    links = {"O": "O", "W": "I2", "I": "I1"}
    return [
        {"name": name, "spatial_mapping": unrolling, "memory_operand_links": links}
        for name, unrolling in entries.items()
    ]


def _depthwise(target: Target, sizes: Mapping[str, int]) -> dict[str, list[str]] | None:
    """What each dimension of the array does in a depthwise convolution; None: as in any other."""
    written = str(target.oracle.options.get("depthwise_mapping", ""))
    if written.strip() == DEFAULT:
        return None
    words = [word.split() for word in written.split(",")]
    keys: Keys = ("oracle", "options", "depthwise_mapping")
    if len(words) != len(sizes) or not all(words):
        example = ", ".join(["groups", *["-"] * (len(sizes) - 1)])
        says = (
            f"depthwise_mapping '{written}' must say for each of {', '.join(target.array)} what it does: "
            f'{", ".join(_DEPTHWISE_LOOPS)} or - (idle), e.g. "{example}"'
        )
        raise refuse(target, keys, says)
    found = {}
    for (dim, size), word in zip(sizes.items(), words, strict=True):
        found[dim] = ["C, 1"] if word == [_IDLE] else [_depthwise_loop(target, keys, word, size)]
    return found


def _depthwise_loop(target: Target, keys: Keys, word: list[str], size: int) -> str:
    if word[0] not in _DEPTHWISE_LOOPS:
        raise refuse(
            target, keys, f"depthwise_mapping: {unknown('loop', word[0], [*_DEPTHWISE_LOOPS, _IDLE])}"
        )
    width = word[1] if len(word) == 2 else str(size)
    if len(word) > 2 or not width.isdecimal() or not 1 <= int(width) <= size:
        says = f"depthwise_mapping: '{' '.join(word)}' does not fit a dimension of {size} units"
        raise refuse(target, keys, says)
    return f"{_DEPTHWISE_LOOPS[word[0]]}, {width}"
