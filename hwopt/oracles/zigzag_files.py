"""What describes a ZigZag target: two yaml files or target.toml itself, found, read and checked.

A description that does not hold together is refused before anything is measured: see
hwopt.oracles.zigzag_checks for what ZigZag would take without a word.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose, prod
from pathlib import Path
from typing import Any

from hwopt.oracles.zigzag_checks import DEFAULT, Loops, check_accelerator, check_mapping
from hwopt.oracles.zigzag_generate import DEPTHWISE, generate, refuse
from hwopt.oracles.zigzag_yaml import Source, read_yaml
from hwopt.target import Target
from hwopt.wording import unknown

_OWN_ENTRY = frozenset({"Add", "Pooling"})  # the default entry is made for products, not for these
_FOR_GENERATED = (
    "weight_buffer_bytes",
    "weight_buffer_bytes_per_cycle",
    "weight_register_bytes",
    "accumulator_bytes",
)
_GENERATOR_VERSION = 1
_DEFAULT_LPF_LIMIT = 4
_SAME_RATE = 0.01  # bytes a cycle in target.toml and bits a cycle in the file may be rounded


@dataclass(frozen=True)
class Description:
    """An accelerator and its mapping, checked.

    accelerator, mapping: ZigZag's own tables. entries: names in the mapping. depthwise: the entry
    that depthwise convolutions use. locality: whether layers keep activations on chip for the
    next one. energy: whether the description knows energies. fingerprint: SHA-256 of everything
    here that decides the cost of a layer, except locality, which layers carry themselves.
    """

    accelerator: Mapping[str, Any]
    mapping: Sequence[Mapping[str, Any]]
    entries: frozenset[str]
    depthwise: str
    lpf_limit: int
    locality: bool
    energy: bool
    fingerprint: str

    def has_mapping(self, operator: str) -> bool:
        """Whether the mapping says how this operator is spread over the array."""
        return operator not in _OWN_ENTRY or operator in self.entries

    def request(self, layer: Mapping[str, Any], accelerator: Mapping[str, Any] | None = None) -> bytes:
        """What a worker is sent for one layer; on another accelerator where levels are cut off."""
        memories: Mapping[str, Any] = self.accelerator["memories"]
        outermost = {operand: name for name, memory in memories.items() for operand in memory["operands"]}
        table = {
            "accelerator": json.dumps(accelerator or self.accelerator),
            "mapping": json.dumps(self.mapping),
            "outermost": outermost,
            "depthwise": self.depthwise,
            "lpf_limit": self.lpf_limit,
            "layer": layer,
        }
        return json.dumps(table).encode()


def read_description(target: Target) -> Description:
    """Reads the files that the target's oracle options name, or generates what they would say.

    Raises BadInput naming the file and line at fault, ImportError without zigzag.
    """
    folder = _package_folder()
    accelerator, mapping = _sources(target, folder)
    sizes = check_accelerator(accelerator)
    entries = check_mapping(mapping, sizes)
    generated = not accelerator.text
    if not generated:
        _check_agreement(target, accelerator, sizes)
    depthwise = _depthwise(target, mapping, entries, sizes, generated)
    limit = _lpf_limit(target)
    return Description(
        accelerator=accelerator.data,
        mapping=mapping.data,
        entries=frozenset(entries),
        depthwise=depthwise,
        lpf_limit=limit,
        locality=_flag(target, "data_locality"),
        energy=not generated,
        fingerprint=_fingerprint([*_texts(accelerator, mapping), depthwise, str(limit)]),
    )


def _sources(target: Target, package: Path) -> tuple[Source, Source]:
    given = [name for name in ("accelerator", "mapping") if name in target.oracle.options]
    if not given:
        return generate(target)
    if len(given) == 1:
        says = f"[oracle.options] names only '{given[0]}': give 'accelerator' and 'mapping', or none of them"
        raise refuse(target, ("oracle", "options", given[0]), says)
    for name in _FOR_GENERATED:
        if name in target.oracle.options:
            says = (
                f"'{name}' is for accelerators that target.toml describes itself: here the yaml file decides"
            )
            raise refuse(target, ("oracle", "options", name), says)
    paths = [
        _file(target, option, package / "inputs" / folder)
        for option, folder in (("accelerator", "hardware"), ("mapping", "mapping"))
    ]
    accelerator, mapping = (read_yaml(path, twice=path.is_relative_to(package)) for path in paths)
    return accelerator, mapping


def _texts(accelerator: Source, mapping: Source) -> list[str]:
    if accelerator.text:
        return [accelerator.text, mapping.text]
    return [f"generated {_GENERATOR_VERSION}", json.dumps(accelerator.data), json.dumps(mapping.data)]


def _fingerprint(texts: list[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _file(target: Target, option: str, stock_folder: Path) -> Path:
    """A yaml file inside the target's folder, else the stock one of that name."""
    name = str(target.oracle.options[option])
    keys = ("oracle", "options", option)
    if name.endswith((".yaml", ".yml")):
        own = (target.folder / name).resolve()
        if not own.is_relative_to(target.folder.resolve()) or not own.is_file():
            raise refuse(target, keys, f"{option} '{name}' is no file in {target.folder}")
        return own
    stock = sorted(path.stem for path in stock_folder.glob("*.yaml"))
    if name not in stock:
        says = f"{unknown(option, name, stock)}; or give a yaml file in the target's folder"
        raise refuse(target, keys, f"zigzag: {says}")
    return stock_folder / f"{name}.yaml"


def _package_folder() -> Path:
    """Where zigzag is installed, found without importing it (that takes a second)."""
    spec = importlib.util.find_spec("zigzag")
    if spec is None or spec.origin is None:
        raise ImportError("no module named 'zigzag'")
    return Path(spec.origin).parent


def _check_agreement(target: Target, accelerator: Source, sizes: Mapping[str, int]) -> None:
    """Refuses a target.toml that says something else than its accelerator file."""
    units = prod(sizes.values())
    if target.macs_per_cycle != units:
        says = (
            f"macs_per_cycle is {target.macs_per_cycle}, but the array of {accelerator.name} has "
            f"{' x '.join(map(str, sizes.values()))} = {units} units"
        )
        raise refuse(target, ("hardware", "macs_per_cycle"), says)
    described = {name: _size_and_rates(memory) for name, memory in accelerator.data["memories"].items()}
    for index, memory in enumerate(target.memories):
        if not any(_alike(memory.bytes, memory.bytes_per_cycle, *item) for item in described.values()):
            raise refuse(target, ("memory", index), _no_such_memory(target, index, described))


def _size_and_rates(memory: Mapping[str, Any]) -> tuple[float, set[float]]:
    """Bytes, and bytes a cycle of the ports."""
    return memory["size"] / 8, {port["bandwidth_max"] / 8 for port in memory["ports"]}


def _alike(size: float, rate: float, described: float, rates: set[float]) -> bool:
    return size == described and any(isclose(rate, other, rel_tol=_SAME_RATE) for other in rates)


def _no_such_memory(target: Target, index: int, described: Mapping[str, tuple[float, set[float]]]) -> str:
    memory = target.memories[index]
    there = "; ".join(
        f"'{name}' {size:g} bytes at {' or '.join(f'{rate:g}' for rate in sorted(rates))} a cycle"
        for name, (size, rates) in described.items()
    )
    in_bits = any(_alike(memory.bytes / 8, memory.bytes_per_cycle / 8, *item) for item in described.values())
    hint = "these are bits: target.toml counts bytes; " if in_bits else ""
    return (
        f"memory '{memory.name}' of {memory.bytes} bytes at {memory.bytes_per_cycle:g} a cycle is not in "
        f"the accelerator's file: {hint}there is {there}"
    )


def _depthwise(
    target: Target,
    mapping: Source,
    entries: Mapping[str, Mapping[str, Loops]],
    sizes: Mapping[str, int],
    generated: bool,
) -> str:
    """The entry for depthwise convolutions: their cost hangs on it more than on anything else."""
    keys = ("oracle", "options", "depthwise_mapping")
    name = str(target.oracle.options.get("depthwise_mapping", ""))
    if generated and name:
        return DEFAULT if name.strip() == DEFAULT else DEPTHWISE
    known = ", ".join(sorted(entries))
    if name not in entries:
        says = f"depthwise_mapping '{name}' is no entry of the mapping: {known}"
        if not name:
            says = (
                "[oracle.options] lacks 'depthwise_mapping': write the name of the mapping's entry that "
                f"depthwise convolutions use, one of {known}"
            )
        raise refuse(target, keys, says)
    missing = [dim for dim in sizes if dim not in entries[name]]
    if missing:
        index = [str(entry["name"]) for entry in mapping.data].index(name)
        says = (
            f"entry '{name}' is used for depthwise convolutions and must say what {', '.join(missing)} does, "
            f"e.g. '{missing[0]}: [\"C, 1\"]' for nothing"
        )
        raise mapping.refuse((index, "spatial_mapping"), says)
    return name


def _lpf_limit(target: Target) -> int:
    limit = target.oracle.options.get("lpf_limit", _DEFAULT_LPF_LIMIT)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        says = (
            f"lpf_limit is {limit!r}: how many temporal loops ZigZag orders, a positive whole number like 4"
        )
        raise refuse(target, ("oracle", "options", "lpf_limit"), says)
    return limit


def _flag(target: Target, name: str) -> bool:
    value = target.oracle.options.get(name, False)
    if not isinstance(value, bool):
        raise refuse(target, ("oracle", "options", name), f"{name} is {value!r}: it must be true or false")
    return value
