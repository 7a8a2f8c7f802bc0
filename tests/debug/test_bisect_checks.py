"""What a check says of a model: numbers, validity, and a user's command by its exit code."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.debug.bisect.checks import COMMAND, GOOD, INVALID, NUMERIC, NumericCheck, Verdict
from hwopt.debug.bisect.checks_command import command_check
from hwopt.debug.compare.inputs import Inputs
from hwopt.debug.compare.tolerance import Tolerance
from hwopt.edit import set_constant
from hwopt.errors import BadInput
from hwopt.ir import load_model
from hwopt.nodes import convs, is_op
from tests.graphs import classifier, model_of, output_of

X = np.random.default_rng(3).standard_normal((2, 3, 16, 16)).astype(np.float32)
COUNTING = """
<ir_version: 8, opset_import: ["" : 13]>
counting (float[N,4] x) => (int64[N] y) { y = ArgMax<axis=1, keepdims=0>(x) }
"""


def numeric(model: ir.Model, tolerance: float | None = None) -> NumericCheck:
    return NumericCheck(
        model, [Inputs("noise", {"x": X}), Inputs("zeros", {"x": 0 * X})], Tolerance(tolerance)
    )


def with_bias(by: float) -> ir.Model:
    """The classifier with every score moved."""
    model = classifier()
    gemm = next(node for node in model.graph if is_op(node, "Gemm"))
    bias = gemm.inputs[2]
    assert bias is not None
    assert bias.const_value is not None
    set_constant(gemm, 2, bias.const_value.numpy() + np.float32(by))
    return model


def test_the_same_numbers_are_good() -> None:
    assert numeric(classifier())(classifier()).verdict == Verdict.GOOD


def test_a_difference_is_told_with_its_size() -> None:
    check = numeric(classifier())
    found, feeds = check.looked_at(with_bias(0.25))
    assert (found.verdict, found.kind) == (Verdict.BAD, NUMERIC)
    (mismatch,) = found.mismatches
    assert (mismatch.output, mismatch.gap.different) == ("y", 20)
    assert mismatch.gap.max_abs == pytest.approx(0.25, rel=1e-4)
    assert "noise" in mismatch.inputs
    assert "20 of 20 numbers" in found.reason
    assert feeds["x"] is X


def test_inputs_that_show_nothing_are_passed_over() -> None:
    model = classifier()
    changed = classifier()
    for conv in convs(changed):
        set_constant(conv.node, 1, conv.weight * np.float32(1.5))
    first = next(conv for conv in convs(model))
    set_constant(first.node, 2, 0 * first.bias)
    set_constant(next(convs(changed)).node, 2, 0 * first.bias)
    check = NumericCheck(model, [Inputs("zeros", {"x": 0 * X}), Inputs("noise", {"x": X})], Tolerance())
    weights = [conv.weight for conv in convs(model)]
    for conv, weight in list(zip(convs(changed), weights, strict=True))[1:]:
        set_constant(conv.node, 1, weight)
    found, feeds = check.looked_at(changed)
    assert found.bad
    assert feeds["x"] is X


def test_the_users_tolerance_is_a_share_of_the_largest_value() -> None:
    noise = [Inputs("noise", {"x": X})]
    share = 0.25 / np.abs(output_of(classifier(), X)).max()
    assert NumericCheck(classifier(), noise, Tolerance(1.01 * share))(with_bias(0.25)) == GOOD
    assert NumericCheck(classifier(), noise, Tolerance(0.99 * share))(with_bias(0.25)).bad


def test_numbers_that_are_none_are_bad() -> None:
    found = numeric(classifier(), 1e9)(with_bias(float("nan")))
    assert found.bad
    assert "not finite" in found.reason


def test_integers_are_equal_or_not() -> None:
    model, other = model_of(COUNTING, {}), model_of(COUNTING.replace("ArgMax", "ArgMin"), {})
    check = NumericCheck(model, [Inputs("ones", {"x": np.eye(4, dtype=np.float32)})], Tolerance())
    assert check(model).verdict == Verdict.GOOD
    assert check(other).kind == NUMERIC


def test_another_interface_is_no_question_of_numbers() -> None:
    changed = classifier()
    changed.graph.outputs[0].name = "z"
    found = numeric(classifier())(changed)
    assert (found.verdict, found.kind) == (Verdict.BAD, INVALID)
    assert "interface" in found.reason


def test_a_model_that_breaks_the_standard_is_bad() -> None:
    changed = classifier()
    next(convs(changed)).node.op_type = "Convolve"
    found = numeric(classifier())(changed)
    assert (found.verdict, found.kind) == (Verdict.BAD, INVALID)


def test_a_reference_that_does_not_run_needs_another_check() -> None:
    with pytest.raises(BadInput, match="--check"):
        NumericCheck(classifier(), [Inputs("too small", {"x": X[:, :2]})], Tolerance())


def python(code: str, *arguments: str) -> str:
    return shlex.join([sys.executable, "-c", code, *arguments])


@pytest.mark.parametrize(
    ("code", "verdict"),
    [(0, Verdict.GOOD), (1, Verdict.BAD), (125, Verdict.SKIP), (127, Verdict.BAD)],
)
def test_the_exit_code_decides(code: int, verdict: Verdict) -> None:
    check = command_check(python(f"import sys; sys.exit({code})", "{model}"), None, lambda text: None)
    found = check(classifier())
    assert found.verdict == verdict
    assert found.kind == ("" if verdict == Verdict.GOOD else COMMAND)


@pytest.mark.parametrize("code", ["import sys; sys.exit(128)", "import os; os.kill(os.getpid(), 9)"])
def test_a_command_that_breaks_down_says_nothing_of_the_model(code: str) -> None:
    with pytest.raises(BadInput, match="--check"):
        command_check(python(code, "{model}"), None, lambda text: None)(classifier())


def test_a_command_that_takes_too_long_is_a_skip() -> None:
    check = command_check(python("import time; time.sleep(60)", "{model}"), 0.5, lambda text: None)
    found = check(classifier())
    assert found.verdict == Verdict.SKIP
    assert "longer than 0.5 s" in found.reason


def test_the_command_gets_the_model_and_is_heard(tmp_path: Path) -> None:
    said: list[str] = []
    copy = tmp_path / "copy.onnx"
    code = "import shutil, sys; print('looking at it'); shutil.copy(sys.argv[1], sys.argv[2])"
    check = command_check(python(code, "{model}", str(copy)), None, said.append)
    assert check(classifier()).verdict == Verdict.GOOD
    assert [node.op_type for node in load_model(copy).graph] == [node.op_type for node in classifier().graph]
    assert "looking at it" in said[0]
    assert said[0].startswith("$ ")
    assert "exit code 0" in said[0]


def test_shell_characters_are_words() -> None:
    code = "import sys; sys.exit(0 if sys.argv[2:] == ['&&', '$HOME', '|'] else 1)"
    check = command_check(python(code) + " {model} '&&' '$HOME' '|'", None, lambda text: None)
    assert check(classifier()).verdict == Verdict.GOOD


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("python check.py", "put {model}"),
        ("python 'check.py {model}", "not a command line"),
        ("/no/such/program {model}", "cannot be started"),
    ],
)
def test_a_command_line_that_cannot_work_is_bad_input(text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        command_check(text, None, lambda text: None)(classifier())
