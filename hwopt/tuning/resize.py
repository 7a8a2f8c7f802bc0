"""Resize, nearest and linear: every axis by itself, as a choice of rows and their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwopt.nodes import attr_int, attr_string, constant_array
from hwopt.tuning.static import Unsupported

if TYPE_CHECKING:
    from torch import Tensor

Operator = Callable[[Sequence["Tensor | None"]], Sequence["Tensor"]]
Coordinates = npt.NDArray[np.float64]

TRANSFORMS = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
ROUNDINGS: dict[str, Callable[[Coordinates], Coordinates]] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def resize(node: ir.Node) -> Operator:
    """Resize by constant scales or to constant sizes. Raises Unsupported."""
    old = len(node.inputs) == 2  # opset 10: input and scales
    scales = _constants(node, 1 if old else 2)
    sizes = [] if old else _constants(node, 3)
    mode = attr_string(node, "mode", "nearest")
    transform = attr_string(node, "coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    rounding = attr_string(node, "nearest_mode", "floor" if old else "round_prefer_floor")
    if mode not in ("nearest", "linear") or transform not in TRANSFORMS or attr_int(node, "antialias", 0):
        raise Unsupported(f"resizing that is {mode}, {transform}")
    if "axes" in node.attributes or attr_string(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsupported("resizing of chosen axes only")

    def operator(inputs: Sequence[Tensor | None]) -> Sequence[Tensor]:
        x = inputs[0]
        assert x is not None
        for axis in range(x.ndim):
            size = x.shape[axis]
            wanted = int(sizes[axis]) if sizes else int(np.floor(size * scales[axis]))
            if wanted != size and axis >= 1:
                scale = wanted / size if sizes else scales[axis]
                at = _coordinates(size, wanted, scale, transform)
                x = _nearest(x, axis, ROUNDINGS[rounding](at)) if mode == "nearest" else _linear(x, axis, at)
        return (x,)

    return operator


def _constants(node: ir.Node, index: int) -> list[float]:
    value = node.inputs[index] if index < len(node.inputs) else None
    array = None if value is None else constant_array(value)
    if value is not None and array is None:
        raise Unsupported("its size depends on data")
    return [] if array is None else [float(number) for number in array.reshape(-1)]


def _coordinates(size: int, wanted: int, scale: float, transform: str) -> Coordinates:
    """Where each output position lies in the input."""
    at = np.arange(wanted, dtype=np.float64)
    if transform == "asymmetric":
        return at / scale
    if transform == "align_corners":
        return at * (size - 1) / (wanted - 1) if wanted > 1 else at * 0
    if transform == "pytorch_half_pixel" and wanted == 1:
        return at * 0
    return (at + 0.5) / scale - 0.5


def _nearest(x: Tensor, axis: int, at: Coordinates) -> Tensor:
    import torch

    index = np.clip(at, 0, x.shape[axis] - 1).astype(np.int64)
    return x.index_select(axis, torch.from_numpy(index))


def _linear(x: Tensor, axis: int, at: Coordinates) -> Tensor:
    import torch

    at = np.clip(at, 0, x.shape[axis] - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    shape = [1] * x.ndim
    shape[axis] = len(at)
    share = torch.from_numpy((at - low).astype(np.float32)).reshape(shape)
    below = x.index_select(axis, torch.from_numpy(low))
    above = x.index_select(axis, torch.from_numpy(high))
    return below + (above - below) * share
