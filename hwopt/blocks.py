"""Blocks: stretches of a network between points where a single tensor is alive.

Coarse on purpose: blocks are for reports and for reading, never for prices.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwopt.describe import Group

_LONGEST = 8  # groups: a chain without a linear bottleneck is cut here
_FAR = 20  # groups: a tensor read later than that (a U-Net's skip) does not hold a block together


def block_numbers(groups: Sequence[Group], kinds: Sequence[str]) -> list[int]:
    """The number of the block of each group, counted from 0 in graph order.

    A block ends where the tensor just written is the only live one (an articulation point of
    the main path) and its group is linear, as a bottleneck's projection or a residual Add is.
    Skips that reach far (to a decoder, a feature pyramid) are not counted.
    """
    alone = _single_live(groups)
    numbers: list[int] = []
    block = length = 0
    for index, group in enumerate(groups):
        numbers.append(block)
        length += 1
        linear = not group.activation and kinds[index] not in ("activation", "view", "global_pool")
        if alone[index] and (linear or length >= _LONGEST):
            block, length = block + 1, 0
    return numbers


def _single_live(groups: Sequence[Group]) -> list[bool]:
    """For each group: whether after it exactly one tensor, its own, is still to be read."""
    made = {id(value): i for i, group in enumerate(groups) for value in group.outputs}
    last: dict[int, int] = {}
    for i, group in enumerate(groups):
        for value in group.inputs:
            far = i - made.get(id(value), 0) > _FAR
            last[id(value)] = last.get(id(value), made.get(id(value), 0)) if far else i
    alive = 0
    result = []
    ends = [0] * (len(groups) + 1)
    for key, reader in last.items():
        ends[reader] += 1
        if key not in made:
            alive += 1  # a graph input is alive from the start
    for i, group in enumerate(groups):
        alive += sum(id(value) in last for value in group.outputs) - ends[i]
        result.append(alive <= 1)
    return result
