"""A user's data as inputs to run models on: arrays by name, or a folder of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir

from hwopt.calibration.arrays import read_arrays
from hwopt.calibration.images import (
    IMAGE_SUFFIXES,
    PREPROCESS_NAME,
    ImageFolder,
    default_preprocess,
    read_preprocess,
)
from hwopt.debug.compare.inputs import Inputs
from hwopt.errors import BadInput
from hwopt.mapped import taken
from hwopt.nodes import Array
from hwopt.wording import near

SAMPLES = 8
_ARRAYS = (".npz", ".npy")


def given_inputs(
    path: Path, model: ir.Model, preprocess: Path | None = None, samples: int | None = None
) -> list[Inputs]:
    """The user's data, as the model takes it.

    path: an .npz with an array per input, an .npy for an only input, a folder of .npy files (one per
    input, or samples of an only input), or a folder of images as for calibration. Arrays that fit are
    one run; where the batch is fixed and there are more samples, one run after the other. Images are run
    one by one. samples: how many at most; None: 8. Raises BadInput, naming the file, for what does not fit.
    """
    if not path.exists():
        hint = near(path) or "; give an .npz, an .npy, or a folder of .npy files or images"
        raise BadInput(f"{path}: no such inputs{hint}")
    count = SAMPLES if samples is None else samples
    if path.is_dir() and any(file.suffix.lower() in IMAGE_SUFFIXES for file in path.iterdir()):
        return _images(path, model, preprocess, count)
    if preprocess is not None:
        raise BadInput(f"--preprocess {preprocess} goes with a folder of images: arrays are used as they are")
    if path.is_dir():
        return _folder(path, model, count)
    if path.suffix not in _ARRAYS:
        raise BadInput(f"{path}: cannot be read as inputs; give an .npz, an .npy, or a folder")
    arrays, unpacked = read_arrays(path, _names(model))
    try:
        return _of_arrays(str(path), arrays, model, count)
    finally:
        if unpacked is not None:
            unpacked.cleanup()


def _names(model: ir.Model) -> list[str]:
    return [str(value.name) for value in model.graph.inputs if not value.is_initializer()]


def _folder(path: Path, model: ir.Model, count: int) -> list[Inputs]:
    files = sorted(file for file in path.iterdir() if file.suffix == ".npy")
    names = _names(model)
    if not files:
        raise BadInput(f"{path}: neither .npy files nor images in this folder")
    if {file.stem for file in files} >= set(names):
        arrays = {file.stem: _array(file, file.stem) for file in files if file.stem in names}
        return _of_arrays(str(path), arrays, model, count)
    if len(names) != 1:
        raise BadInput(
            f"{path}: needs one .npy per input, named {', '.join(f'{name}.npy' for name in names)}"
        )
    return [
        item
        for file in files[:count]
        for item in _of_arrays(str(file), {names[0]: _array(file, names[0])}, model, count)
    ][:count]


def _array(file: Path, name: str) -> Array:
    return read_arrays(file, [name])[0][name]


def _of_arrays(where: str, arrays: Mapping[str, Array], model: ir.Model, count: int) -> list[Inputs]:
    values = [value for value in model.graph.inputs if not value.is_initializer()]
    missing = [str(value.name) for value in values if str(value.name) not in arrays]
    if missing:
        has = ", ".join(sorted(arrays)) or "none"
        raise BadInput(f"{where}: no array for input '{missing[0]}'; it has {has}")
    for value in values:
        _check_type(where, value, arrays[str(value.name)])
    per_run = {_per_run(where, value, arrays[str(value.name)]) for value in values}
    if per_run == {None}:  # all fit as they are
        return [_whole(where, {str(v.name): (arrays[str(v.name)], _batch(v)) for v in values}, count)]
    return _sliced(where, {str(v.name): (arrays[str(v.name)], _batch(v)) for v in values}, count)


def _check_type(where: str, value: ir.Value, array: Array) -> None:
    if value.dtype is not None and value.dtype != ir.DataType.STRING and array.dtype != value.dtype.numpy():
        raise BadInput(
            f"{where}: input '{value.name}' takes {value.dtype.numpy()}, the array is {array.dtype}"
        )


def _batch(value: ir.Value) -> int | None:
    """The fixed size of the first axis, if it has one."""
    first = value.shape[0] if value.shape else None
    return first if isinstance(first, int) and first > 0 else None


def _per_run(where: str, value: ir.Value, array: Array) -> int | None:
    """None where an array fits as it is; how many of its samples go into a run where it holds more."""
    wanted = None if value.shape is None else [d if isinstance(d, int) else None for d in value.shape]
    if wanted is None:
        return None
    rest = len(wanted) == array.ndim and all(
        w is None or w < 0 or w == have for w, have in zip(wanted[1:], array.shape[1:], strict=True)
    )
    batch = _batch(value)
    if not rest or (batch is not None and (len(array) == 0 or len(array) % batch)):
        need = "x".join("?" if size is None else str(size) for size in wanted) or "a single number"
        have = "x".join(map(str, array.shape)) or "a single number"
        raise BadInput(f"{where}: input '{value.name}' takes {need}, the array is {have}")
    return None if batch is None or len(array) == batch else batch


def _whole(where: str, arrays: Mapping[str, tuple[Array, int | None]], count: int) -> Inputs:
    """All in one run; the first samples alone where every input has a free batch and there are many."""
    lengths = {len(array) if array.ndim and batch is None else 0 for array, batch in arrays.values()}
    if len(lengths) == 1 and max(lengths) > count:
        name = f"{where}, {count} of {max(lengths)} samples"
        return Inputs(name, {key: taken(array, range(count)) for key, (array, _) in arrays.items()})
    return Inputs(where, {key: np.array(array) for key, (array, _) in arrays.items()})


def _sliced(where: str, arrays: Mapping[str, tuple[Array, int | None]], count: int) -> list[Inputs]:
    """One run after the other along the first axis of every array."""
    runs = {len(array) // (batch or 1) if array.ndim else 0 for array, batch in arrays.values()}
    if len(runs) != 1:
        raise BadInput(f"{where}: the arrays differ in their number of samples (axis 0)")
    return [
        Inputs(
            f"{where}, run {index + 1}",
            {
                name: taken(array, range(index * (batch or 1), (index + 1) * (batch or 1)))
                for name, (array, batch) in arrays.items()
            },
        )
        for index in range(min(runs.pop(), count))
    ]


def _images(path: Path, model: ir.Model, preprocess: Path | None, count: int) -> list[Inputs]:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)[:count]
    beside = path / PREPROCESS_NAME
    known = preprocess is not None or beside.exists()
    how = read_preprocess(preprocess or beside, model) if known else default_preprocess(path, model)
    source = ImageFolder(files, how)
    batch = _batch(next(value for value in model.graph.inputs if str(value.name) == how.input)) or 1
    runs = [[index % len(files)] * batch for index in range(len(files))]
    return [
        item
        for index, run in enumerate(runs)
        for item in _of_arrays(str(files[index]), source.batch(run), model, 1)
    ]
