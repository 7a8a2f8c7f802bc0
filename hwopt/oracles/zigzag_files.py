"""The two yaml files of a ZigZag target: found, read, and checked against each other.

ZigZag cuts a mapping that is wider than the array down without a word, and a mapping without an
entry for an operator falls back to the default one. Both change what a measurement means, so
they are refused here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from hwopt.errors import BadInput
from hwopt.target import Target

_DEFAULT = "default"
_OWN_ENTRY = frozenset({"Add", "Pooling"})  # the default entry is made for products, not for these


@dataclass(frozen=True)
class Description:
    """An accelerator and its mapping, checked.

    entries: names in the mapping file. depthwise: the entry that depthwise convolutions use.
    fingerprint: SHA-256 of both files' text and the options.
    """

    accelerator: Path
    mapping: Path
    entries: frozenset[str]
    depthwise: str
    lpf_limit: int
    fingerprint: str

    def has_mapping(self, operator: str) -> bool:
        """Whether the mapping file says how this operator is spread over the array."""
        return operator not in _OWN_ENTRY or operator in self.entries

    def request(self, layer_json: str) -> bytes:
        """What a worker is sent for one layer."""
        table = {
            "accelerator": str(self.accelerator),
            "mapping": str(self.mapping),
            "depthwise": self.depthwise,
            "lpf_limit": self.lpf_limit,
            "layer": json.loads(layer_json),
        }
        return json.dumps(table).encode()


def read_description(target: Target) -> Description:
    """Reads the files that the target's oracle options name.

    Raises BadInput naming the option or the file at fault, ImportError without zigzag.
    """
    accelerator = _file(target, "accelerator", "hardware")
    mapping = _file(target, "mapping", "mapping")
    sizes = _array_sizes(_yaml(accelerator), accelerator)
    entries = _entries(_yaml(mapping), mapping)
    for name, unrolling in entries.items():
        _check_fits(name, unrolling, sizes, mapping)
    depthwise = _depthwise(target, entries)
    limit = _lpf_limit(target)
    texts = [accelerator.read_text("utf-8"), mapping.read_text("utf-8"), depthwise, str(limit)]
    fingerprint = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    return Description(accelerator, mapping, frozenset(entries), depthwise, limit, fingerprint)


def _option(target: Target, name: str, wanted: str) -> object:
    if name not in target.oracle.options:
        raise BadInput(f"target '{target.name}': [oracle.options] lacks '{name}': give {wanted}")
    return target.oracle.options[name]


def _file(target: Target, option: str, stock_folder: str) -> Path:
    """A yaml file inside the target's folder, else the stock one of that name."""
    name = str(_option(target, option, "a stock name of zigzag or a yaml file in the target's folder"))
    if name.endswith((".yaml", ".yml")):
        own = (target.folder / name).resolve()
        if not own.is_relative_to(target.folder.resolve()) or not own.is_file():
            raise BadInput(f"target '{target.name}': {option} '{name}' is no file in {target.folder}")
        return own
    folder = _package_folder() / "inputs" / stock_folder
    stock = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in stock:
        raise BadInput(
            f"target '{target.name}': zigzag has no {option} '{name}'; there is {', '.join(stock)}"
        )
    return folder / f"{name}.yaml"


def _package_folder() -> Path:
    """Where zigzag is installed, found without importing it (that takes a second)."""
    spec = importlib.util.find_spec("zigzag")
    if spec is None or spec.origin is None:
        raise ImportError("no module named 'zigzag'")
    return Path(spec.origin).parent


def _yaml(path: Path) -> Any:
    import yaml  # type: ignore[import-untyped]  # comes with zigzag-dse, not with hwopt

    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not valid yaml: {' '.join(str(error).split())}") from None


def _array_sizes(table: Any, path: Path) -> dict[str, int]:
    """Sizes of the array's dimensions, by name."""
    try:
        array = table["operational_array"]
        return {str(d): int(s) for d, s in zip(array["dimensions"], array["sizes"], strict=True)}
    except (KeyError, TypeError, ValueError):
        raise BadInput(f"{path}: operational_array needs as many sizes as dimensions") from None


def _entries(table: Any, path: Path) -> dict[str, dict[str, list[tuple[str, int]]]]:
    """Spatial mapping of every entry: array dimension to unrolled loops."""
    try:
        entries = {str(e["name"]): e.get("spatial_mapping") or {} for e in table}
        read = {
            name: {str(d): [_loop(x) for x in loops] for d, loops in e.items()} for name, e in entries.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{path}: not a ZigZag mapping ({error}): entries like 'D1: [\"K, 8\"]'") from None
    if _DEFAULT not in read:
        raise BadInput(f"{path}: has no entry named '{_DEFAULT}'")
    return read


def _unrolling(table: Mapping[str, list[object]]) -> dict[str, list[tuple[str, int]]]:
    return {str(dim): [_loop(loop) for loop in loops] for dim, loops in table.items()}


def _loop(text: object) -> tuple[str, int]:
    name, _, factor = str(text).partition(",")
    return name.strip(), int(factor)


def _check_fits(
    name: str, unrolling: Mapping[str, list[tuple[str, int]]], sizes: Mapping[str, int], path: Path
) -> None:
    """Refuses what ZigZag would silently cut down to the array."""
    for dim, loops in unrolling.items():
        width = prod(factor for _, factor in loops)
        if dim not in sizes:
            raise BadInput(f"{path}: entry '{name}' maps to {dim}, but the array has {', '.join(sizes)}")
        if not 1 <= width <= sizes[dim]:
            raise BadInput(
                f"{path}: entry '{name}' unrolls {width} along {dim}, but the array has {sizes[dim]}"
            )


def _depthwise(target: Target, entries: Mapping[str, object]) -> str:
    """The entry for depthwise convolutions: their cost hangs on it more than on anything else."""
    name = str(_option(target, "depthwise_mapping", "the mapping's entry that depthwise convolutions use"))
    if name not in entries:
        known = ", ".join(sorted(entries))
        raise BadInput(
            f"target '{target.name}': depthwise_mapping '{name}' is no entry of the mapping: {known}"
        )
    return name


def _lpf_limit(target: Target) -> int:
    limit = _option(target, "lpf_limit", "how many temporal loops ZigZag orders, e.g. 4")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise BadInput(f"target '{target.name}': lpf_limit is {limit!r}: it must be a positive whole number")
    return limit
