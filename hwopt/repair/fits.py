"""Repairs on all samples, remembered on disk: a plan, or the beginning of one, is fitted once.

A repair of a whole plan takes minutes, and a replay, a run after Ctrl-C and every step of a bisection
need one. What is kept is what the repair wrote, the constants alone, in one file per fit in the folder
`fits` of the cache. A result from there has the bytes of one that was fitted anew. Like the rest of the
cache it is a convenience: a damaged file means fitting again, a folder that cannot be written is done
without, and beyond MOST_BYTES the files go that were not used for the longest time.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import scipy

from hwopt import __version__
from hwopt.choice import Value
from hwopt.errors import BadInput
from hwopt.files.cache_folder import cache_folder
from hwopt.ir import model_bytes
from hwopt.nodes import Array
from hwopt.provenance import forget
from hwopt.repair.effort import Effort
from hwopt.repair.fits_constants import Constant, fitted_constants, with_constants
from hwopt.repair.marks import fit_of, origin_of
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import repair
from hwopt.resolution import seen_by
from hwopt.trace import Listeners, Recorder, RepairFitted, emit

REPAIR_VERSION = 6  # to be raised with every change of what a repair computes
MOST_BYTES = 2 << 30  # of fits on disk
_UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, MemoryError, OverflowError, SyntaxError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_STALE_S = 3600.0  # a draft of a run that was killed


def fitted(
    reference: Reference,
    changed: ir.Model,
    values: Sequence[Value],
    *,
    seed: int,
    effort: Effort,
    listeners: Listeners = (),
) -> ir.Model:
    """A clone of the changed model with its marked weights fitted on all folds, or read from the disk.

    values: the steps that made `changed` of the reference's base, in their order. Listeners hear the
    same of a fit that is remembered. Raises RewriteFailed where a mark cannot be honoured.
    """
    folds = range(len(reference.calibration.folds))
    seen = seen_by(reference, changed)
    if not any(fit_of(node) for node in changed.graph):
        return repair(seen, changed, folds, seed=seed, effort=effort)
    path = _file(reference, changed, values, seed, effort)
    known = None if path is None else _read(path)
    if known is not None and (model := _with(changed, known)) is not None:
        for event in known.events:
            emit(listeners, event)
        return model
    heard = Recorder()
    model = repair(seen, changed, folds, seed=seed, effort=effort, listeners=(heard, *listeners))
    if path is not None:
        events = tuple(event for event in heard.events if isinstance(event, RepairFitted))
        _keep(path, changed, model, events)
    return model


def repair_identity(base: ir.Model, fingerprint: str, seed: int) -> str:
    """What decides the outcome of repairs to a canonical model, beside the steps and the effort.

    fingerprint: of the calibration data.
    """
    parts = [
        model_digest(base), fingerprint, str(seed), f"repair {REPAIR_VERSION}", __version__,
        f"onnxruntime {ort.__version__}",
    ]  # fmt: skip
    return "\n".join(parts)


def model_digest(model: ir.Model) -> str:
    """SHA-256 of a model as it computes: what nodes say of their sources and rewrites is left out.

    Raises BadInput where the model is over 2 GB.
    """
    plain = model.clone()
    forget(plain)
    return hashlib.sha256(model_bytes(plain)).hexdigest()


def _file(
    reference: Reference, changed: ir.Model, values: Sequence[Value], seed: int, effort: Effort
) -> Path | None:
    """Where a fit is kept. None for a model that is too large to be told from others.

    The changed model and its marks are in the key beside the steps: a pass that writes something else
    under an old name, or another ranking of channels, is another fit.
    """
    marks = [(str(n.outputs[0].name), origin_of(n), fit_of(n)) for n in changed.graph if n.outputs]
    steps = [(value.choice, value.name) for value in values]
    try:
        parts = [
            "fit", repair_identity(reference.base, reference.calibration.fingerprint, seed),
            f"numpy {np.__version__}", f"scipy {scipy.__version__}", str(steps), str(effort),
            model_digest(changed), str(marks),
        ]  # fmt: skip
    except BadInput:
        return None
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return cache_folder() / "fits" / f"{key}.npz"


@dataclass(frozen=True)
class _Known:
    constants: tuple[Constant, ...]
    events: tuple[RepairFitted, ...]


def _with(changed: ir.Model, known: _Known) -> ir.Model | None:
    """The fit put into the model; None where it is of another one."""
    try:
        return with_constants(changed, known.constants)
    except KeyError:
        return None


def _read(path: Path) -> _Known | None:
    """A fit from the disk, which is marked as used; None where there is none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            text = json.loads(str(file["index"]))
            arrays = [file[f"arr_{number}"] for number in range(len(text["constants"]))]
        events = tuple(RepairFitted(**event) for event in text["events"])
        wheres = [(str(output), int(index)) for output, index in text["constants"]]
        os.utime(path)
    except _UNREADABLE:
        return None
    return _Known(tuple(Constant(*where, array) for where, array in zip(wheres, arrays, strict=True)), events)


def _keep(path: Path, changed: ir.Model, model: ir.Model, events: tuple[RepairFitted, ...]) -> None:
    """Puts a fit on the disk, unless it would not come back as it is."""
    constants = fitted_constants(changed, model)
    if model_bytes(with_constants(changed, constants)) != model_bytes(model):
        return
    index = {"constants": [(one.output, one.index) for one in constants], "events": list(map(asdict, events))}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, json.dumps(index), [one.array for one in constants])
        _make_room(path.parent)
    except OSError:
        return


def _write(path: Path, index: str, arrays: Sequence[Array]) -> None:
    """Beside its name and then renamed: whoever reads finds a whole file or none."""
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as draft:
        try:
            np.savez(draft, *arrays, index=np.asarray(index))
            draft.close()
            os.replace(draft.name, path)
        finally:
            Path(draft.name).unlink(missing_ok=True)


def _make_room(folder: Path) -> None:
    """Removes what was not used for the longest time, as far as the folder holds too much.

    Drafts of runs that were killed go, too.
    """
    for entry in os.scandir(folder):
        if entry.name.endswith(".part") and entry.stat().st_mtime < time.time() - _STALE_S:
            (folder / entry.name).unlink(missing_ok=True)
    sizes = [(entry.stat().st_mtime, entry.name, entry.stat().st_size) for entry in os.scandir(folder)]
    spare = MOST_BYTES - sum(size for _, _, size in sizes)
    for _, name, size in sorted(sizes):
        if spare >= 0:
            return
        (folder / name).unlink(missing_ok=True)
        spare += size
