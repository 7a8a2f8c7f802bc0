"""Patterns of zeros, and which weights a pattern keeps when every weight has a score.

Weights are matrices [features, outputs]; the features of a convolution are its input channels,
each with `taps` kernel positions in a row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sparsity:
    """A pattern of zeros.

    zeros: the share of weights that are zero. group: of every so many neighbouring input channels,
    at one tap and for one output, that share is zero; 1: anywhere in the matrix. block: (outputs,
    input channels) that are zero together at every tap; (1, 1): weights by themselves.
    """

    zeros: float
    group: int = 1
    block: tuple[int, int] = (1, 1)

    @property
    def kept(self) -> int:
        """How many weights of a group stay."""
        return round((1 - self.zeros) * self.group)

    @property
    def anywhere(self) -> bool:
        """Whether zeros may stand anywhere."""
        return self.group == 1 and self.block == (1, 1)


def sparsity_of(word: str, share: float) -> Sparsity | None:
    """The pattern that a target names: "unstructured", "2:4" (which sets its own share), "block", "1x4".

    "block" is 4x4 (outputs x inputs). None for a word that is none of these.
    """
    of = re.fullmatch(r"(\d+):(\d+)", word)
    block = re.fullmatch(r"(\d+)x(\d+)", "4x4" if word == "block" else word)
    if of:
        return Sparsity(1 - int(of[1]) / int(of[2]), group=int(of[2]))
    if block:
        return Sparsity(share, block=(int(block[1]), int(block[2])))
    return Sparsity(share) if word == "unstructured" else None


def keep(scores: Scores, sparsity: Sparsity, taps: int = 1) -> Mask:
    """[features, outputs]: True for the weights that stay, those with the highest scores.

    scores: [features, outputs], not negative. Zero scores are never kept where the share of zeros
    allows it; input channels that fill no whole group stay as they are.
    """
    if sparsity.group > 1:
        return _keep_in_groups(scores, sparsity, taps)
    if sparsity.block != (1, 1):
        return _keep_blocks(scores, sparsity, taps)
    return _largest(scores, sparsity.zeros)


def _largest(scores: Scores, zeros: float) -> Mask:
    """The scores less the smallest share of them; ties are settled in order."""
    out = round(zeros * scores.size)
    if out == 0:
        return np.ones(scores.shape, np.bool_)
    limit = np.partition(scores, out - 1, axis=None)[out - 1]
    mask: Mask = scores >= limit
    ties = np.flatnonzero(scores == limit)
    mask.flat[ties[: out - np.count_nonzero(scores < limit)]] = False
    return mask


def _keep_in_groups(scores: Scores, sparsity: Sparsity, taps: int) -> Mask:
    features, outputs = scores.shape
    whole = features // taps // sparsity.group * sparsity.group * taps
    grouped = scores[:whole].reshape(-1, sparsity.group, taps, outputs)
    order = np.argsort(-grouped, axis=1, kind="stable")
    chosen = np.zeros(grouped.shape, np.bool_)
    np.put_along_axis(chosen, order[:, : sparsity.kept], True, axis=1)
    mask = np.ones(scores.shape, np.bool_)
    mask[:whole] = chosen.reshape(whole, outputs)
    return mask


def _keep_blocks(scores: Scores, sparsity: Sparsity, taps: int) -> Mask:
    features, outputs = scores.shape
    high, wide = sparsity.block  # outputs, input channels
    rows, columns = np.arange(0, features, wide * taps), np.arange(0, outputs, high)
    sums = np.add.reduceat(np.add.reduceat(np.square(scores, dtype=np.float64), rows, 0), columns, 1)
    heights = np.diff(np.append(rows, features))
    widths = np.diff(np.append(columns, outputs))
    mask = _largest(sums / (heights[:, None] * widths), sparsity.zeros)
    spread: Mask = np.repeat(np.repeat(mask, heights, 0), widths, 1)
    return spread
