"""The file of a cost model: a JSON header and boosters in XGBoost's UBJ format, xz-compressed.

Nothing in it can run code. It is parsed only when its SHA-256 is the one that target.toml
pins: a flipped bit in a UBJ file can crash the process that loads it.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwopt.errors import BadInput

_MAGIC = b"hwopt-cost-model\n"


@dataclass(frozen=True)
class Header:
    """What is needed beside the boosters.

    feature_version, roofline: what the features and the residual mean (a hash of the target's
        numbers that the roofline uses). streamed, context, rates: see
        hwopt.cost.features.View.
    data_sha256: the measurement file. rows: number of training rows per kind.
    spread: per kind, one standard deviation of log latency that the members cannot see;
        member_weight: by how much their disagreement is scaled.
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


def pack(header: Header, boosters: Sequence[bytes]) -> bytes:
    """The file's bytes; equal input gives equal bytes."""
    table = {**vars(header), "sizes": [len(booster) for booster in boosters]}
    text = json.dumps(table, sort_keys=True).encode()
    data = _MAGIC + len(text).to_bytes(4, "big") + text + b"".join(boosters)
    return lzma.compress(data, format=lzma.FORMAT_XZ, preset=6)


def unpack(path: Path, sha256: str) -> tuple[Header, list[bytes]]:
    """Header and boosters of a file.

    Raises BadInput where it is missing, or is not the one with this SHA-256.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read the cost model {path}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BadInput(
            f"{path}: not the cost model that target.toml pins (SHA-256 differs); "
            "restore it or run `hwopt targets fit`"
        )
    return _parse(lzma.decompress(data), path)


def _parse(data: bytes, path: Path) -> tuple[Header, list[bytes]]:
    start = len(_MAGIC) + 4
    if not data.startswith(_MAGIC):
        raise BadInput(f"{path}: not a cost model of hwopt; run `hwopt targets fit`")
    end = start + int.from_bytes(data[len(_MAGIC) : start], "big")
    table = json.loads(data[start:end])
    table["sizes"] = tuple(table["sizes"])
    boosters = []
    for size in table["sizes"]:
        boosters.append(data[end : end + size])
        end += size
    return Header(**table), boosters
