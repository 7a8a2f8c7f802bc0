"""An image input at WxH  -->  the same model at a smaller resolution (LOSSY, another interface).

Weights stay as they are: a fully convolutional model that ends in a global pooling takes any size,
and all of its maps shrink with the image. Offered only where the interface may change, because the
caller must give smaller images. The resolution multiplier of Howard et al., "MobileNets", 2017,
section 3.4, without training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import onnx_ir as ir

from hwopt.choice import Kind, Pass, Risk, Skip, Stage, Value
from hwopt.errors import BadInput
from hwopt.nodes import constant, is_op, label
from hwopt.places import has_place, place_of
from hwopt.resolution import IMAGE_CHANNELS, ImageInput, image_inputs, with_sizes
from hwopt.runtime import Session
from hwopt.shapes import TensorInfo, infer_shapes
from hwopt.target import Target
from hwopt.wording import said

SHARES = (7 / 8, 3 / 4, 5 / 8, 1 / 2)
COARSE = 32  # images of `LARGE` pixels and more go to multiples of this, smaller ones of FINE
FINE = 8
LARGE = 128
SMALLEST = 16

Shapes = Mapping[str, TensorInfo]


class ResizeInput(Pass):
    """One value per smaller size at which the model still gives outputs of the same shape."""

    name = "resize_input"
    stage = Stage.FORM
    risk = Risk.LOSSY
    summary = "an image input --> a smaller one, all maps with it (needs --allow-interface-change)"
    changes_interface = True

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        del target
        for name in free_inputs(model):
            yield Skip(self.name, name, "its height and width are free already: choose with --input-shape")
        for image in image_inputs(model):
            sizes = smaller(image.size)
            try:
                before = infer_shapes(model, {})
            except BadInput as error:
                yield Skip(self.name, image.name, str(error))
                continue
            reason = pinned(model, before) or ("" if sizes else "the image is as small as it should be")
            if reason:
                yield Skip(self.name, image.name, reason)
                continue
            yield from self._sizes(model, image, sizes, before)

    def _sizes(
        self, model: ir.Model, image: ImageInput, sizes: list[tuple[int, int]], before: Shapes
    ) -> Iterator[Value | Skip]:
        places = tuple(sorted(place_of(node) for node in model.graph if has_place(node)))
        for size in sizes:
            shapes = shapes_at(model, image, size, before)
            if isinstance(shapes, str):
                yield Skip(self.name, image.name, f"at {size[0]}x{size[1]}: {shapes}")
                return  # what pins the resolution pins the smaller ones, too
            yield Value(
                choice=choice_of(model, image),
                kind=Kind.INPUT,
                name=name_of(size),
                pass_name=self.name,
                risk=self.risk,
                stage=self.stage,
                places=places,
                rewrite=partial(write_shapes, shapes=shapes),
                parameters={"input": image.name, "height": size[0], "width": size[1]},
            )


def choice_of(model: ir.Model, image: ImageInput) -> str:
    """The id of an input's resolution: its number among the inputs, since an export may rename it."""
    names = [str(value.name) for value in model.graph.inputs if not value.is_initializer()]
    return f"input:{names.index(image.name)}"


def free_inputs(model: ir.Model) -> Iterator[str]:
    """The inputs with four axes of which height or width may be anything."""
    for value in model.graph.inputs:
        dims = [] if value.shape is None else list(value.shape.dims)
        if len(dims) == 4 and dims[1] in IMAGE_CHANNELS and not all(isinstance(d, int) for d in dims[2:]):
            yield str(value.name)


def smaller(size: tuple[int, int]) -> list[tuple[int, int]]:
    """The sizes worth offering: shares of the present one, rounded down to whole steps of the model."""
    found = []
    for share in SHARES:
        edges = tuple(_rounded(edge * share, COARSE if edge >= LARGE else FINE) for edge in size)
        if min(edges) >= SMALLEST and edges != size and edges not in found:
            found.append(edges)
    return [(height, width) for height, width in found]


def _rounded(edge: float, step: int) -> int:
    return int(edge + 1e-6) // step * step


def name_of(size: tuple[int, int]) -> str:
    """`r192` for a square, `r192x256` for height and width that differ."""
    return f"r{size[0]}" if size[0] == size[1] else f"r{size[0]}x{size[1]}"


def pinned(model: ir.Model, shapes: Shapes) -> str:
    """What in the model is made for one resolution alone; empty where nothing was seen."""
    for node in model.graph:
        source = node.inputs[0] if node.inputs else None
        info = shapes.get(str(source.name)) if source is not None else None
        spatial = info is not None and len(info.shape) == 4 and max(info.shape[2:]) > 1
        if spatial and info is not None and is_op(node, "Flatten"):
            return (
                f"'{label(node)}' flattens a map of {info.shape[2]}x{info.shape[3]}: what follows is as long"
            )
        if is_op(node, "Resize") and len(node.inputs) > 3 and constant(node.inputs[3]) is not None:
            return f"'{label(node)}' resizes to a constant size"
    return ""


def shapes_at(
    model: ir.Model, image: ImageInput, size: tuple[int, int], before: Shapes
) -> dict[str, TensorInfo] | str:
    """Every tensor's shape at another size, from a run; or why the model does not take that size."""
    changed = with_sizes(model, {image.name: replace(image, size=size)})
    try:
        after = infer_shapes(changed, {})
        feeds = {str(v.name): _ones(after[str(v.name)]) for v in changed.graph.inputs if v.name in after}
        outputs = Session(changed, threads=1).run(feeds)
    except Exception as error:  # whatever ONNX Runtime objects to: the model does not take that size
        return said(error)
    for name, array in outputs.items():
        if name in before and array.shape != before[name].shape:
            return f"its output '{name}' would have the shape {list(array.shape)}"
    return after


def _ones(info: TensorInfo) -> np.ndarray:
    return np.ones(info.shape, info.dtype.numpy())


def write_shapes(model: ir.Model, shapes: Shapes) -> None:
    """Corrects the sizes that values have recorded; symbolic axes stay symbolic."""
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    for value in values:
        info = shapes.get(str(value.name))
        if info is None or value.shape is None or len(value.shape) != len(info.shape):
            continue
        pairs = zip(value.shape.dims, info.shape, strict=True)
        value.shape = ir.Shape([new if isinstance(old, int) else old for old, new in pairs])


PASSES: tuple[Pass, ...] = (ResizeInput(),)
