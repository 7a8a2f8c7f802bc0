"""The same piece on smaller inputs: one sample, then half the height and width, as long as it still fails."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from hwopt.nodes import Array
from hwopt.runtime import Feeds, Session

Attempt = Callable[[ir.Model, Feeds], bool]
_IMAGE_RANK = 4


def on_smaller_inputs(piece: ir.Model, feeds: Feeds, fails: Attempt) -> tuple[ir.Model, Feeds]:
    """The piece with the smallest inputs that were found to run and fail too, cut out of those given."""
    best: tuple[ir.Model, Feeds] = (piece, feeds)
    for smaller in (_one_sample, _halved):
        while (fewer := smaller(best[1])) is not None:
            candidate = _resized(piece, fewer)
            if candidate is None or not fails(candidate, fewer):
                break
            best = (candidate, fewer)
    return best


def _one_sample(feeds: Feeds) -> Feeds | None:
    """The first sample of every input; None where there is but one, or they disagree about how many."""
    counts = {len(array) for array in feeds.values() if array.ndim > 1}
    if len(counts) != 1 or counts <= {0, 1}:
        return None
    return {name: array[:1] if array.ndim > 1 else array for name, array in feeds.items()}


def _halved(feeds: Feeds) -> Feeds | None:
    """The upper left quarter of every image; None where no image is larger than one pixel."""
    if not any(array.ndim == _IMAGE_RANK and max(array.shape[2:]) > 1 for array in feeds.values()):
        return None
    return {name: _quarter(array) for name, array in feeds.items()}


def _quarter(array: Array) -> Array:
    if array.ndim != _IMAGE_RANK:
        return array
    height, width = ((size + 1) // 2 for size in array.shape[2:])
    return array[:, :, :height, :width]


def _resized(piece: ir.Model, feeds: Feeds) -> ir.Model | None:
    """A copy for inputs of other sizes; None where it does not run on them."""
    copy = piece.clone()
    for node in ir.traversal.RecursiveGraphIterator(copy.graph):
        for value in node.outputs:
            value.shape = None  # what was recorded no longer holds
    for value in copy.graph.inputs:
        if value.name is not None and value.name in feeds:
            value.shape = ir.Shape(feeds[value.name].shape)
    try:
        found = Session(copy).run(feeds)
    except Exception:  # sizes that do not go together, or an operator that nobody runs
        return None
    for value in copy.graph.outputs:
        value.shape = ir.Shape(found[str(value.name)].shape)
    return copy
