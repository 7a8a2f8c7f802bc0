"""Small models as ONNX text, their structure as text, and outputs compared in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from hwopt.canonical import Fold, Passed, canonicalise, find_folds
from hwopt.ir import interface, model_bytes
from hwopt.nodes import constant

Build = Callable[..., ir.Model]
Array = npt.NDArray[np.generic]
SIZES = ((1, 9), (3, 12))  # batch, and every other dynamic axis


def build(text: str, opset: int = 13, **weights: Array) -> ir.Model:
    """A model from the text of its graph; every input but those named x... becomes a random weight."""
    header = f'<ir_version: 8, opset_import: ["": {opset}]>\n'
    proto = onnx.parser.parse_model(header + text)
    rng = np.random.default_rng(0)
    for info in [item for item in proto.graph.input if not item.name.startswith("x")]:
        shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        array = weights.get(info.name, rng.normal(0.5, 1.0, shape).astype(np.float32))
        array = np.abs(array) + 0.5 if info.name.startswith("var") else array
        proto.graph.input.remove(info)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, info.name))
    return ir.from_proto(proto)


def structure(model: ir.Model) -> list[str]:
    """One line per node that is no constant: outputs, operator, and the inputs that are computed."""
    lines = []
    for node in model.graph:
        if node.op_type != "Constant":
            inputs = [str(v.name) for v in node.inputs if v is not None and constant(v) is None]
            outputs = ", ".join(str(v.name) for v in node.outputs)
            lines.append(f"{outputs} = {node.op_type}({', '.join(inputs)})")
    return lines


def run(model: ir.Model, batch: int, size: int) -> list[Array]:
    """Outputs for seeded noise, dynamic axes bound to the batch and the size."""
    rng = np.random.default_rng(batch)
    feeds = {}
    for value in model.graph.inputs:
        assert value.shape is not None
        assert value.dtype is not None
        shape = [d if isinstance(d, int) else (batch if i == 0 else size) for i, d in enumerate(value.shape)]
        feeds[value.name] = rng.standard_normal(shape).astype(value.dtype.numpy())
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model_bytes(model), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def check_same(before: ir.Model, after: ir.Model, tolerance: float = 1e-5) -> None:
    """Same interface, valid, and outputs equal up to rounding at two sizes, borders included."""
    assert interface(before) == interface(after)
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    for batch, size in SIZES:
        for expected, actual in zip(run(before, batch, size), run(after, batch, size), strict=True):
            assert expected.shape == actual.shape
            assert expected.dtype == actual.dtype
            largest = np.abs(expected).max()
            np.testing.assert_allclose(actual / largest, expected / largest, rtol=0, atol=tolerance)


@pytest.fixture
def make() -> Build:
    return build


@pytest.fixture
def becomes() -> Callable[[ir.Model, list[str], list[str]], ir.Model]:
    """Asserts that canonicalising the model gives this structure by these rules, and the same outputs."""

    def check(model: ir.Model, expected: list[str], rules: list[str]) -> ir.Model:
        before = model_bytes(model)
        after = model.clone()
        applied = canonicalise(after)
        assert structure(after) == expected
        assert sorted(set(applied)) == sorted(rules)
        assert model_bytes(model) == before, "the input model was edited"
        check_same(model, after)
        return after

    return check


@pytest.fixture
def stays() -> Callable[[ir.Model, str | None], None]:
    """Asserts that nothing is folded, and that one of the reasons given contains the text (None: silence)."""

    def check(model: ir.Model, reason: str | None) -> None:
        found = find_folds(model)
        assert [fold for fold in found if isinstance(fold, Fold)] == []
        reasons = [passed.reason for passed in found if isinstance(passed, Passed)]
        if reason is None:
            assert reasons == []
        else:
            assert any(reason in text for text in reasons), reasons

    return check
