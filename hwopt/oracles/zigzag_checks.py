"""What ZigZag would take without a word, and should not: checked before anything is measured.

ZigZag cuts a mapping that is wider than the array down silently, ignores array dimensions that do
not exist, and falls back to a default entry; each changes what a measurement means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any, TypeGuard

from hwopt.oracles.zigzag_yaml import Keys, Source
from hwopt.wording import guess

OPERANDS = ("I1", "I2", "O")
LOOPS = ("B", "C", "D", "FX", "FY", "G", "H", "K", "OX", "OY")  # of the layers that hwopt writes
DEFAULT = "default"
_LINKS = ("I", "W", "O")
_DIM = re.compile(r"D[1-4]")
_ALLOCATION = re.compile(r"(I1|I2|O), (fh|tl|fl|th)")
_LOOP = re.compile(r"([A-Z]+), ([1-9][0-9]*)")
_WRITES = ("fh", "fl")  # what a memory takes in, from the level above and below

Loops = Sequence[tuple[str, int]]


def check_accelerator(source: Source) -> dict[str, int]:
    """The sizes of the array's dimensions, once array and memories hold together.

    Raises BadInput naming file and line.
    """
    table = source.data
    if not isinstance(table, Mapping):
        raise source.refuse((), "an accelerator is a table with 'operational_array' and 'memories'")
    sizes = _array(source, table.get("operational_array"))
    memories = table.get("memories")
    if not isinstance(memories, Mapping) or not memories:
        raise source.refuse(("memories",), "'memories' must be a table of memories, innermost first")
    for name, memory in memories.items():
        _memory(source, ("memories", str(name)), memory, sizes)
    for operand in OPERANDS:
        _reachable(source, operand, memories, sizes)
    return sizes


def _array(source: Source, array: Any) -> dict[str, int]:
    keys: Keys = ("operational_array",)
    if not isinstance(array, Mapping):
        raise source.refuse(keys, "'operational_array' with 'dimensions' and 'sizes' is missing")
    dims, sizes = array.get("dimensions"), array.get("sizes")
    if not isinstance(dims, list) or not isinstance(sizes, list) or len(dims) != len(sizes) or not dims:
        raise source.refuse((*keys, "sizes"), "operational_array needs as many sizes as dimensions")
    for index, (dim, size) in enumerate(zip(dims, sizes, strict=True)):
        if not _DIM.fullmatch(str(dim)) or dims.index(dim) != index:
            says = f"dimension '{dim}': dimensions are D1, D2, D3, D4, each once"
            raise source.refuse((*keys, "dimensions", index), says)
        if not _is_count(size):
            raise source.refuse((*keys, "sizes", index), f"size {size!r} of {dim} must be a positive integer")
    return {str(dim): int(size) for dim, size in zip(dims, sizes, strict=True)}


def _memory(source: Source, keys: Keys, memory: Any, sizes: Mapping[str, int]) -> None:
    if not isinstance(memory, Mapping):
        raise source.refuse(keys, f"memory '{keys[-1]}' must be a table")
    if not _is_count(memory.get("size")):
        raise source.refuse((*keys, "size"), f"'size' of '{keys[-1]}' must be its bits, a positive integer")
    for cost in ("r_cost", "w_cost", "area", "latency"):
        if not _is_number(memory.get(cost)) and not memory.get("auto_cost_extraction"):
            raise source.refuse((*keys, cost), f"'{cost}' of '{keys[-1]}' must be a number, 0 where unknown")
    operands = _list(source, (*keys, "operands"), memory)
    for index, operand in enumerate(operands):
        if operand not in OPERANDS:
            raise source.refuse((*keys, "operands", index), _unknown("operand", operand, OPERANDS))
    for index, dim in enumerate(_list(source, (*keys, "served_dimensions"), memory, empty=True)):
        if dim not in sizes:
            raise source.refuse((*keys, "served_dimensions", index), _unknown("dimension", dim, sizes))
    ports = _list(source, (*keys, "ports"), memory)
    for index, port in enumerate(ports):
        _port(source, (*keys, "ports", index), port, operands)
    for operand in operands:
        _served(source, keys, operand, ports)


def _port(source: Source, keys: Keys, port: Any, operands: Sequence[str]) -> None:
    if not isinstance(port, Mapping) or port.get("type") not in ("read", "write", "read_write"):
        raise source.refuse(keys, "a port needs a 'type': read, write or read_write")
    least, most = port.get("bandwidth_min"), port.get("bandwidth_max")
    if not _is_count(least) or not _is_count(most) or least > most:
        says = f"bandwidths {least!r} to {most!r} must be bits a cycle, positive integers, the smaller first"
        raise source.refuse((*keys, "bandwidth_min"), says)
    for index, item in enumerate(_list(source, (*keys, "allocation"), port, empty=True)):
        found, at = _ALLOCATION.fullmatch(str(item)), (*keys, "allocation", index)
        if found is None:
            raise source.refuse(
                at, f"allocation '{item}' must be like 'I1, tl': operand, then fh, tl, fl or th"
            )
        if found[1] not in operands:
            raise source.refuse(at, f"'{item}': the memory does not hold {found[1]}")
        wrong = "read" if found[2] in _WRITES else "write"
        if port["type"] == wrong:
            raise source.refuse(at, f"'{item}' does not go through a port of type {wrong}")


def _served(source: Source, keys: Keys, operand: str, ports: Sequence[Mapping[str, Any]]) -> None:
    """Data must get from the memory towards the array, and results from the array into it."""
    given = {str(item) for port in ports for item in port["allocation"]}
    for direction in ("tl", "fl") if operand == "O" else ("tl",):
        if f"{operand}, {direction}" not in given:
            says = f"no port of '{keys[-1]}' is allocated to '{operand}, {direction}'"
            raise source.refuse((*keys, "ports"), says)


def _reachable(source: Source, operand: str, memories: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    holding = [name for name, memory in memories.items() if operand in memory["operands"]]
    if not holding:
        raise source.refuse(("memories",), f"no memory holds {operand}, so it has nowhere to come from")
    open_dims = [dim for dim in sizes if dim not in memories[holding[-1]]["served_dimensions"]]
    if open_dims:
        says = (
            f"'{holding[-1]}', the outermost memory of {operand}, does not serve {', '.join(open_dims)}: "
            "ZigZag would count it once per unit of these"
        )
        raise source.refuse(("memories", holding[-1], "served_dimensions"), says)


def check_mapping(source: Source, sizes: Mapping[str, int]) -> dict[str, dict[str, Loops]]:
    """Spatial mapping of every entry (array dimension to unrolled loops) once each fits the array.

    Raises BadInput naming file and line.
    """
    if not isinstance(source.data, list):
        raise source.refuse((), "not a ZigZag mapping: a list of entries with 'name' and 'spatial_mapping'")
    entries: dict[str, dict[str, Loops]] = {}
    for index, entry in enumerate(source.data):
        if not isinstance(entry, Mapping) or "name" not in entry:
            raise source.refuse((index,), "not a ZigZag mapping: an entry needs a 'name'")
        name = str(entry["name"])
        if name in entries:
            raise source.refuse((index, "name"), f"there are two entries named '{name}'")
        entries[name] = _unrolling(source, (index, "spatial_mapping"), entry, sizes)
        _links(source, (index, "memory_operand_links"), entry.get("memory_operand_links"))
    if DEFAULT not in entries:
        raise source.refuse((), f"has no entry named '{DEFAULT}'")
    return entries


def _unrolling(
    source: Source, keys: Keys, entry: Mapping[str, Any], sizes: Mapping[str, int]
) -> dict[str, Loops]:
    table = entry.get("spatial_mapping") or {}
    if not isinstance(table, Mapping):
        raise source.refuse(keys, "not a ZigZag mapping: 'spatial_mapping' holds lines like 'D1: [\"K, 8\"]'")
    found: dict[str, Loops] = {}
    for dim, loops in table.items():
        at = (*keys, str(dim))
        if dim not in sizes:
            says = f"entry '{entry['name']}' maps to {dim}, but the array has {', '.join(sizes)}"
            raise source.refuse(at, says)
        found[str(dim)] = [_loop(source, at, item) for item in loops if isinstance(loops, list)]
        width = prod(factor for _, factor in found[str(dim)])
        if width > sizes[dim]:
            says = f"entry '{entry['name']}' unrolls {width} along {dim}, but the array has {sizes[dim]}"
            raise source.refuse(at, says)
    return found


def _loop(source: Source, keys: Keys, item: object) -> tuple[str, int]:
    found = _LOOP.fullmatch(str(item))
    if found is None:
        raise source.refuse(keys, f"not a ZigZag mapping: '{item}' must be a loop and a number, like 'K, 8'")
    if found[1] not in LOOPS:
        raise source.refuse(keys, _unknown("loop", found[1], LOOPS))
    return found[1], int(found[2])


def _links(source: Source, keys: Keys, links: Any) -> None:
    """Each operand of a layer is held by an operand of the memories, each by its own."""
    if links is None:
        return
    if not isinstance(links, Mapping) or set(links) != set(_LINKS):
        raise source.refuse(keys, "memory_operand_links must link I, W and O, e.g. I: I1, W: I2, O: O")
    for name in _LINKS:
        if links[name] not in OPERANDS:
            raise source.refuse((*keys, name), _unknown("memory operand", links[name], OPERANDS))
    if len(set(links.values())) != len(_LINKS) or links["O"] != "O":
        raise source.refuse(keys, "memory_operand_links: I and W go to I1 and I2, each to its own, O to O")


def _list(source: Source, keys: Keys, table: Mapping[str, Any], empty: bool = False) -> list[Any]:
    found = table.get(str(keys[-1]))
    if not isinstance(found, list) or not (found or empty):
        raise source.refuse(keys, f"'{keys[-1]}' of '{keys[-2]}' must be a list")
    return found


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _unknown(kind: str, name: object, known: Iterable[str]) -> str:
    words = list(known)
    return f"unknown {kind} '{name}': {guess(str(name), words)}there is {', '.join(words)}"
