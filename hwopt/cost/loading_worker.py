"""The process in which a cost model is loaded that nobody vouches for; see hwopt.cost.loading.

A request is JSON: which target, which file with which SHA-256, and signatures; the answer is one
list of figures per signature. The model stays loaded between requests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hwopt.cost.bundle import unpack
from hwopt.cost.model import CostModel, load_booster
from hwopt.signature import KINDS, Signature, from_json
from hwopt.target import read_target

MEMORY_BYTES = 4 << 30  # of addresses, libraries included
Figures = tuple[float, float, float, bool]  # value, spread, common in microseconds; extrapolated
_loaded: dict[tuple[str, str], CostModel] = {}


def request(folder: str, path: str, sha256: str, signatures: Sequence[Signature]) -> bytes:
    """What `answer` takes. folder: the target's."""
    rows = [signature.to_json() for signature in signatures]
    return json.dumps({"folder": folder, "path": path, "sha256": sha256, "signatures": rows}).encode()


def read_answer(data: bytes) -> list[Figures]:
    """What `answer` gave."""
    return [(float(v), float(w), float(c), bool(far)) for v, w, c, far in json.loads(data)]


def answer(payload: bytes) -> bytes:
    """Runs in the worker: loads the file where it is not loaded yet, and predicts."""
    _bound_memory()
    asked = json.loads(payload)
    model = _model(asked["folder"], asked["path"], asked["sha256"])
    found = model.predict([from_json(table) for table in asked["signatures"]])
    return json.dumps([(e.value, e.spread, e.common, e.extrapolated) for e in found]).encode()


def _bound_memory() -> None:
    """A file that claims a billion trees ends this process, not the machine. Windows has no such limit."""
    try:
        import resource
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or most > MEMORY_BYTES:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def trial(kinds: Sequence[str]) -> list[Signature]:
    """One made-up group of each kind: enough for a damaged booster to show."""
    shape = (1, 16, 14, 14)
    return [Signature(kind, ("Conv",), (shape,), (shape,), "int8", (3, 3), (1, 1)) for kind in kinds or KINDS]


def _model(folder: str, path: str, sha256: str) -> CostModel:
    known = _loaded.get((path, sha256))
    if known is None:
        bundle = unpack(Path(path), sha256)
        boosters = [load_booster(data) for data in bundle.boosters]
        known = _loaded[path, sha256] = CostModel(read_target(Path(folder)), bundle.header, boosters)
    return known
