"""hwopt's EXACT rewrites inside real onnx-ir pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common
import onnxruntime
import pytest
from onnx_ir.passes import PassError, PassManager, PassResult, PreconditionError, Sequential

import hwopt
from hwopt.choice import Skip, Value
from hwopt.errors import BadInput, RewriteFailed
from hwopt.ir import interface, model_bytes
from hwopt.pipeline import Result
from hwopt.settings import Options
from hwopt.target import Target
from passes.canonicalize import Canonicalize
from tests.graphs import CLASSIFIER, CLASSIFIER_WEIGHTS, model_of

FIGURES = Path(__file__).parent.parent / "models" / "figures" / "figures.onnx"

FOLDED = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,3,8,8] x) => (float[N,4,8,8] y) <float[4] variance = {1, 2, 3, 4}> {
  c = Conv<kernel_shape=[1,1]>(x, w)
  n = BatchNormalization(c, scale, bias, mean, variance)
  y = Relu(n)
}
"""
WEIGHTS = {"w": (4, 3, 1, 1), "scale": (4,), "bias": (4,), "mean": (4,)}


def outputs(model: ir.Model, batch: int = 2) -> list[npt.NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    (port,) = session.get_inputs()
    image = np.random.default_rng(0).uniform(0, 255, (batch, *port.shape[1:])).astype(np.float32)
    return [np.asarray(one) for one in session.run(None, {port.name: image})]


def depthwise(model: ir.Model) -> int:
    return sum(node.op_type == "Conv" and node.attributes.get_int("group", 1) > 1 for node in model.graph)


def kinds(model: ir.Model) -> set[str]:
    return {node.op_type for node in model.graph}


@pytest.mark.parametrize("target", [None, "edge-npu"])
def test_it_stands_between_passes_of_onnx_ir(target: str | None) -> None:
    model = ir.load(FIGURES)
    before = model_bytes(model)
    options: Options = {} if target is None else {"refine": 0}
    pipeline = Sequential(
        ir.passes.functionalize(common.CommonSubexpressionEliminationPass()),
        hwopt.ExactPasses(target, **options),
        common.RemoveUnusedNodesPass(),
        common.NameFixPass(),
        common.CheckerPass(full_check=True),
    )
    result = pipeline(model)
    assert result.modified
    assert model_bytes(model) == before
    assert interface(result.model) == interface(model)
    assert not {"BatchNormalization", "Sub", "Div"} & kinds(result.model)
    for one, two in zip(outputs(model), outputs(result.model), strict=True):
        np.testing.assert_allclose(two, one, atol=1e-4 * np.abs(one).max())


def test_forms_are_made_where_the_target_says_that_they_pay() -> None:
    model, told = ir.load(FIGURES), list[Result]()
    pays = hwopt.ExactPasses("edge-npu", refine=0, on_result=told.append)(model)
    does_not = hwopt.ExactPasses("ethos-u55-256", refine=0)(model)
    assert depthwise(pays.model) < depthwise(does_not.model) == depthwise(model)
    (result,) = told
    assert model_bytes(pays.model) == model_bytes(result.model)
    assert model_bytes(hwopt.optimize(FIGURES, target="edge-npu", refine=0).model) == model_bytes(pays.model)


@pytest.mark.parametrize("target", [None, "edge-npu"])
def test_a_manager_that_stops_early_does_stop(target: str | None) -> None:
    runs = list[bool]()

    class Watched(hwopt.ExactPasses):
        def call(self, model: ir.Model) -> PassResult:
            result = super().call(model)
            runs.append(result.modified)
            return result

    options: Options = {} if target is None else {"refine": 0}
    result = PassManager([Watched(target, **options)], steps=5)(ir.load(FIGURES))
    assert result.modified
    assert runs == [True, False]


def test_named_passes_alone_are_run() -> None:
    model = ir.load(FIGURES)
    folded = hwopt.ExactPasses("edge-npu", passes=("canonicalize",), refine=0)(model).model
    assert depthwise(folded) == depthwise(model)
    assert "BatchNormalization" not in kinds(folded)
    untouched = hwopt.ExactPasses(disable=("canonicalize",))(model)
    assert not untouched.modified
    assert model_bytes(untouched.model) == model_bytes(model)


REFUSED: dict[str, tuple[Callable[[], hwopt.ExactPasses], str]] = {
    "no such pass": (lambda: hwopt.ExactPasses(passes=("canonicalise",)), "did you mean 'canonicalize'"),
    "no such target": (lambda: hwopt.ExactPasses("edge-npv"), "edge-npu"),
    "a form without a target": (
        lambda: hwopt.ExactPasses(passes=("densify_depthwise",)), "densify_depthwise goes by"
    ),
    "prices without a target": (lambda: hwopt.ExactPasses(max_memory="2MB"), "max_memory goes by"),
    "another function": (lambda: hwopt.ExactPasses("edge-npu", quantize="int8"), "quantize: ExactPasses"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_when_it_is_made(case: str) -> None:
    make, text = REFUSED[case]
    with pytest.raises(BadInput, match=text):
        make()


def test_an_option_that_there_is_none_of_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="did you mean 'refine'"):
        hwopt.ExactPasses("edge-npu", refined=0)  # type: ignore[call-arg]


def test_what_nobody_can_verify_is_not_made_unless_allowed() -> None:
    text = FOLDED.replace('["" : 13]', '["" : 13, "own" : 1]').replace("Relu(n)", "own.Thing(n)")
    model = model_of(text, WEIGHTS)
    with pytest.raises(PassError, match=r"hwopt.ExactPasses\(\)") as failed:
        Sequential(hwopt.ExactPasses())(model)
    assert isinstance(failed.value.__cause__, BadInput)
    assert "cannot verify it: ONNX Runtime cannot load the model" in str(failed.value.__cause__)
    allowed = hwopt.ExactPasses(allow_unverified=True)(model)
    assert kinds(allowed.model) == {"Conv", "Thing"}


def test_with_a_target_it_is_the_same() -> None:
    model = ir.load(FIGURES)
    model.opset_imports["own"] = 1
    model.graph.node("pooled").domain = "own"
    with pytest.raises(BadInput, match=r"cannot verify it: .*ONNX Runtime cannot load the model"):
        hwopt.ExactPasses("edge-npu", refine=0)(model)
    assert hwopt.ExactPasses("edge-npu", refine=0, allow_unverified=True)(model).modified


class Wrong(Canonicalize):
    """Folds, and then turns the sign of every weight."""

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        for found in super().values(model, target):
            turned = isinstance(found, Value) and replace(found, rewrite=partial(spoiled, found.rewrite))
            yield turned or found


def spoiled(rewrite: Callable[[ir.Model], None], model: ir.Model) -> None:
    rewrite(model)
    for value in model.graph.initializers.values():
        assert value.const_value is not None
        value.const_value = ir.tensor(-value.const_value.numpy())


def test_a_fold_that_is_wrong_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwopt.onnx_pass.select_passes", lambda *_: (Wrong(),))
    with pytest.raises(RewriteFailed, match="canonicalising changed output 'y'"):
        hwopt.ExactPasses()(model_of(FOLDED, WEIGHTS))


def test_an_opset_that_is_too_old_is_a_precondition() -> None:
    model = model_of(CLASSIFIER, CLASSIFIER_WEIGHTS)
    model.opset_imports[""] = 6
    with pytest.raises(PreconditionError, match="opset 6, hwopt reads 7 up"):
        hwopt.ExactPasses()(model)


def test_weights_may_lie_in_files_of_their_own(tmp_path: Path) -> None:
    onnx.save_model(
        onnx.load(FIGURES), str(tmp_path / "m.onnx"), save_as_external_data=True, size_threshold=0
    )
    folded = hwopt.ExactPasses()(ir.load(tmp_path / "m.onnx"))
    assert model_bytes(folded.model) == model_bytes(hwopt.ExactPasses()(ir.load(FIGURES)).model)
