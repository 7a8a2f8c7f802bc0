"""A changed model computed block by block while its weights are being fitted.

Only the live values at one cut are kept for all samples, so that fitting every node of a model
costs about one forward pass beside the linear algebra.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from hwopt.mapped import forget_pages
from hwopt.nodes import Array
from hwopt.repair.flow import Cut, cuts, downstream, probe_count, unchanged
from hwopt.repair.marks import fit_of
from hwopt.repair.reference import Reference
from hwopt.repair.store import Store
from hwopt.runtime import Session, batch_of, part

MEMORY_BYTES = 512 << 20  # of live values, in files beyond; two repairs may run at once
KEPT_BYTES = 256 << 20  # live values of all samples; a wider cut is kept only where there is no other


def start_cut(reference: Reference, changed: ir.Model) -> Cut:
    """The last recorded cut of the base before which the changed model is still the base."""
    same = unchanged(reference.base, changed)
    needed = {str(v.name) for v in changed.graph.outputs}
    needed |= {str(v.name) for node in changed.graph if fit_of(node) for v in node.outputs}
    for cut in reversed(reference.cuts):
        if set(cut.values) <= same:
            reached = set(downstream(changed, set(cut.values))) | (set(cut.values) - _computed(changed))
            if needed <= reached | set(cut.values) and not _fits_before(changed, cut):
                return cut
    return reference.cuts[0]


def _computed(model: ir.Model) -> set[str]:
    return {str(v.name) for node in model.graph for v in node.outputs}


def _fits_before(changed: ir.Model, cut: Cut) -> bool:
    """Whether a node to be fitted is not downstream of the cut."""
    reached = set(downstream(changed, set(cut.values)))
    return any(fit_of(node) and str(node.outputs[0].name) not in reached for node in changed.graph)


class Frontier:
    """The changed model's live values for some samples, moved forward as weights become final."""

    def __init__(self, reference: Reference, changed: ir.Model, samples: Sequence[int]) -> None:
        self._reference = reference
        self._model = changed
        self._samples = tuple(samples)
        self._origin = start_cut(reference, changed)
        probe = (list(samples) * probe_count(changed))[: probe_count(changed)]
        self._cuts = cuts(changed, reference.at(self._origin, probe))
        self._cut: Cut | None = None
        self._kept: dict[str, Array] = {}
        self._store = Store(MEMORY_BYTES)

    def advance(self, index: int) -> None:
        """Move up to the best cut before node `index`; all earlier nodes have their final weights."""
        here = self._cut.index if self._cut else -1
        ahead = [cut for cut in self._cuts if here < cut.index <= index]
        if not ahead:
            return
        limit = max(KEPT_BYTES // len(self._samples), min(cut.bytes for cut in ahead))
        best = [cut for cut in ahead if cut.bytes <= limit][-1]
        if set(best.values) == set(self._feeds(slice(0, 1))):
            return
        kept: dict[str, Array] = {}
        for where, values in self.stream(best.values):
            for name, value in values.items():
                if name not in kept:
                    kept[name] = self._store.empty((len(self._samples), *value.shape[1:]), value.dtype)
                kept[name][where] = value
                forget_pages(kept[name])
        for array in self._kept.values():
            self._store.release(array)
        self._cut, self._kept = best, kept

    def stream(self, names: Sequence[str]) -> Iterator[tuple[slice, dict[str, Array]]]:
        """Some values downstream of the frontier, batch by batch over all samples."""
        size = batch_of(self._model)
        session: Session | None = None
        for begin in range(0, len(self._samples), size):
            where = slice(begin, min(begin + size, len(self._samples)))
            feeds = self._feeds(where)
            values = {name: feeds[name] for name in names if name in feeds}
            wanted = [name for name in names if name not in feeds]
            if wanted:
                session = session or Session(part(self._model, feeds, wanted), self._reference.threads)
                for _, computed in session.batches(feeds, size):
                    values |= computed
            yield where, values

    def _feeds(self, where: slice) -> dict[str, Array]:
        if self._cut is None:
            return self._reference.at(self._origin, self._samples[where])
        return {name: array[where] for name, array in self._kept.items()}
