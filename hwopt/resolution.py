"""Another resolution of an image input, and everything that has to follow from it.

A value of kind INPUT writes the smaller size into the model; weights stay as they are. Calibration
images are resized the same way for everybody who runs the changed model. Within the model nothing
can be compared with the original, whose maps have another size: what other rewrites are fitted to
is the resized model. What a plan does to the outputs is judged against the original's outputs, on
the images as they came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import onnx_ir as ir

from hwopt.calibration.data import Calibration, Source
from hwopt.nodes import Array
from hwopt.repair.linear import Matrix
from hwopt.repair.reference import Reference

IMAGE_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class ImageInput:
    """An input that takes images of one size. axes: of height and width; size: (height, width)."""

    name: str
    axes: tuple[int, int]
    size: tuple[int, int]


def image_inputs(model: ir.Model) -> Iterator[ImageInput]:
    """The inputs with four axes, few channels and a fixed height and width, in either layout."""
    for value in model.graph.inputs:
        dims = [] if value.shape is None else list(value.shape.dims)
        if len(dims) != 4 or value.is_initializer() or not value.name:
            continue
        for channel, axes in ((1, (2, 3)), (3, (1, 2))):
            size = [edge for edge in (dims[axis] for axis in axes) if isinstance(edge, int) and edge > 1]
            if dims[channel] in IMAGE_CHANNELS and len(size) == 2:
                yield ImageInput(value.name, axes, (size[0], size[1]))
                break


def triangle(old: int, new: int) -> Matrix:
    """[new, old] weights of linear interpolation that averages over what a smaller image leaves out.

    A triangle as wide as two pixels of the coarser grid around every new pixel, cut at the border:
    what Pillow calls bilinear.
    """
    scale = old / new
    reach = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    distance = np.abs(np.arange(old)[None, :] + 0.5 - centres[:, None])
    weights = np.clip(1.0 - distance / reach, 0.0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


def resized(images: Array, axes: tuple[int, int], size: tuple[int, int]) -> Array:
    """Images [samples, ...] with their height and width axes at another size, in their own type."""
    found = np.asarray(images, dtype=np.float64)
    for axis, new in zip(axes, size, strict=True):
        weights = triangle(found.shape[axis], new)
        found = np.moveaxis(np.tensordot(found, weights, axes=([axis], [1])), -1, axis)
    if np.issubdtype(images.dtype, np.integer):
        limits = np.iinfo(str(images.dtype))
        found = np.clip(np.rint(found), limits.min, limits.max)
    return np.ascontiguousarray(found.astype(images.dtype))


class ResizedSource:
    """Samples of another source with some inputs at another size. sizes: of the inputs by name."""

    def __init__(self, source: Source, sizes: Mapping[str, ImageInput]) -> None:
        self._source = source
        self._sizes = dict(sizes)

    def hashes(self) -> tuple[str, ...]:
        """Those of the samples as they came: folds stay what they are."""
        return self._source.hashes()

    def identity(self) -> str:
        """The source's own, with the sizes."""
        sizes = [(name, self._sizes[name].size) for name in sorted(self._sizes)]
        return f"{self._source.identity()}\nresized {sizes}"

    def batch(self, indices: Sequence[int]) -> dict[str, Array]:
        """The samples at the new size."""
        found = dict(self._source.batch(indices))
        for name, image in self._sizes.items():
            if name in found:
                found[name] = resized(found[name], image.axes, image.size)
        return found


def at_resolution(calibration: Calibration, sizes: Mapping[str, ImageInput]) -> Calibration:
    """The same samples, folds and labels with some inputs at another size."""
    if not sizes:
        return calibration
    source = ResizedSource(calibration.source, sizes)
    text = f"{calibration.fingerprint}\n{source.identity()}"
    return replace(calibration, source=source, fingerprint=hashlib.sha256(text.encode()).hexdigest())


class ResizedReference(Reference):
    """The resized base on resized samples, judged against the original's outputs.

    base, and every value within it, at the new resolution: what fits aim at. outputs: the
    original's on the samples as they came: what damage is measured against.
    """

    def __init__(self, original: Reference, base: ir.Model, sizes: Mapping[str, ImageInput]) -> None:
        super().__init__(base, at_resolution(original.calibration, sizes), original.threads)
        self.original = original
        self.given_up = original.given_up

    @property
    def judged(self) -> tuple[tuple[int, ...], ...]:
        """The samples on which the original is compared with others."""
        return self.original.judged

    def outputs(self, samples: Sequence[int] | None = None) -> dict[str, Array]:
        """The original's outputs for samples that are judged."""
        return self.original.outputs(samples)


def changed_sizes(base: ir.Model, changed: ir.Model) -> dict[str, ImageInput]:
    """The image inputs that have another size in the changed model, by name."""
    before = {image.name: image for image in image_inputs(base)}
    return {i.name: i for i in image_inputs(changed) if i.name in before and before[i.name].size != i.size}


def with_sizes(model: ir.Model, sizes: Mapping[str, ImageInput]) -> ir.Model:
    """A clone whose image inputs have these sizes; what it records of inner shapes is dropped."""
    clone = model.clone()
    for value in clone.graph.inputs:
        image = sizes.get(str(value.name))
        if image is not None and value.shape is not None:
            dims = list(value.shape.dims)
            for axis, edge in zip(image.axes, image.size, strict=True):
                dims[axis] = edge
            value.shape = ir.Shape(dims)
    for node in clone.graph if sizes else ():
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    return clone


KEPT_VIEWS = 4
_lock = Lock()  # single values are measured two at a time
_views: list[tuple[dict[str, ImageInput], ResizedReference]] = []  # the last ones that were asked for


def seen_by(reference: Reference, changed: ir.Model) -> Reference:
    """What a changed model is fitted to and judged by: the reference itself, or its resized view."""
    sizes = changed_sizes(reference.base, changed)
    if not sizes:
        return reference
    with _lock:
        for known, view in _views:
            if known == sizes and view.original is reference:
                return view
        view = ResizedReference(reference, with_sizes(reference.base, sizes), sizes)
        assert view.cuts  # recorded once, before other threads see it
        _views[:] = [*_views[1 - KEPT_VIEWS :], (sizes, view)]
        return view
