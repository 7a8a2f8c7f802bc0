"""Calibration data: samples of a model's input, read when needed, dealt into five folds.

The folds are dealt by the content of the samples, so they do not depend on file names or on
the order of a listing, and identical samples never stand on both sides of a cross-fit.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwopt.calibration.arrays import Arrays as Arrays
from hwopt.calibration.arrays import read_arrays
from hwopt.calibration.images import (
    IMAGE_SUFFIXES,
    PREPROCESS_NAME,
    ImageFolder,
    default_preprocess,
    describe,
    read_preprocess,
)
from hwopt.errors import BadInput
from hwopt.files.untrusted import read_bytes, shorten
from hwopt.nodes import Array
from hwopt.wording import near

FOLDS = 5
MIN_SAMPLES = 2 * FOLDS
LABELS_NAME = "labels.csv"
LARGEST_LABELS = 256_000_000  # bytes: millions of samples
LABELS_KEY = "labels"
Labels = npt.NDArray[np.int64]


class Source(Protocol):
    """Where samples come from."""

    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of each sample's content."""

    def identity(self) -> str:
        """What else decides the samples."""

    def batch(self, indices: Sequence[int]) -> Mapping[str, Array]:
        """The samples as model inputs by name, stacked on axis 0."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Samples of a model's inputs.

    labels: one class index per sample, or None; folds: five tuples of sample indices that
        together are all samples; fingerprint: SHA-256 over samples, preprocessing and labels;
    notes: what had to be assumed, for the report; hashes: SHA-256 of each sample's content;
    copies: how many variants every sample has (`calibration_variants.augmented`). The variants
        stand behind the samples, at `variant`, belong to their sample's fold and only ever
        fit weights: no length, fold or label counts them.
    """

    source: Source
    labels: Labels | None
    folds: tuple[tuple[int, ...], ...]
    fingerprint: str
    notes: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    copies: int = 0

    def __len__(self) -> int:
        return sum(len(fold) for fold in self.folds)

    def batch(self, indices: Sequence[int]) -> Mapping[str, Array]:
        """Inputs of these samples, or variants of samples, by name, stacked on axis 0."""
        return self.source.batch(indices)

    def variant(self, sample: int, copy: int) -> int:
        """The index of a sample's variant; copy counts from 0."""
        return len(self) * (1 + copy) + sample

    def origin(self, index: int) -> int:
        """The sample behind an index: itself, or the one that it is a variant of."""
        return index % len(self) if self.copies else index

    def samples(self, folds: Sequence[int]) -> tuple[int, ...]:
        """All samples of these folds, in ascending order."""
        return tuple(sorted(index for fold in folds for index in self.folds[fold]))


def load_calibration(
    path: Path, model: ir.Model, preprocess: Path | None = None, labels: Path | None = None
) -> Calibration:
    """Open calibration data: an image folder, an .npz with one array per input, or an .npy.

    preprocess: a preprocess.toml for an image folder without one; labels: a CSV with columns
    `file` and `label`, instead of the labels.csv beside the images or `labels` in the .npz.
    Raises BadInput, in one line that names the file, for whatever cannot be used.
    """
    if not path.exists():
        hint = near(path) or "; give a folder of images, an .npz or an .npy file"
        raise BadInput(f"{path}: no such calibration data{hint}")
    if path.is_dir():
        return _from_images(path, model, preprocess, labels)
    if path.suffix not in (".npz", ".npy"):
        raise BadInput(f"{path}: not calibration data; give a folder of images, an .npz or an .npy file")
    if preprocess is not None:
        raise BadInput(f"{preprocess}: arrays in {path.name} are used as they are; leave --preprocess out")
    return _from_arrays(path, model, labels)


def from_source(
    source: Source, labels: Labels | None = None, notes: tuple[str, ...] = (), name: str = "calibration data"
) -> Calibration:
    """A calibration over any source; raises BadInput where it has too few samples."""
    hashes = source.hashes()
    if len(hashes) < MIN_SAMPLES:
        raise BadInput(f"{name}: {len(hashes)} samples; at least {MIN_SAMPLES} are needed for {FOLDS} folds")
    if len(set(hashes)) < FOLDS:
        raise BadInput(
            f"{name}: only {len(set(hashes))} different samples; {FOLDS} folds need at least {FOLDS}"
        )
    digest = hashlib.sha256(source.identity().encode())
    for index in sorted(range(len(hashes)), key=lambda i: hashes[i]):
        label = "" if labels is None else str(int(labels[index]))
        digest.update(f"\n{hashes[index]} {label}".encode())
    return Calibration(source, labels, deal(hashes), digest.hexdigest(), notes, hashes)


def deal(hashes: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Five folds of sample indices: distinct contents in order of their hash, dealt round robin."""
    rank = {content: position for position, content in enumerate(sorted(set(hashes)))}
    folds: list[list[int]] = [[] for _ in range(FOLDS)]
    for index, content in enumerate(hashes):
        folds[rank[content] % FOLDS].append(index)
    return tuple(tuple(fold) for fold in folds)


def _from_images(folder: Path, model: ir.Model, preprocess: Path | None, labels: Path | None) -> Calibration:
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file())
    if not files:
        raise BadInput(f"{folder}: no images in this folder (looked for {', '.join(IMAGE_SUFFIXES)})")
    beside = folder / PREPROCESS_NAME
    notes: tuple[str, ...] = ()
    if preprocess is not None or beside.exists():
        how = read_preprocess(preprocess or beside, model)
    else:
        how = default_preprocess(folder, model)
        notes = (f"{folder.name} has no {PREPROCESS_NAME}: assumed {describe(how)}",)
    source = ImageFolder(files, how)
    check_shapes(str(files[0]), model, source.batch([0]))
    table = labels if labels is not None else folder / LABELS_NAME
    known = _read_labels(table, [f.name for f in files]) if labels is not None or table.exists() else None
    return from_source(source, known, notes, str(folder))


def _from_arrays(path: Path, model: ir.Model, labels: Path | None) -> Calibration:
    arrays, folder = read_arrays(path, input_names(model))
    inside = arrays.pop(LABELS_KEY, None) if LABELS_KEY not in input_names(model) else None
    names = input_names(model)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise BadInput(
            f"{path}: no array for input {missing[0]!r}; it has {', '.join(sorted(arrays)) or 'none'}: name "
            "each array after its input, as in numpy.savez(file, NAME=array)"
        )
    used = {name: arrays[name] for name in names}
    if any(array.ndim == 0 or len(array) != len(used[names[0]]) for array in used.values()):
        raise BadInput(f"{path}: the arrays differ in their number of samples (axis 0)")
    if len(used[names[0]]) == 0:
        raise BadInput(f"{path}: holds no samples")
    source = Arrays(used, folder, str(path))
    check_shapes(str(path), model, source.batch([0]))
    count = len(used[names[0]])
    if labels is not None:
        return from_source(source, _read_labels(labels, [str(i) for i in range(count)]), name=str(path))
    return from_source(source, None if inside is None else _as_labels(path, inside, count), name=str(path))


def input_names(model: ir.Model) -> list[str]:
    """What data must be given for; a weight that is an input, too, keeps its own value."""
    return [str(value.name) for value in model.graph.inputs if not value.is_initializer()]


def _as_labels(path: Path, array: Array, count: int) -> Labels:
    if array.shape != (count,) or not np.issubdtype(array.dtype, np.integer):
        raise BadInput(
            f"{path}: labels must be {count} integers, one per sample; they are {array.dtype}{array.shape}"
        )
    return array.astype(np.int64)


def _read_labels(path: Path, files: Sequence[str]) -> Labels:
    """Labels of these files from a CSV with columns `file` and `label`."""
    data = read_bytes(path, "labels", LARGEST_LABELS)
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: cannot be read as CSV: {shorten(str(error))}") from error
    if not rows or not {"file", "label"} <= set(rows[0]):
        raise BadInput(f"{path}: needs a header with the columns file,label and one row per sample")
    table = {str(row["file"]): str(row["label"]) for row in rows}
    missing = [file for file in files if file not in table]
    if missing:
        raise BadInput(
            f"{path}: no label for {missing[0]} ({len(missing)} of {len(files)} samples have none)"
        )
    try:
        return np.array([int(table[file]) for file in files], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{path}: labels must be class indices: {shorten(str(error))}") from error


def check_shapes(where: str, model: ir.Model, feeds: Mapping[str, Array]) -> None:
    """Raise BadInput where a sample does not fit a fixed dimension or the type of its input.

    where: what the samples came from, for the message.
    """
    for value in model.graph.inputs:
        if value.is_initializer():
            continue
        array = feeds.get(str(value.name))
        if array is None:
            raise BadInput(
                f"{where}: images feed one input, but the model also needs {value.name!r}; use an .npz"
            )
        if value.dtype is not None and array.dtype != value.dtype.numpy():
            raise BadInput(
                f"{where}: input {value.name!r} takes {value.dtype.numpy()}, the samples are {array.dtype}: "
                f"convert them with .astype('{value.dtype.numpy()}')"
            )
        if value.shape is not None and len(value.shape) == 0:
            raise BadInput(
                f"{where}: input {value.name!r} is a single number: calibration needs models whose inputs "
                "all have samples on their first axis"
            )
        wanted = [] if value.shape is None else [d if isinstance(d, int) else None for d in value.shape]
        fits = len(wanted) == array.ndim and all(
            w is None or w == d for w, d in zip(wanted[1:], array.shape[1:], strict=True)
        )
        if wanted and not fits:
            have = "x".join(str(d) for d in array.shape[1:])
            need = "x".join("?" if d is None else str(d) for d in wanted[1:])
            raise BadInput(f"{where}: a sample is {have}, but input {value.name!r} takes {need}")
