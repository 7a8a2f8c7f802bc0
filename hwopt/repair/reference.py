"""The base model on calibration data, computed once and read many times.

One pass keeps the live values at the cheap cuts of the base (the outputs of its blocks); any
other value is computed from the nearest cut before it when it is asked for. Every value is
computed in a run of its own, so what was asked for earlier changes no bit of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from hwopt.calibration import Calibration
from hwopt.nodes import Array, FloatArray
from hwopt.repair.flow import Cut, cuts, probe_count
from hwopt.repair.linear import Positions
from hwopt.repair.store import Store
from hwopt.runtime import THREADS, Session, batch_of, part, with_outputs

MAX_RECORDED = 500  # samples whose inner values are kept: what a fit can use
SAMPLED_BYTES = 1 << 30


class Reference:
    """A base model and its values on calibration data.

    base: canonicalised, never changed afterwards; recorded: the samples whose inner values are
    kept, an equal share of every fold.
    """

    def __init__(self, base: ir.Model, calibration: Calibration, threads: int = THREADS) -> None:
        self.base = base
        self.calibration = calibration
        self.threads = threads
        self.store = Store()
        share = MAX_RECORDED // len(calibration.folds)
        self.recorded = tuple(
            sorted(i for fold in calibration.folds for i in fold[:: -(-len(fold) // share)])
        )
        self._row = {sample: row for row, sample in enumerate(self.recorded)}
        self._cuts: list[Cut] | None = None
        self._kept: dict[str, Array] = {}
        self._sampled: dict[tuple[str, str], FloatArray] = {}
        self._outputs: dict[str, Array] | None = None

    @property
    def cuts(self) -> list[Cut]:
        """The recorded cuts, in graph order, the model's inputs first."""
        if self._cuts is None:
            self._record()
        assert self._cuts is not None
        return self._cuts

    def feeds(self, samples: Sequence[int]) -> Mapping[str, Array]:
        """The model's inputs for these samples."""
        return self.calibration.batch(samples)

    def at(self, cut: Cut, samples: Sequence[int]) -> dict[str, Array]:
        """The live values at a recorded cut for these samples, which must be recorded ones."""
        assert self.cuts
        rows = [self._row[sample] for sample in samples]
        feeds = self.feeds(samples) if any(name not in self._kept for name in cut.values) else {}
        return {name: feeds[name] if name in feeds else self._kept[name][rows] for name in cut.values}

    def outputs(self) -> dict[str, Array]:
        """The model's outputs for all samples of the calibration data, recorded or not."""
        if self._outputs is None:
            names = [str(v.name) for v in self.base.graph.outputs]
            session = Session(with_outputs(self.base, names), self.threads)
            size = batch_of(self.base)
            every = range(len(self.calibration))
            parts: dict[str, list[Array]] = {name: [] for name in names}
            for begin in range(0, len(every), size):
                for _, values in session.batches(self.feeds(every[begin : begin + size]), size):
                    for name in names:
                        parts[name].append(values[name])
            self._outputs = {name: np.concatenate(arrays) for name, arrays in parts.items()}
        return self._outputs

    def stream(self, name: str, samples: Sequence[int]) -> Iterator[tuple[slice, Array]]:
        """One value of the base for recorded samples, batch by batch."""
        cut = self.cut_before(name)
        size = batch_of(self.base)
        session: Session | None = None
        for begin in range(0, len(samples), size):
            chosen = samples[begin : begin + size]
            feeds = self.at(cut, chosen)
            where = slice(begin, begin + len(chosen))
            if name in feeds:
                yield where, feeds[name]
                continue
            session = session or Session(part(self.base, feeds, [name]), self.threads)
            for _, values in session.batches(feeds, size):
                yield where, values[name]

    def cut_before(self, name: str) -> Cut:
        """The last recorded cut from which a value can be computed."""
        at = {str(v.name): index for index, node in enumerate(self.base.graph) for v in node.outputs}
        index = at.get(name, -1)
        usable = [cut for cut in self.cuts if cut.index <= index or name in cut.values]
        return usable[-1] if usable else self.cuts[0]

    def sampled(self, name: str, positions: Positions, samples: Sequence[int]) -> FloatArray:
        """A value at some positions: [samples, positions, channels], remembered up to a limit.

        positions: [recorded samples, positions], flat indices into height x width; for a value
        without spatial axes there is one position.
        """
        key = (name, hashlib.sha256(positions.tobytes()).hexdigest())
        found = self._sampled.get(key)
        if found is None:
            found = self._sample(name, positions)
            if sum(a.nbytes for a in self._sampled.values()) + found.nbytes <= SAMPLED_BYTES:
                self._sampled[key] = found
        return found[[self._row[sample] for sample in samples]]

    def rows_of(self, samples: Sequence[int]) -> list[int]:
        """Places of these samples among the recorded ones."""
        return [self._row[sample] for sample in samples]

    def _sample(self, name: str, positions: Positions) -> FloatArray:
        parts = [pick(values, positions[where]) for where, values in self.stream(name, self.recorded)]
        return np.concatenate(parts)

    def _record(self) -> None:
        count = probe_count(self.base)
        feeds = self.feeds((list(self.recorded) * count)[:count])
        found = _narrow(cuts(self.base, feeds))
        names = sorted({name for cut in found for name in cut.values} - set(feeds))
        self._cuts = found
        session = Session(with_outputs(self.base, names), self.threads) if names else None
        size = batch_of(self.base)
        for begin in range(0, len(self.recorded) if session else 0, size):
            assert session is not None
            chosen = self.recorded[begin : begin + size]
            for _, values in session.batches(self.feeds(chosen), size):
                self._keep(begin, values)

    def _keep(self, begin: int, values: Mapping[str, Array]) -> None:
        for name, value in values.items():
            if name not in self._kept:
                self._kept[name] = self.store.empty((len(self.recorded), *value.shape[1:]), value.dtype)
            self._kept[name][begin : begin + len(value)] = value


def _narrow(found: list[Cut]) -> list[Cut]:
    """The first cut (the model's inputs) and every cut that is narrower than its neighbours."""
    kept = found[:1]
    for before, cut, after in zip(found, found[1:], found[2:], strict=False):
        if cut.bytes <= before.bytes and cut.bytes < after.bytes:
            kept.append(cut)
    return kept


def pick(values: Array, positions: Positions) -> FloatArray:
    """Channels of a value at flat positions: [samples, positions, channels]."""
    if values.ndim == 2:
        return values.astype(np.float32, copy=False)[:, None, :]
    planes = values.reshape(values.shape[0], values.shape[1], -1)
    picked = np.take_along_axis(planes, positions[:, None, :], axis=2)
    return np.ascontiguousarray(picked.transpose(0, 2, 1), dtype=np.float32)
