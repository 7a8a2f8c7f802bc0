"""Calibration data from a Python iterable: read once, kept on disk, never whole in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from hwopt.calibration.arrays import content_hash, identity_of, require_numbers
from hwopt.calibration.data import (
    Calibration,
    check_shapes,
    from_source,
    input_names,
)
from hwopt.errors import BadInput
from hwopt.files.scratch import temporary_folder
from hwopt.nodes import Array

Item = object  # an array, a mapping of input names to arrays, or a pair of either and its labels
NAME = "calibration iterable"


def calibration_of(items: Iterable[Item], model: ir.Model) -> Calibration:
    """Calibration data from an iterable, a generator too, which is read once, to its end.

    Each item is one sample or a batch of samples: an array, where the model has one input, or a
    mapping of input names to arrays; or a pair `(inputs, labels)` of either with an integer or
    one integer per sample. An array with one axis less than its input is one sample. The samples
    are written to a temporary file that lives as long as the data. They have the fingerprint of
    the same samples in an .npz. Raises BadInput, naming the item, for what cannot be used.
    """
    spool = Spool()
    labels: list[int] = []
    for position, item in enumerate([items] if isinstance(items, Mapping) else items):
        where = f"{NAME}: item {position}"
        inputs, known = _parted(where, item)
        feeds = _as_feeds(where, inputs, model)
        check_shapes(where, model, feeds)
        if position and bool(labels) != (known is not None):
            raise BadInput(f"{where}: {'no label' if labels else 'a label'}, unlike the items before it")
        if known is not None:
            labels.extend(_as_labels(where, known, len(next(iter(feeds.values())))))
        spool.add(where, feeds)
    return from_source(spool, np.array(labels, dtype=np.int64) if labels else None, name=NAME)


def _parted(where: str, item: Item) -> tuple[object, object]:
    """The inputs of an item, and its labels or None."""
    if not isinstance(item, tuple):
        return item, None
    if len(item) != 2 or item[1] is None:
        raise BadInput(f"{where}: a tuple must be the pair (inputs, label); use a dict for several inputs")
    return item[0], item[1]


def _as_feeds(where: str, inputs: object, model: ir.Model) -> dict[str, Array]:
    """The arrays of an item by input name, samples on axis 0."""
    names = input_names(model)
    if not isinstance(inputs, Mapping):
        if len(names) != 1:
            raise BadInput(f"{where}: one array, but the model has inputs {', '.join(names)}; use a dict")
        inputs = {names[0]: inputs}
    extra = sorted(str(name) for name in inputs if name not in names)
    missing = [name for name in names if name not in inputs]
    if extra or missing:
        what = f"no array for input {missing[0]!r}" if missing else f"no input is called {extra[0]!r}"
        raise BadInput(f"{where}: {what}; the model's inputs are {', '.join(names)}")
    feeds = {str(value.name): _stacked(where, inputs[str(value.name)], value) for value in model.graph.inputs}
    counts = {len(array) for array in feeds.values()}
    if len(counts) > 1 or 0 in counts:
        raise BadInput(f"{where}: the inputs hold {sorted(counts)} samples (axis 0); give each as many")
    return feeds


def _stacked(where: str, given: object, value: ir.Value) -> Array:
    """An array with samples on axis 0: one sample gets that axis."""
    try:
        array: Array = np.asarray(given)
    except Exception as error:  # other libraries' arrays raise whatever they like
        raise BadInput(f"{where}: input {value.name!r} is no array: {error}") from error
    if array.dtype == object:
        raise BadInput(f"{where}: input {value.name!r} is a {type(given).__name__}, not an array of numbers")
    rank = None if value.shape is None else len(value.shape)
    array = array[None] if rank is not None and array.ndim == rank - 1 else array
    if array.ndim == 0:
        raise BadInput(f"{where}: input {value.name!r} is a single number; give an array")
    return array


def _as_labels(where: str, given: object, count: int) -> list[int]:
    labels: Array = np.atleast_1d(np.asarray(given))
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise BadInput(
            f"{where}: its label must be {count} integers, one per sample; it is {labels.dtype}{labels.shape}"
        )
    return [int(label) for label in labels]


class Spool:
    """Samples in a temporary folder, one file per input; the folder disappears with it."""

    def __init__(self) -> None:
        self._folder = temporary_folder()
        self._forms: dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]] = {}
        self._files: dict[str, Path] = {}
        self._hashes: list[str] = []

    def add(self, where: str, feeds: Mapping[str, Array]) -> None:
        """Append samples. Raises BadInput where they differ in shape from those before, or hold NaN."""
        forms = {name: (array.dtype, array.shape[1:]) for name, array in feeds.items()}
        if not self._forms:
            self._forms = forms
            self._files = {name: Path(self._folder.name) / f"{i}.bin" for i, name in enumerate(feeds)}
        for name, form in forms.items():
            if form != self._forms[name]:
                raise BadInput(
                    f"{where}: input {name!r} is {_told(form)}, but the samples before are "
                    f"{_told(self._forms[name])}; give all samples one shape"
                )
        for name, array in feeds.items():
            with self._files[name].open("ab") as file:
                file.write(np.ascontiguousarray(array).tobytes())
        for index in range(len(next(iter(feeds.values())))):
            sample = {name: array[index] for name, array in feeds.items()}
            require_numbers(where, sample, index)
            self._hashes.append(content_hash(sample))

    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of each sample over all inputs."""
        return tuple(self._hashes)

    def identity(self) -> str:
        """Names, types and shapes of the arrays."""
        return identity_of(self._forms)

    def batch(self, indices: Sequence[int]) -> dict[str, Array]:
        """The samples, in the order asked for.

        The file is mapped for this call alone: a mapping that stays would count as memory.
        """
        return {name: self._read(name, indices) for name in self._forms}

    def _read(self, name: str, indices: Sequence[int]) -> Array:
        dtype, shape = self._forms[name]
        full = (len(self._hashes), *shape)
        mapped = np.memmap(self._files[name], dtype=dtype, mode="r", shape=full)
        return np.array(mapped[np.asarray(indices, dtype=np.int64)])


def _told(form: tuple[np.dtype[np.generic], tuple[int, ...]]) -> str:
    return f"{form[0]} {'x'.join(str(d) for d in form[1])}"
