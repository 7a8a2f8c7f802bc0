"""Variants of calibration samples: more data to fit weights on, never to judge them.

Images of a folder are cropped anew from the files and mirrored, on pixels. Four-dimensional
floating-point arrays are shifted, filled up by reflection, and mirrored. A variant depends on its
sample's content, its number and the seed alone, so that neither order nor file names matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hwopt.calibration.data import Calibration, Source
from hwopt.errors import BadInput
from hwopt.nodes import Array

LARGEST_SHIFT = 1 / 8  # of height and width
MOST_COPIES = 16
Indices = npt.NDArray[np.int64]


@runtime_checkable
class OwnVariants(Protocol):
    """A source that knows how to vary its samples."""

    def varied(self, index: int, rng: np.random.Generator) -> Mapping[str, Array]:
        """A variant of one sample, by input name, stacked as one on axis 0."""


def augmented(calibration: Calibration, copies: int, seed: int) -> Calibration:
    """The same calibration with that many variants of every sample, for fitting weights.

    Samples, folds and labels stay what they are; `Calibration.variant` finds the variants. The
    fingerprint tells how they were made. Data that cannot be varied comes back as it is, with a
    note. Raises BadInput for a number of copies that cannot be.
    """
    if not 0 <= copies <= MOST_COPIES:
        raise BadInput(f"--augment {copies}: give a number of variants per sample, 0 to {MOST_COPIES}")
    if calibration.copies:
        raise BadInput("calibration data that has variants already cannot be augmented again")
    if copies == 0:
        return calibration
    source = calibration.source
    if not isinstance(source, OwnVariants) and not any(map(_is_image, source.batch([0]).values())):
        note = "augment: no input is a floating-point image: no variants were made"
        return replace(calibration, notes=(*calibration.notes, note))
    text = f"{calibration.fingerprint}\naugmented {copies} {seed}"
    return replace(
        calibration,
        source=Varied(source, calibration.hashes, seed),
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        copies=copies,
    )


class Varied:
    """Samples, and behind them their variants: index `(1 + copy) * samples + sample`."""

    def __init__(self, source: Source, hashes: Sequence[str], seed: int) -> None:
        self._source = source
        self._hashes = tuple(hashes)
        self._seed = seed

    def hashes(self) -> tuple[str, ...]:
        """Those of the samples, without variants."""
        return self._hashes

    def identity(self) -> str:
        """What beside the samples decides them and their variants."""
        return f"{self._source.identity()} varied by {self._seed}"

    def batch(self, indices: Sequence[int]) -> Mapping[str, Array]:
        """Samples and variants, in the order asked for."""
        if all(index < len(self._hashes) for index in indices):
            return self._source.batch(indices)
        ones = [self._one(index) for index in indices]
        return {name: np.concatenate([one[name] for one in ones]) for name in ones[0]}

    def _one(self, index: int) -> Mapping[str, Array]:
        copies, sample = divmod(index, len(self._hashes))
        if copies == 0:
            return self._source.batch([sample])
        key = hashlib.sha256(f"{self._hashes[sample]} {self._seed} {copies}".encode())
        rng = np.random.default_rng(int.from_bytes(key.digest(), "big"))
        if isinstance(self._source, OwnVariants):
            return self._source.varied(sample, rng)
        return shifted(self._source.batch([sample]), rng)


def shifted(sample: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """The same shift and mirroring, relative to its size, of every image among the inputs.

    sample: stacked as one; inputs that are no floating-point images stay as they are.
    """
    down, right = rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, size=2)
    mirrored = bool(rng.random() < 0.5)
    return {
        name: _moved(array, float(down), float(right), mirrored) if _is_image(array) else array
        for name, array in sample.items()
    }


def _moved(array: Array, down: float, right: float, mirrored: bool) -> Array:
    first = _height_axis(array)
    rows = _reflected(array.shape[first], down)
    columns = _reflected(array.shape[first + 1], right)
    if mirrored:
        columns = columns[::-1]
    return np.ascontiguousarray(array.take(rows, axis=first).take(columns, axis=first + 1))


def _reflected(size: int, shift: float) -> Indices:
    """Indices of a shifted axis; what falls over an end comes back from it."""
    at = np.abs(np.arange(size, dtype=np.int64) + round(shift * size))
    back: Indices = (size - 1) - np.abs((size - 1) - at)
    return back


def _height_axis(array: Array) -> int:
    """The axis of the height; the axis of fewer entries among the second and the last is the channels'."""
    return 2 if array.shape[1] <= array.shape[3] else 1


def _is_image(array: Array) -> bool:
    return array.ndim == 4 and bool(np.issubdtype(array.dtype, np.floating))
