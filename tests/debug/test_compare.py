"""Two models side by side: outputs and interfaces."""

from __future__ import annotations

import numpy as np
import pytest

from hwopt.debug import Inputs, compare_outputs
from hwopt.errors import BadInput
from tests.debug.compare_nets import (
    NOISE,
    SQRT,
    SQRT_OF_ABS,
    TWO,
    bumped,
    noise,
    parsed,
)
from tests.graphs import classifier, output_of


def test_a_model_equals_itself() -> None:
    model = classifier()
    found = compare_outputs(model, model.clone(), noise(model))
    assert found.same
    assert not found.interface
    assert not found.failure
    (output,) = found.outputs
    assert output.gap.different == 0
    assert output.gap.max_abs == 0.0
    assert output.gap.at is None
    assert output.top1 == (4, 4)  # 1 + 3 rows: the batch is free
    assert [item.feeds["x"].shape[0] for item in found.inputs] == [1, 3]


def test_statistics_are_those_of_the_two_arrays() -> None:
    model, other = classifier(), bumped(classifier(), "p")
    found = compare_outputs(model, other, [Inputs("noise", {"x": NOISE})])
    (output,) = found.outputs
    one, two = output_of(model, NOISE).astype(np.float64), output_of(other, NOISE).astype(np.float64)
    apart = np.abs(one - two)
    where = np.unravel_index(int(apart.argmax()), apart.shape)
    assert not found.same
    assert not output.same
    assert output.gap.max_abs == pytest.approx(apart.max(), rel=1e-4)
    assert output.gap.max_rel == pytest.approx(apart.max() / np.abs(one).max(), rel=1e-4)
    assert output.gap.mean_abs == pytest.approx(apart.mean(), rel=1e-4)
    assert output.gap.at == tuple(map(int, where))
    assert (output.gap.one, output.gap.two) == pytest.approx((one[where], two[where]), rel=1e-4)
    assert output.gap.snr_db == pytest.approx(10 * np.log10((one**2).sum() / (apart**2).sum()), rel=1e-3)
    cosine = (one * two).sum() / np.sqrt((one**2).sum() * (two**2).sum())
    assert output.gap.cosine == pytest.approx(cosine, rel=1e-5)
    assert output.top1 == (int((one.argmax(1) == two.argmax(1)).sum()), 2)


def test_a_rounding_apart_is_equal_and_a_given_tolerance_is_the_limit() -> None:
    model, inputs = classifier(), [Inputs("noise", {"x": NOISE})]
    close = bumped(model, "p", by=1e-5)
    assert compare_outputs(model, close, inputs).same
    assert not compare_outputs(model, close, inputs, tolerance=0.0).same
    far = bumped(model, "p")
    distance = compare_outputs(model, far, inputs).outputs[0].gap.max_rel
    assert compare_outputs(model, far, inputs, tolerance=distance * 1.01).same
    assert not compare_outputs(model, far, inputs, tolerance=distance * 0.99).same
    with pytest.raises(BadInput, match="--tolerance -1"):
        compare_outputs(model, far, inputs, tolerance=-1.0)


def test_nan_in_both_is_equal_and_in_one_is_not() -> None:
    root, other = parsed(SQRT), parsed(SQRT_OF_ABS)
    inputs = [Inputs("two negative", {"x": np.array([[-1, 4, -9, 16]], np.float32)})]
    alike = compare_outputs(root, parsed(SQRT), inputs)
    assert alike.same
    assert alike.outputs[0].gap.nan == (2, 2)
    found = compare_outputs(root, other, inputs)
    gap = found.outputs[0].gap
    assert not found.same
    assert gap.nan == (2, 0)
    assert gap.max_abs == np.inf
    assert gap.different == 2
    assert gap.at == (0, 0)
    assert gap.two == 1.0
    assert np.isnan(gap.one or 0.0)
    assert not compare_outputs(root, other, inputs, tolerance=1e9).same


def test_an_output_that_is_missing_is_a_difference_of_the_interface() -> None:
    two, one = parsed(TWO), parsed(TWO)
    one.graph.outputs.pop()
    found = compare_outputs(two, one, noise(two))
    assert [output.name for output in found.outputs] == ["y"]
    assert found.outputs[0].same
    (gap,) = found.interface
    assert (gap.side, gap.name, gap.breaks) == ("output", "z", True)
    assert "only the first" in gap.what
    assert not found.same
    back = compare_outputs(one, two, noise(one))
    assert not back.same
    assert "only the second" in back.interface[0].what


def test_renamed_ports_are_compared_by_position() -> None:
    one, two = classifier(), classifier()
    two.graph.inputs[0].name, two.graph.outputs[0].name = "image", "scores"
    found = compare_outputs(one, two, noise(one))
    assert found.same
    assert (found.outputs[0].name, found.outputs[0].other) == ("y", "scores")
    assert [(gap.side, gap.breaks) for gap in found.interface] == [("input", False), ("output", False)]
    assert not compare_outputs(one, bumped(two, "p"), noise(one)).same


def test_without_a_common_output_there_is_nothing_to_compare() -> None:
    one, two = parsed(TWO), parsed(SQRT)
    two.graph.outputs[0].name = "other"
    with pytest.raises(BadInput, match="no output in common: one has y, z, the other other"):
        compare_outputs(one, two, noise(one))


def test_other_types_and_declared_shapes_are_told() -> None:
    one = parsed(SQRT)
    cast = parsed(SQRT.replace("=> (float[N,4] y)", "=> (double[N,4] y)").replace(
        "y = Sqrt(x)", "r = Sqrt(x) y = Cast<to=11>(r)"))  # fmt: skip
    inputs = [Inputs("one", {"x": np.ones((1, 4), np.float32)})]
    found = compare_outputs(one, cast, inputs)
    assert not found.same
    assert found.outputs[0].gap.different == 0
    assert found.interface[0].what == "is FLOAT, in the second model DOUBLE"
    assert found.interface[0].breaks
    fixed = parsed(SQRT.replace("N", "1"))
    found = compare_outputs(one, fixed, inputs)
    assert found.same
    assert "has the shape Nx4, in the second model 1x4" in found.interface[0].what


def test_a_second_model_that_does_not_run_is_different() -> None:
    one, fixed = parsed(SQRT), parsed(SQRT.replace("N", "1"))
    found = compare_outputs(one, fixed, noise(one), names=("a", "b"))
    assert found.failure.startswith("b does not run on inputs 2 (x 3x4)")
    assert not found.same
    assert found.telling == 2
