"""The base model on calibration data, computed once and read many times.

One pass keeps the live values at the cheap cuts of the base (the outputs of its blocks); any
other value is computed from the nearest cut before it when it is asked for. Every value is
computed in a run of its own, so what was asked for earlier changes no bit of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from threading import Event

import numpy as np
import onnx_ir as ir

from hwopt.calibration.data import Calibration
from hwopt.errors import Interrupted
from hwopt.mapped import forget_pages, taken
from hwopt.nodes import Array, FloatArray
from hwopt.repair.flow import Cut, cuts, probe_count
from hwopt.repair.linear import Positions
from hwopt.repair.store import Store
from hwopt.runtime import THREADS, Session, batch_of, part, with_outputs

MAX_RECORDED = 500  # samples whose inner values are kept: what a fit can use
MAX_VARIED = 1500  # the same with their variants
RECORDED_BYTES = 4 << 30  # of inner values: in memory as far as the store goes, in files beyond
FEWEST_RECORDED = 100  # however large they are
OUTPUT_BYTES = 256 << 20  # of outputs that are kept; fewer samples are judged where they are larger
SAMPLED_BYTES = 512 << 20


class Reference:
    """A base model and its values on calibration data.

    base: canonicalised, never changed afterwards. How much is kept depends on the model, not on the
    number of samples: where not all can be, a seeded, equal share of every fold.
    """

    def __init__(
        self, base: ir.Model, calibration: Calibration, threads: int = THREADS, seed: int = 0
    ) -> None:
        self.base = base
        self.calibration = calibration
        self.threads = threads
        self.store = Store()
        self.given_up = Event()  # nobody waits any more for what is fitted to this
        self._seed = seed
        self._cuts: list[Cut] | None = None
        self._judged: tuple[tuple[int, ...], ...] | None = None
        self._kept: dict[str, Array] = {}
        self._sampled: dict[tuple[str, str], FloatArray] = {}
        self._outputs: dict[str, Array] | None = None

    def go_on(self) -> None:
        """Asked by whoever fits between its steps. Raises Interrupted where nobody waits for the fit."""
        if self.given_up.is_set():
            raise Interrupted("the fit was given up")

    @property
    def cuts(self) -> list[Cut]:
        """The recorded cuts, in graph order, the model's inputs first."""
        if self._cuts is None:
            self._record()
        assert self._cuts is not None
        return self._cuts

    @cached_property
    def _found(self) -> list[Cut]:
        """The cuts that are worth recording."""
        count = probe_count(self.base)
        some = self.calibration.samples(range(len(self.calibration.folds)))[:count]
        return _narrow(cuts(self.base, self.feeds((list(some) * count)[:count])))

    @cached_property
    def originals(self) -> tuple[int, ...]:
        """The samples whose inner values are kept, in ascending order, variants left out."""
        shares = shared_out(self.calibration, min(MAX_RECORDED, self._room), self._seed)
        return tuple(sorted(i for fold in shares for i in fold))

    @cached_property
    def recorded(self) -> tuple[int, ...]:
        """`originals`, and behind them as many whole sets of their variants as there is room for."""
        room = max(min(MAX_VARIED, self._room) // max(len(self.originals), 1) - 1, 0)
        copies = range(min(self.calibration.copies, room))
        variants = [self.calibration.variant(sample, c) for c in copies for sample in self.originals]
        return (*self.originals, *variants)

    @property
    def _room(self) -> int:
        """How many samples may be recorded, for the size of their inner values."""
        inputs = set(self._found[0].values)
        kept = {name: size for cut in self._found for name, size in zip(cut.values, cut.sizes, strict=True)}
        size = sum(size for name, size in kept.items() if name not in inputs)
        return max(RECORDED_BYTES // max(size, 1), FEWEST_RECORDED)

    @cached_property
    def _row(self) -> dict[int, int]:
        return {sample: row for row, sample in enumerate(self.recorded)}

    def training(self, folds: Sequence[int]) -> tuple[int, ...]:
        """What weights may be fitted on: the recorded samples of these folds and their variants."""
        members = set(self.calibration.samples(folds))
        return tuple(i for i in self.recorded if self.calibration.origin(i) in members)

    @property
    def judged(self) -> tuple[tuple[int, ...], ...]:
        """The samples of every fold on which a changed model is compared with the base.

        All of them, unless the outputs are large: then a seeded, equal share of every fold.
        """
        if self._judged is None:
            names = [str(v.name) for v in self.base.graph.outputs]
            _, values = next(self._run(names, self.calibration.folds[0][:1]))
            size = sum(array.nbytes for array in values.values())
            most = max(OUTPUT_BYTES // max(size, 1), len(self.calibration.folds))
            self._judged = shared_out(self.calibration, most, self._seed)
        return self._judged

    def feeds(self, samples: Sequence[int]) -> Mapping[str, Array]:
        """The model's inputs for these samples."""
        return self.calibration.batch(samples)

    def at(self, cut: Cut, samples: Sequence[int]) -> dict[str, Array]:
        """The live values at a recorded cut for these samples, which must be recorded ones."""
        assert self.cuts
        rows = [self._row[sample] for sample in samples]
        feeds = self.feeds(samples) if any(name not in self._kept for name in cut.values) else {}
        return {n: feeds[n] if n in feeds else taken(self._kept[n], rows) for n in cut.values}

    def outputs(self, samples: Sequence[int] | None = None) -> dict[str, Array]:
        """The base's outputs for samples that are judged; None: for all that are, in ascending order."""
        every = sorted(i for fold in self.judged for i in fold)
        if self._outputs is None:
            names = [str(v.name) for v in self.base.graph.outputs]
            parts: dict[str, list[Array]] = {name: [] for name in names}
            for _, values in self._run(names, every):
                for name in names:
                    parts[name].append(values[name])
            self._outputs = {name: np.concatenate(arrays) for name, arrays in parts.items()}
        if samples is None:
            return self._outputs
        rows = np.searchsorted(every, samples)
        return {name: array[rows] for name, array in self._outputs.items()}

    def _run(self, names: Sequence[str], samples: Sequence[int]) -> Iterator[tuple[int, dict[str, Array]]]:
        """Values of the whole base, batch by batch, each with the place of its first sample."""
        session = Session(with_outputs(self.base, names), self.threads)
        size = batch_of(self.base)
        for begin in range(0, len(samples), size):
            for _, values in session.batches(self.feeds(samples[begin : begin + size]), size):
                yield begin, values

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

        positions: [recorded samples and variants, positions], flat indices into height x width; for a value
        without spatial axes there is one position.
        """
        key = (name, hashlib.sha256(positions.tobytes()).hexdigest())
        found = self._sampled.get(key)
        if found is None:
            found = self._sample(name, positions)
            if sum(a.nbytes for a in list(self._sampled.values())) + found.nbytes <= SAMPLED_BYTES:
                self._sampled[key] = found
        return found[[self._row[sample] for sample in samples]]

    def rows_of(self, samples: Sequence[int]) -> list[int]:
        """Places of these samples among the recorded ones."""
        return [self._row[sample] for sample in samples]

    def _sample(self, name: str, positions: Positions) -> FloatArray:
        parts = [pick(values, positions[where]) for where, values in self.stream(name, self.recorded)]
        return np.concatenate(parts)

    def _record(self) -> None:
        inputs = {str(v.name) for v in self.base.graph.inputs}
        names = sorted({name for cut in self._found for name in cut.values} - inputs)
        if names:
            for begin, values in self._run(names, self.recorded):
                self._keep(begin, values)
        self._cuts = self._found

    def _keep(self, begin: int, values: Mapping[str, Array]) -> None:
        for name, value in values.items():
            if name not in self._kept:
                self._kept[name] = self.store.empty((len(self.recorded), *value.shape[1:]), value.dtype)
            self._kept[name][begin : begin + len(value)] = value
            forget_pages(self._kept[name])


def shared_out(calibration: Calibration, most: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """At most that many samples, an equal share of every fold, in ascending order.

    A reservoir of those whose seeded hash is smallest (bottom-k sampling): it depends on what
    the samples hold, not on their order.
    """
    share = max(most // len(calibration.folds), 1)
    hashes = calibration.hashes

    def rank(sample: int) -> str:
        content = hashes[sample] if hashes else str(sample)
        return hashlib.sha256(f"{seed} {content}".encode()).hexdigest()

    return tuple(tuple(sorted(sorted(fold, key=rank)[:share])) for fold in calibration.folds)


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
