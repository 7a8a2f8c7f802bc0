"""The pass: folds as values that find their nodes again in any clone, and stay exact one by one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from hwopt.choice import Kind, Risk, Skip, Stage, Value, group_values
from hwopt.errors import RewriteFailed
from hwopt.find import canonicalise, with_places
from hwopt.ir import interface, load_model, model_bytes
from hwopt.passes.canonicalize import Canonicalize
from hwopt.registry import load_target
from hwopt.target import Target

TEXT = """<ir_version: 8, opset_import: ["": 13]>
g (float[N,4,H,H] x) => (float[N,4,H,H] y)
<float[4,1,1,1] w = {1, 2, 3, 4}, float[1] s = {2}, float[4,1,1] t = {1, -1, 3, 0}>
{
    p = Identity(x)
    c = Conv<group=4>(p, w)
    m = Mul(c, s)
    a = Add(m, t)
    r = Relu(a)
    n = Mul(r, s)
    k = Add(n, t)
    y = Conv<group=4, auto_pad="SAME_UPPER">(k, w)
}"""


@pytest.fixture
def target() -> Target:
    return load_target("edge-npu")


def run(model: ir.Model, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    session = ort.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": x})[0])


def values_of(model: ir.Model, target: Target) -> list[Value]:
    return [item for item in Canonicalize().values(model, target) if isinstance(item, Value)]


def test_one_choice_per_fold(target: Target) -> None:
    model = with_places(ir.from_onnx_text(TEXT))
    values = values_of(model, target)
    assert [value.name for value in values] == ["fold_after", "fold_scale", "explicit_padding", "remove_noop"]
    assert len(group_values(values)) == len(values)
    assert {(v.kind, v.risk, v.stage) for v in values} == {(Kind.CANONICAL, Risk.EXACT, Stage.CANONICALISE)}


def test_each_fold_alone_and_any_order_is_exact(target: Target) -> None:
    model = with_places(ir.from_onnx_text(TEXT))
    values = values_of(model, target)
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 6)).astype(np.float32)
    expected = run(model, x)
    for chosen in ([values[0]], [values[1]], [values[2]], [values[3]], values, values[::-1]):
        changed = model.clone()
        for value in chosen:
            value.rewrite(changed)
        onnx.checker.check_model(ir.to_proto(changed), full_check=True)
        assert interface(changed) == interface(model)
        np.testing.assert_allclose(run(changed, x), expected, rtol=1e-6, atol=1e-5)


def test_ids_survive_other_names(target: Target) -> None:
    renamed = ir.from_onnx_text(TEXT)
    for index, node in enumerate(renamed.graph):
        node.name = f"other{index}"
        node.outputs[0].name = node.outputs[0].name if node.outputs[0].name == "y" else f"z{index}"
    ids = [
        [value.choice for value in values_of(with_places(model), target)]
        for model in (ir.from_onnx_text(TEXT), renamed)
    ]
    assert ids[0] == ids[1]


def test_a_model_without_the_places_is_refused(target: Target) -> None:
    values = values_of(with_places(ir.from_onnx_text(TEXT)), target)
    with pytest.raises(RewriteFailed, match="no node at place"):
        values[0].rewrite(ir.from_onnx_text(TEXT))


def test_repeated_until_nothing_is_left(target: Target) -> None:
    model = with_places(ir.from_onnx_text(TEXT))
    before = model_bytes(model)
    result = canonicalise(model, [Canonicalize()], target)
    assert values_of(result.model, target) == []
    assert [node.op_type for node in result.model.graph] == ["Conv", "Relu", "Conv"]
    assert model_bytes(model) == before
    again = canonicalise(with_places(ir.from_onnx_text(TEXT)), [Canonicalize()], target)
    assert model_bytes(again.model) == model_bytes(result.model)


def test_places_passed_over_have_a_reason(target: Target) -> None:
    text = TEXT.replace("(float[N,4,H,H] y)", "(float[N,4,H,H] y, float[N,4,H,H] c)")
    found = list(Canonicalize().values(with_places(ir.from_onnx_text(text)), target))
    skips = [item for item in found if isinstance(item, Skip)]
    assert [(skip.pass_name, skip.node, skip.reason) for skip in skips] == [
        ("canonicalize", "m", "'c' is an output of the model")
    ]


def test_nothing_to_do_on_a_clean_network(target: Target) -> None:
    data = os.environ.get("HWOPT_DATA")
    if not data:
        pytest.skip("HWOPT_DATA is unset")
    model = with_places(load_model(Path(data) / "efficientnet_lite0.onnx"))
    assert list(Canonicalize().values(model, target)) == []
