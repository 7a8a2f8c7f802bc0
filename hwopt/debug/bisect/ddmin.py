"""Delta debugging: the few of many that a failure needs.

Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE Transactions on Software
Engineering 28(2), 2002: the algorithm ddmin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

Item = TypeVar("Item")


def ddmin(
    items: Sequence[Item],
    fails: Callable[[tuple[Item, ...]], bool],
    enough: Callable[[], bool] = lambda: False,
) -> tuple[Item, ...]:
    """A subset of the items, in their order, that fails, and without any one of whose items nothing fails.

    fails: of all items it is true, and is not asked; of none it is not asked either. Undecided counts as
    false. It may be asked of the same subset again: remember what it said. enough: asked before each trial;
    once it is true, the smallest subset so far is the result, which may be larger than need be.
    """
    left, parts = tuple(items), 2
    while len(left) > 1:
        smaller = _smaller(left, parts, fails, enough)
        if enough():
            return left if smaller is None else smaller[0]
        if smaller is not None:
            left, parts = smaller
        elif parts >= len(left):
            break
        else:
            parts = min(2 * parts, len(left))
    return left


def _smaller(
    left: tuple[Item, ...],
    parts: int,
    fails: Callable[[tuple[Item, ...]], bool],
    enough: Callable[[], bool],
) -> tuple[tuple[Item, ...], int] | None:
    """A part that fails by itself, or all but a part, with the number of parts to go on with."""
    for subset, next_parts in _candidates(left, min(parts, len(left))):
        if enough():
            return None
        if fails(subset):
            return subset, max(min(next_parts, len(subset)), 2)
    return None


def _candidates(left: tuple[Item, ...], parts: int) -> Iterator[tuple[tuple[Item, ...], int]]:
    bounds = [round(len(left) * part / parts) for part in range(parts + 1)]
    spans = list(pairwise(bounds))
    for begin, end in spans:
        yield left[begin:end], 2
    if parts > 2:  # with two parts, all but one is the other
        for begin, end in spans:
            yield (*left[:begin], *left[end:]), parts - 1
