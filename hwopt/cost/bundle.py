"""The file of a cost model: a JSON header and boosters in XGBoost's UBJ format, xz-compressed.

Nothing in it can run code, and reading it parses nothing but the header: a flipped bit in a UBJ
file can crash the process that loads it, so that is done elsewhere (hwopt.cost.loading).
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from hwopt.errors import BadInput
from hwopt.files.untrusted import Data, parse_json, read_bytes, shorten, unpacked

Fits = Callable[[object], bool]

_MAGIC = b"hwopt-cost-model\n"
_UBJ = b"{L"  # an object whose first key has a length of eight bytes: as XGBoost writes it
_LARGEST_FILE = 64_000_000  # bytes; those that ship have five million
_LARGEST = 512 << 20  # bytes when unpacked
_FIT = "restore it or run `hwopt targets fit`"


@dataclass(frozen=True)
class Header:
    """What is needed beside the boosters.

    feature_version, roofline: what the features and the residual mean (a hash of the target's
        numbers that the roofline uses). streamed, context, rates: see
        hwopt.cost.features.View.
    data_sha256: the measurement file. rows: number of training rows per kind.
    spread: per kind, one standard deviation of log latency that the members cannot see;
        member_weight: by how much their disagreement is scaled; both for a file without:
    calibration, reach: JSON of hwopt.cost.uncertainty.Calibration and hwopt.cost.reach.Reach.
    tiling: see hwopt.cost.features.View. free_kinds: see hwopt.cost.free.
    extras: what the boosters behind the members are for, in order.
    """

    feature_version: int
    roofline: str
    streamed: bool
    context: bool
    rates: Mapping[str, Sequence[float]]
    data_sha256: str
    rows: Mapping[str, int]
    spread: Mapping[str, float]
    member_weight: float
    sizes: tuple[int, ...] = ()
    calibration: Mapping[str, object] = field(default_factory=dict)
    reach: Mapping[str, object] = field(default_factory=dict)
    extras: tuple[str, ...] = ()
    tiling: str = ""
    free_kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """A file that was read but not loaded. sha256: of the file."""

    path: Path
    sha256: str
    header: Header
    boosters: tuple[bytes, ...]


def pack(header: Header, boosters: Sequence[bytes]) -> bytes:
    """The file's bytes; equal input gives equal bytes."""
    table = {**vars(header), "sizes": [len(booster) for booster in boosters]}
    text = json.dumps(table, sort_keys=True).encode()
    data = _MAGIC + len(text).to_bytes(4, "big") + text + b"".join(boosters)
    return lzma.compress(data, format=lzma.FORMAT_XZ, preset=6)


def unpack(path: Path, sha256: str | None = None) -> Bundle:
    """Header and boosters of a file; sha256: what it must be, None for any.

    Raises BadInput where it is missing, is not the one with this SHA-256, or is no cost model.
    """
    data = read_bytes(path, "cost model", _LARGEST_FILE)
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise BadInput(
            f"{path}: not the cost model that target.toml pins (SHA-256 differs); {_FIT}, "
            "or name the file with --cost-model to load it in a process of its own"
        )
    try:
        header, boosters = _contents(data)
    except (lzma.LZMAError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadInput(f"{path}: not a cost model of this hwopt ({shorten(str(error))}); {_FIT}") from None
    if not boosters or not all(booster.startswith(_UBJ) for booster in boosters):
        raise BadInput(f"{path}: its boosters are not in XGBoost's UBJ format; {_FIT}")
    return Bundle(path, found, header, boosters)


@lru_cache(maxsize=2)  # unpacking is a quarter of a run on a small model, and a process makes many
def _contents(data: bytes) -> tuple[Header, tuple[bytes, ...]]:
    return _parse(unpacked(data, _LARGEST))


def _parse(data: bytes) -> tuple[Header, tuple[bytes, ...]]:
    start = len(_MAGIC) + 4
    if not data.startswith(_MAGIC):
        raise ValueError("it does not begin like one")
    end = start + int.from_bytes(data[len(_MAGIC) : start], "big")
    header = _header(parse_json(data[start:end].decode()))
    if sum(header.sizes) != len(data) - end:
        raise ValueError("sizes in its header are not those of its boosters")
    boosters = []
    for size in header.sizes:
        boosters.append(data[end : end + size])
        end += size
    return header, tuple(boosters)


def _header(table: Data) -> Header:
    """The header that a table holds. Raises TypeError or ValueError for a key that is missing or wrong."""
    if not isinstance(table, dict):
        raise TypeError("its header is no object")
    made = dict(table)
    for name in ("sizes", "extras", "free_kinds"):
        items = made.get(name, [])
        if not isinstance(items, list):
            raise TypeError(f"'{name}' in its header is no list")
        made[name] = tuple(items)  # type: ignore[assignment]  # JSON has no tuples
    header = Header(**made)  # type: ignore[arg-type]  # checked now, against the fields' own types
    for name, fits in _FITS.items():
        if not fits(getattr(header, name)):
            raise ValueError(f"'{name}' in its header is not what it must be")
    return header


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _all(fits: Fits) -> Fits:
    return lambda items: isinstance(items, list | tuple) and all(map(fits, items))


def _each(fits: Fits) -> Fits:
    return lambda table: isinstance(table, dict) and all(map(fits, table.values()))


def _table(value: object) -> bool:
    return isinstance(value, dict)


_FITS: Mapping[str, Fits] = {
    "feature_version": _whole,
    "roofline": _text,
    "streamed": _flag,
    "context": _flag,
    "rates": _each(_all(_number)),
    "data_sha256": _text,
    "rows": _each(_whole),
    "spread": _each(_number),
    "member_weight": _number,
    "sizes": _all(_whole),
    "calibration": _table,
    "reach": _table,
    "extras": _all(_text),
    "tiling": _text,
    "free_kinds": _all(_text),
}
