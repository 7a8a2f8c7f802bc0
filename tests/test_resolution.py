"""Another resolution: images are resized as Pillow does it, and plans are judged by the original."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from hwopt.calibration.data import Arrays, from_source
from hwopt.choice import Kind, Risk, Stage, Value
from hwopt.damage.measure import cross_fitted
from hwopt.nodes import FloatArray
from hwopt.passes.resize_input import shapes_at, write_shapes
from hwopt.repair.marks import request_fit
from hwopt.repair.reference import Reference
from hwopt.resolution import (
    ImageInput,
    ResizedReference,
    at_resolution,
    image_inputs,
    resized,
    seen_by,
    triangle,
)
from hwopt.rewrite import rewrite
from hwopt.shapes import infer_shapes
from tests.graphs import classifier, model_of, output_of


def fields(count: int, edge: int = 16) -> FloatArray:
    x = np.random.default_rng(5).normal(size=(count, 3, edge, edge))
    return np.asarray(x + np.roll(x, 1, 2) + np.roll(x, 1, 3), np.float32)


def smaller(model: ir.Model, edge: int = 8) -> Value:
    image = next(image_inputs(model))
    shapes = shapes_at(model, image, (edge, edge), infer_shapes(model, {}))
    assert not isinstance(shapes, str)
    write = partial(write_shapes, shapes=shapes)
    return Value(f"input:{image.name}", Kind.INPUT, f"r{edge}", "t", Risk.LOSSY, Stage.FORM, (), write)


def reference(model: ir.Model, x: FloatArray) -> Reference:
    return Reference(model, from_source(Arrays({"x": x})), threads=1)


@pytest.mark.parametrize(("old", "new"), [(224, 192), (224, 112), (15, 7), (8, 8), (5, 9)])
def test_interpolation_is_that_of_pillow(old: int, new: int) -> None:
    image = np.random.default_rng(0).random((old, old)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image).resize((new, new), Image.Resampling.BILINEAR))
    found = resized(image[None, None], (2, 3), (new, new))[0, 0]
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_weights_are_means_so_a_flat_image_stays_flat() -> None:
    np.testing.assert_allclose(triangle(31, 12).sum(axis=1), 1.0)
    flat = np.full((2, 9, 9, 3), 7, np.uint8)
    small = resized(flat, (1, 2), (4, 5))
    assert small.dtype == np.uint8
    assert small.shape == (2, 4, 5, 3)
    assert (small == 7).all()


def test_image_inputs_are_found_in_both_layouts_and_only_where_the_size_is_fixed() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    m (float[N,3,20,24] a, float[1,20,24,1] b, float[N,3,H,W] c, float[N,64,8,8] d, float[N,9] e)
      => (float[N,3,20,24] y) { y = Relu(a) }
    """
    found = list(image_inputs(model_of(text, {})))
    assert found == [ImageInput("a", (2, 3), (20, 24)), ImageInput("b", (1, 2), (20, 24))]


def test_resized_data_keep_folds_and_change_the_fingerprint() -> None:
    data = from_source(Arrays({"x": fields(20)}))
    small = at_resolution(data, {"x": ImageInput("x", (2, 3), (8, 8))})
    assert small.batch([3, 1])["x"].shape == (2, 3, 8, 8)
    assert small.folds == data.folds
    assert small.fingerprint != data.fingerprint
    assert at_resolution(data, {}) is data


def test_without_a_resolution_nothing_changes() -> None:
    base = reference(classifier(), fields(20))
    assert seen_by(base, classifier(seed=1)) is base


def test_a_plan_is_judged_by_the_outputs_of_the_original() -> None:
    """The damage of the resolution alone: KL between the two models' outputs, computed here by hand."""
    model, x = classifier(), fields(30)
    base = reference(model, x)
    value = smaller(model)
    changed = rewrite(model, [value])
    view = seen_by(base, changed)
    assert isinstance(view, ResizedReference)
    assert seen_by(base, changed) is view
    assert seen_by(view, changed) is view
    found = cross_fitted(base, changed, seed=0)
    samples = [i for fold in base.judged for i in fold]
    small = np.asarray(resized(x[samples], (2, 3), (8, 8)), np.float32)
    before, after = output_of(model, x[samples]), output_of(changed, small)
    log_p = before - np.log(np.exp(before).sum(axis=1, keepdims=True))
    log_q = after - np.log(np.exp(after).sum(axis=1, keepdims=True))
    expected = (np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()
    assert found.kind == "kl"
    assert found.divergence == pytest.approx(expected, rel=1e-3)
    assert found.agreement == pytest.approx((before.argmax(axis=1) == after.argmax(axis=1)).mean())


def test_what_is_fitted_aims_at_the_resized_model() -> None:
    """A node that asks for a fit but is right already must stay right at the new size."""
    model, x = classifier(), fields(40)
    base, value = reference(model, x), smaller(model)
    changed = rewrite(model, [value])
    marked = changed.clone()
    request_fit(next(node for node in marked.graph if node.outputs[0].name == "p"))
    alone, fitted = cross_fitted(base, changed, seed=0), cross_fitted(base, marked, seed=0)
    assert fitted.divergence == pytest.approx(alone.divergence, rel=1e-2, abs=1e-4)
