"""What nobody can hold against its input comes back as it was; what decides a shape is not guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import hwopt
from hwopt.errors import BadInput, BudgetNotMet
from hwopt.inputs import random_feeds
from hwopt.report.schema import Outcome
from hwopt.shapes import infer_shapes

HEADER = '<ir_version: 8, opset_import: ["" : 13, "own" : 1]>\n'
BODY = """{
    c = Conv<pads=[1,1,1,1]>(x, k)
    n = BatchNormalization(c, s, b, m, v)
    r = Relu(n)
    LAST
}"""
SIZES = {"k": (16, 8, 3, 3), "s": (16,), "b": (16,), "m": (16,), "v": (16,)}
CUSTOM = BODY.replace("LAST", "y = own.Thing(r)")
GATHERED = BODY.replace("LAST", "i = Add(j, j) y = Gather<axis=1>(r, i)")
REFUSES = BODY.replace("LAST", "w = Mul(j, j) d = Sub(w, w) e = Sub(d, w) y = Reshape(r, e)")


def written(folder: Path, body: str, inputs: str = "") -> Path:
    """A convolution with a foldable normalisation, and an end that decides whether it can be run."""
    header = f"{HEADER}g (float[1,8,8,8] x{inputs}) => (float[A,B] y) "
    model = onnx.parser.parse_model(header + body)
    rng = np.random.default_rng(0)
    for name, shape in SIZES.items():
        array = np.abs(rng.standard_normal(shape)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def optimised(path: Path, **options: bool | str) -> hwopt.Result:
    out = path.with_name("out.onnx")
    return hwopt.optimize(path, target="edge-npu", output=out, refine=0, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "inputs"), [(CUSTOM, ""), (REFUSES, ", int64[2] j")], ids=["custom", "values"]
)
def test_what_cannot_be_run_comes_back_byte_for_byte(body: str, inputs: str, tmp_path: Path) -> None:
    path = written(tmp_path, body, inputs)
    report = optimised(path).report
    assert report.outcome is Outcome.UNCHANGED
    assert path.with_name("out.onnx").read_bytes() == path.read_bytes()
    assert any("no rewrite could be proved: ONNX Runtime cannot" in note for note in report.notes)
    fold = next(row for row in report.choices if row.id.startswith("canonical:batchnorm"))
    assert fold.chosen == "keep"
    assert "could not be proved" in fold.reason


def test_what_can_be_run_is_rewritten(tmp_path: Path) -> None:
    path = written(tmp_path, GATHERED, ", int64[3] j")
    report = optimised(path).report
    assert report.outcome is Outcome.CHANGED
    kinds = [node.op_type for node in onnx.load(path.with_name("out.onnx")).graph.node]
    assert "BatchNormalization" not in kinds
    assert not any("proved" in note for note in report.notes)


def test_a_new_shape_is_made_up(tmp_path: Path) -> None:
    """An input that decides the shape of a Reshape holds ones and -1 where neither ones nor zeros do."""
    path = written(tmp_path, BODY.replace("LAST", "y = Reshape(r, j)"), ", int64[2] j")
    report = optimised(path).report
    assert report.outcome is Outcome.CHANGED
    assert not report.before.unpriced


def test_numbers_that_an_input_cannot_hold_are_not_put_into_it() -> None:
    header = (
        '<ir_version: 8, opset_import: ["" : 13]> g (int64 k, uint8[2] x, bool[2] t) => (bool y, uint8[N] z)'
    )
    body = "{ c = Constant<value=int64 {70000}>() y = Equal(k, c) z = Compress(x, t)}"
    model = ir.from_onnx_text(header + body)
    shapes, feeds = infer_shapes(model, {}), random_feeds(model, {}, 0)
    assert shapes["z"].shape == (2,)
    assert [(feeds[name].dtype.name, feeds[name].max()) for name in "kx"] == [("int64", 70000), ("uint8", 1)]


def test_a_limit_that_the_input_breaks_is_not_met_by_what_nobody_can_prove(tmp_path: Path) -> None:
    path = written(tmp_path, CUSTOM)
    with pytest.raises(BudgetNotMet, match=r"latency.*no rewrite could be proved"):
        optimised(path, max_latency="-1%", allow_unpriced=True)
    assert not path.with_name("out.onnx").exists()


def test_it_can_be_allowed(tmp_path: Path) -> None:
    path = written(tmp_path, CUSTOM)
    report = optimised(path, allow_unverified=True).report
    assert report.outcome is Outcome.CHANGED
    kinds = [node.op_type for node in onnx.load(path.with_name("out.onnx")).graph.node]
    assert kinds == ["Conv", "Relu", "Thing"]


def test_a_model_older_than_every_rewrite_is_priced_and_comes_back(tmp_path: Path) -> None:
    text = (
        '<ir_version: 3, opset_import: ["" : 6]> g (float[1,8,8,8] x, float[4,8,1,1] k) => (float[1,4,8,8] y)'
    )
    model = onnx.parser.parse_model(text + "{ c = Conv(x, k) i = Identity(c) y = Relu(i) }")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 8, 1, 1), np.float32), "k"))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    report = optimised(path).report
    assert report.outcome is Outcome.UNCHANGED
    assert path.with_name("out.onnx").read_bytes() == path.read_bytes()
    assert any("in opset 6" in note and "convert_version" in note for note in report.notes)
    assert report.before.macs == 8 * 8 * 4 * 8
    assert not report.choices


def test_shapes_that_hang_on_values_stay_open() -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x, int64[3] s) => (float[A,B,C] y) {'
    model = ir.from_onnx_text(
        text + "a = Relu(x) w = Mul(s, s) d = Sub(w, w) e = Sub(d, w) y = Reshape(a, e) }"
    )
    shapes = infer_shapes(model, {})
    assert shapes["a"].shape == (2, 3)
    assert "y" not in shapes


def test_sizes_that_do_not_fit_are_still_refused() -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[N,C] x) => (float[A,B] y)'
    model = ir.from_onnx_text(
        text
        + "<float[1,3] w = {1,2,3}> { n = NonZero(x) c = Cast<to=1>(n) t = MatMul(w, x) y = MatMul(c, t)}"
    )
    with pytest.raises(BadInput, match="does not run with input shapes x:1,4"):
        infer_shapes(model, {"x": (1, 4)})


def test_texts_have_no_shape_to_price() -> None:
    text = '<ir_version: 8, opset_import: ["" : 21]> g (string[2] x, string[2] z) => (string[2] y) {'
    assert infer_shapes(ir.from_onnx_text(text + "y = StringConcat(x, z) }"), {}) == {}
