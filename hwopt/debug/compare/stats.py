"""How far apart two tensors are: statistics in one walk over both, piece by piece.

Pieces keep memory small: of two tensors of 100 MB no third one of that size is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import starmap

import numpy as np
import numpy.typing as npt

from hwopt.nodes import Array

_BLOCK = 1 << 16  # elements
_FLOATS = ("float", "bfloat")  # those of ml_dtypes included
_Dense = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gap:
    """Two tensors side by side, `one` being the reference.

    elements: how many. different: how many are not the same number; NaN beside NaN is the same.
    max_abs: infinite where one side is NaN or infinite and the other is not, or where shapes differ.
    largest: the largest finite magnitude in `one`. at: where max_abs is; one, two: the numbers there.
    snr_db: signal over difference; None where nothing differs or nothing is finite. cosine: None where
    a side is all zeros. nan, inf: how many on each side.
    """

    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    dtypes: tuple[str, str]
    elements: int
    different: int
    max_abs: float
    largest: float
    mean_abs: float
    at: tuple[int, ...] | None
    one: float | None
    two: float | None
    snr_db: float | None
    cosine: float | None
    nan: tuple[int, int]
    inf: tuple[int, int]

    @property
    def rounds(self) -> bool:
        """Whether the first tensor's numbers are rounded; integers, truth values and texts are not."""
        return self.dtypes[0].startswith(_FLOATS)

    @property
    def max_rel(self) -> float:
        """The largest difference over the largest magnitude."""
        return self.max_abs / self.largest if self.largest else self.max_abs


@dataclass
class _Sums:
    different: int = 0
    max_abs: float = 0.0
    position: int = -1
    largest: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    one: float = 0.0
    two: float = 0.0
    both: float = 0.0

    def add(self, start: int, one: Array, two: Array) -> None:
        """Takes a piece into account. start: where it begins."""
        left, right = one.astype(np.float64), two.astype(np.float64)
        alike = (one == two) | (np.isnan(left) & np.isnan(right))
        self.different += int(alike.size - np.count_nonzero(alike))
        finite = np.isfinite(left) & np.isfinite(right)
        with np.errstate(invalid="ignore"):
            apart = np.where(alike, 0.0, np.where(finite, np.abs(left - right), np.inf))
        where = int(np.argmax(apart))
        if apart[where] > self.max_abs:
            self.max_abs, self.position = float(apart[where]), start + where
        self.largest = max(self.largest, float(np.max(np.abs(left), where=np.isfinite(left), initial=0.0)))
        self._add_finite(left[finite], right[finite])

    def _add_finite(self, left: _Dense, right: _Dense) -> None:
        apart = left - right
        self.total += float(np.abs(apart).sum())
        self.squares += float(apart @ apart)
        self.one += float(left @ left)
        self.two += float(right @ right)
        self.both += float(left @ right)


def gap(one: Array, two: Array) -> Gap:
    """Statistics of two tensors of numbers or truth values, or of texts, which are the same or are not."""
    shapes = (tuple(one.shape), tuple(two.shape))
    if shapes[0] != shapes[1] or not (_counts(one) and _counts(two)):
        return _unlike(one, two)
    left, right = np.ascontiguousarray(one).reshape(-1), np.ascontiguousarray(two).reshape(-1)
    sums = _Sums()
    for start in range(0, left.size, _BLOCK):
        sums.add(start, left[start : start + _BLOCK], right[start : start + _BLOCK])
    found = sums.position >= 0
    return Gap(
        shapes=shapes,
        dtypes=(str(one.dtype), str(two.dtype)),
        elements=left.size,
        different=sums.different,
        max_abs=sums.max_abs,
        largest=sums.largest,
        mean_abs=sums.total / left.size if left.size else 0.0,
        at=tuple(map(int, np.unravel_index(sums.position, one.shape))) if found else None,
        one=float(left[sums.position]) if found else None,
        two=float(right[sums.position]) if found else None,
        snr_db=10 * math.log10(sums.one / sums.squares) if sums.squares and sums.one else None,
        cosine=sums.both / math.sqrt(sums.one * sums.two) if sums.one and sums.two else None,
        nan=(_count(np.isnan, left), _count(np.isnan, right)),
        inf=(_count(np.isinf, left), _count(np.isinf, right)),
    )


def top1_agreement(one: Array, two: Array) -> tuple[int, int] | None:
    """Rows of class scores whose best class is the same, and how many there are; None for other tensors."""
    scores = one.shape == two.shape and one.ndim == 2 and one.shape[1] > 1
    if not scores or not (_floating(one) and _floating(two)):
        return None
    return int(np.count_nonzero(one.argmax(axis=1) == two.argmax(axis=1))), len(one)


def _floating(array: Array) -> bool:
    """Floats of any width."""
    return array.dtype.name.startswith(_FLOATS)


def _counts(array: Array) -> bool:
    """Whether the elements are numbers."""
    return array.dtype.name.startswith((*_FLOATS, "int", "uint", "bool"))


def _count(what: np.ufunc, array: Array) -> int:
    if not _floating(array):
        return 0
    starts = range(0, array.size, _BLOCK)
    return sum(int(np.count_nonzero(what(array[start : start + _BLOCK]))) for start in starts)


def _unlike(one: Array, two: Array) -> Gap:
    """Shapes that differ, or texts: alike element by element, or apart altogether."""
    if one.shape == two.shape:
        different = sum(starmap(_other, zip(one.reshape(-1), two.reshape(-1), strict=True)))
    else:
        different = max(one.size, two.size, 1)
    return Gap(
        shapes=(tuple(one.shape), tuple(two.shape)),
        dtypes=(str(one.dtype), str(two.dtype)),
        elements=one.size,
        different=different,
        max_abs=math.inf if different else 0.0,
        largest=0.0,
        mean_abs=math.inf if different else 0.0,
        at=None,
        one=None,
        two=None,
        snr_db=None,
        cosine=None,
        nan=(0, 0),
        inf=(0, 0),
    )


def _other(one: object, two: object) -> bool:
    return one != two
