"""Files that are often given in the place of an ONNX model, and how to make one of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_PYTORCH = "holds a PyTorch model: export it with torch.onnx.export(model, example, 'model.onnx')"
_KERAS = "holds a Keras model: export it with model.export('model.onnx', format='onnx')"
_TENSORFLOW = "holds a TensorFlow model: convert it, for example with `python -m tf2onnx.convert`"
_TFLITE = "is a TensorFlow Lite model: convert it with `python -m tf2onnx.convert --tflite`"
_WEIGHTS = "holds weights alone: load them into the model they are of, and export that to ONNX"
_ARRAYS = "holds arrays, not a model: calibration data are given with --calib"
_BY_SUFFIX: Mapping[str, str] = {
    ".pt": _PYTORCH, ".pth": _PYTORCH, ".pt2": _PYTORCH, ".ckpt": _PYTORCH, ".torchscript": _PYTORCH,
    ".keras": _KERAS, ".h5": _KERAS, ".hdf5": _KERAS,
    ".pb": _TENSORFLOW, ".tflite": _TFLITE, ".safetensors": _WEIGHTS,
    ".npz": _ARRAYS, ".npy": _ARRAYS,
    ".ort": "is an ONNX Runtime model: give the ONNX file that it was made from",
    ".pdmodel": "is a Paddle model: convert it with paddle2onnx",
}  # fmt: skip
_TFLITE_MARK = slice(4, 8), b"TFL3"
_POINTER = "is a Git LFS pointer, not the model itself: fetch it with `git lfs pull`"
_PAGE = "is a web page, not the model itself: a download went wrong, perhaps for want of a login"
_BY_BEGINNING: Mapping[bytes, str] = {
    b"version https://git-lfs": _POINTER, b"<!doctype html": _PAGE, b"<html": _PAGE, b"\x93numpy": _ARRAYS,
}  # fmt: skip
_SAVED_MODEL = "saved_model.pb"


def foreign(path: Path, data: bytes = b"") -> str:
    """What the file is, and what to do about it; "" where nobody can tell."""
    where, mark = _TFLITE_MARK
    if data[where] == mark:
        return _TFLITE
    beginning = data[:64].lstrip().lower()
    told = next((what for known, what in _BY_BEGINNING.items() if beginning.startswith(known)), "")
    return told or _BY_SUFFIX.get(path.suffix.lower(), "")


def foreign_folder(path: Path) -> str:
    """The same of a folder: the ONNX file in it, where there is one alone."""
    if (path / _SAVED_MODEL).is_file():
        return _TENSORFLOW
    models = sorted(path.glob("*.onnx"))
    return (
        f"is a folder: did you mean '{models[0]}'?" if len(models) == 1 else "is a folder: name an ONNX file"
    )
