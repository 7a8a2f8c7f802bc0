"""int8 forms: QDQ as ONNX defines it, close to the float model, the same bytes every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from hwopt.accuracy import log_probabilities
from hwopt.calibration.data import Arrays, Calibration, from_source
from hwopt.errors import BadInput
from hwopt.ir import interface, model_bytes
from hwopt.quantize.write import OPSET, SAMPLES, judged_form, quantised, require_opset
from hwopt.runtime import Session
from tests.graphs import classifier, model_of, output_of

SOFTMAX_LAST = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N, 3, 8, 8] x) => (float[N, 6, 1, 1] y)
<float[6, 3, 3, 3] w>
{
  a = Conv <pads = [1, 1, 1, 1]> (x, w)
  b = Relu (a)
  c = GlobalAveragePool (b)
  p = Softmax <axis = 1> (c)
  y = Identity (p)
}
"""


def images(count: int, shape: tuple[int, ...] = (3, 16, 16), seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def calibration_of(model: ir.Model, x: np.ndarray) -> Calibration:
    return from_source(Arrays({str(model.graph.inputs[0].name): x}))


@pytest.fixture(scope="module")
def float_model() -> ir.Model:
    return classifier()


@pytest.fixture(scope="module")
def int8_model(float_model: ir.Model) -> ir.Model:
    calibration = calibration_of(float_model, images(60))
    return quantised(float_model, calibration, calibration.samples([1, 2, 3, 4]))


def test_the_interface_stays_and_the_checker_passes(float_model: ir.Model, int8_model: ir.Model) -> None:
    assert interface(int8_model) == interface(float_model)
    onnx.checker.check_model(ir.to_proto(int8_model), full_check=True)


def test_every_weight_is_int8_with_a_scale_per_output_channel(int8_model: ir.Model) -> None:
    weights = 0
    for node in int8_model.graph:
        if node.op_type != "Conv":
            continue
        dequantise = node.inputs[1].producer()  # type: ignore[union-attr]
        assert dequantise is not None
        assert dequantise.op_type == "DequantizeLinear"
        stored, scale, zero = (value.const_value.numpy() for value in dequantise.inputs)  # type: ignore[union-attr]
        assert stored.dtype == np.int8
        assert scale.shape == (stored.shape[0],)
        assert not zero.any()
        # one step of a symmetric range: the largest magnitude of every channel is stored as 127
        assert (np.abs(stored.astype(int)).reshape(len(stored), -1).max(axis=1) == 127).all()
        weights += 1
    assert weights == sum(node.op_type == "Conv" for node in classifier().graph)


def test_outputs_are_those_of_the_float_model_up_to_a_few_steps(
    float_model: ir.Model, int8_model: ir.Model
) -> None:
    x = images(40, seed=8)
    name = str(float_model.graph.inputs[0].name)
    one, two = output_of(float_model, x), next(iter(Session(int8_model).run({name: x}).values()))
    step = (one.max() - one.min()) / 255
    assert np.abs(np.subtract(one, two)).mean() < 4 * step
    p, q = log_probabilities(one, False), log_probabilities(two, False)
    assert np.sum(np.exp(p) * (p - q), axis=1).mean() < 0.01
    assert not np.array_equal(one, two)


def test_the_model_that_was_given_is_not_touched(float_model: ir.Model) -> None:
    before = model_bytes(float_model)
    calibration = calibration_of(float_model, images(20))
    quantised(float_model, calibration, calibration.samples([0]))
    assert model_bytes(float_model) == before


SCRIPT = """
import hashlib
from hwopt.ir import model_bytes
from hwopt.quantize.write import quantised
from tests.graphs import classifier
from tests.test_quantize import calibration_of, images
model = classifier()
calibration = calibration_of(model, images(60))
form = quantised(model, calibration, calibration.samples([1, 2, 3, 4]))
print(hashlib.sha256(model_bytes(form)).hexdigest())
"""


def test_another_process_and_hash_seed_give_the_same_bytes(int8_model: ir.Model) -> None:
    import hashlib

    root = Path(__file__).parent.parent
    env = {**os.environ, "PYTHONHASHSEED": "4242", "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == hashlib.sha256(model_bytes(int8_model)).hexdigest(), done.stderr


def test_a_softmax_at_the_end_stays_float() -> None:
    model = model_of(SOFTMAX_LAST, {"w": (6, 3, 3, 3)})
    calibration = calibration_of(model, images(20, (3, 8, 8)))
    form = quantised(model, calibration, calibration.samples([0, 1]))
    last = [node.op_type for node in form.graph][-2:]
    assert last == ["Softmax", "Identity"]
    total = next(iter(Session(form).run({"x": images(4, (3, 8, 8))}).values())).sum(axis=1)
    np.testing.assert_allclose(total, 1.0, atol=1e-6)


def test_ranges_come_from_no_more_samples_than_promised(float_model: ir.Model) -> None:
    read: list[int] = []

    class Counted(Arrays):
        def batch(self, indices):  # type: ignore[no-untyped-def]
            read.extend(indices)
            return super().batch(indices)

    source = Counted({str(float_model.graph.inputs[0].name): images(200)})
    calibration = from_source(source)
    read.clear()
    quantised(float_model, calibration, calibration.samples([1, 2, 3, 4]))
    assert len(read) == len(set(read)) <= SAMPLES
    assert not set(read) & set(calibration.folds[0])


def old_model() -> ir.Model:
    """One convolution at opset 11."""
    text = "net (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y) { y = Conv <pads = [1, 1, 1, 1]> (x, w) }"
    proto = onnx.parser.parse_model('<ir_version: 7, opset_import: ["" : 11]> ' + text)
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return ir.from_proto(proto)


def test_an_old_opset_is_refused_but_can_be_judged() -> None:
    model = old_model()
    with pytest.raises(BadInput, match=f"opset 11, but scales per channel need {OPSET}"):
        require_opset(model)
    calibration = calibration_of(model, images(20, (3, 8, 8)))
    form = judged_form(model, calibration, calibration.samples([0]))
    x = images(4, (3, 8, 8), seed=9)
    one, two = output_of(model, x), output_of(form, x)
    assert np.abs(one - two).mean() < 0.02 * np.abs(one).max()
    assert model.opset_imports[""] == 11


WRITTEN_OUT = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y)
<float[4, 6, 1, 1] v, float three = {3.0}, float six = {6.0}, float zero = {0.0}>
{
  w = Constant <value = float[6, 3, 1, 1] {
    1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0,9.0,1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0,9.0
  }> ()
  a = Conv (x, w)
  b = Add (a, three)
  c = Clip (b, zero, six)
  d = Mul (a, c)
  e = Div (d, six)
  y = Conv (e, v)
}
"""


def test_constants_are_weights_and_a_written_out_activation_is_one_operator() -> None:
    model = model_of(WRITTEN_OUT, {"v": (4, 6, 1, 1)})
    calibration = calibration_of(model, images(20, (3, 8, 8)))
    form = quantised(model, calibration, calibration.samples([0, 1]))
    convolutions = [node for node in form.graph if node.op_type == "Conv"]
    for node in convolutions:
        weight = node.inputs[1].producer()  # type: ignore[union-attr]
        assert weight is not None
        assert weight.inputs[0].const_value.numpy().dtype == np.int8  # type: ignore[union-attr]
    kinds = [node.op_type for node in form.graph]
    start = kinds.index("Add")
    assert kinds[start : start + 4] == ["Add", "Clip", "Mul", "Div"]
    assert kinds.count("QuantizeLinear") == 4  # of x, a, e and y
