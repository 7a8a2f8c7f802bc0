"""Leaves out as many items as possible, in sweeps over halves, quarters ... and at last single ones.

Where many of the nodes are needed, delta debugging (`bisect.ddmin`) begins anew after each success and takes
in the order of n squared trials. A sweep goes on where it is, which takes in the order of n log n, and what
is left is as small in the same sense.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def thinned(
    items: Sequence[Item], fails: Callable[[Sequence[Item]], bool], enough: Callable[[], bool]
) -> list[Item]:
    """Some of the items, in their order, that fail, and without any one of which nothing fails.

    fails: true of all items. enough: once it is true, the fewest so far are the result.
    """
    left, size = list(items), max(len(items) // 2, 1)
    while not enough():
        fewer = _swept(left, size, fails, enough)
        if size == 1 and len(fewer) == len(left):
            break
        left, size = fewer, max(size // 2, 1)
    return left


def _swept(
    items: list[Item], size: int, fails: Callable[[Sequence[Item]], bool], enough: Callable[[], bool]
) -> list[Item]:
    """What is left once every run of `size` items has been tried without."""
    left, at = items, 0
    while at < len(left) and not enough():
        rest = [*left[:at], *left[at + size :]]
        if rest and fails(rest):
            left = rest
        else:
            at += size
    return left
