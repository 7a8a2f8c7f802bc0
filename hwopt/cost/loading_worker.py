"""The process in which a cost model is loaded that nobody vouches for; see hwopt.cost.loading.

A request is two sizes, a JSON head, a matrix of float32 and the boosters; the answer is the
members' predictions as float64, or nothing where the boosters must be sent first.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

import numpy as np
import xgboost

from hwopt.cost.features import Matrix
from hwopt.cost.model import load_booster, predict_members

_SIZES = struct.Struct("<II")
_loaded: dict[str, list[xgboost.Booster]] = {}


def request(key: str, matrix: Matrix, boosters: Sequence[bytes]) -> bytes:
    """What `answer` takes. key: names the boosters; boosters: none where they were sent before."""
    values = np.ascontiguousarray(matrix, np.float32).tobytes()
    head = json.dumps({"key": key, "shape": matrix.shape, "sizes": [len(data) for data in boosters]}).encode()
    return b"".join([_SIZES.pack(len(head), len(values)), head, values, *boosters])


def answer(payload: bytes) -> bytes:
    """Runs in the worker; b"" where it does not have these boosters."""
    head_size, values_size = _SIZES.unpack_from(payload)
    start = _SIZES.size + head_size
    head = json.loads(payload[_SIZES.size : start])
    matrix = np.frombuffer(payload, np.float32, values_size // 4, start).reshape(head["shape"])
    start += values_size
    if head["sizes"]:
        _loaded[head["key"]] = _boosters(payload, start, head["sizes"])
    boosters = _loaded.get(head["key"])
    return b"" if boosters is None else predict_members(boosters, matrix).tobytes()


def _boosters(payload: bytes, start: int, sizes: Sequence[int]) -> list[xgboost.Booster]:
    found = []
    for size in sizes:
        found.append(load_booster(payload[start : start + size]))
        start += size
    return found
