"""Gradient steps: what they gain, what they keep, and that they repeat themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.calibration.data import Arrays, from_source
from hwopt.calibration.variants import augmented
from hwopt.edit import set_constant
from hwopt.nodes import FloatArray, constant_array
from hwopt.repair.effort import Effort
from hwopt.repair.marks import request_fit
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import repair
from hwopt.tuning.recipe import Check, Recipe
from tests.graphs import classifier, ibn, model_of, output_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the train extra)")

from hwopt.tuning.tune import tune, tuned, why_not  # noqa: E402

FAST = Recipe(batch=8, rate=1e-2, checks=3)


def images(shape: tuple[int, ...], count: int = 60, seed: int = 3) -> FloatArray:
    """Smooth random fields, so that neighbouring pixels are related as in images."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, *shape))
    for axis in (2, 3):
        x = x + np.roll(x, 1, axis) + np.roll(x, 2, axis)
    return np.asarray(x, np.float32)


def reference(base: ir.Model, x: FloatArray, copies: int = 0) -> Reference:
    return Reference(base, augmented(from_source(Arrays({"x": x})), copies, seed=0), threads=1)


def weight_of(model: ir.Model, output: str) -> FloatArray:
    node = next(node for node in model.graph if node.outputs[0].name == output)
    array = constant_array(node.inputs[1])
    assert array is not None
    return np.asarray(array, np.float32)


def spoiled(base: ir.Model, *outputs: str, noise: float = 0.2) -> ir.Model:
    """A clone whose named nodes have noise on their weights, and half of them at zero."""
    changed, rng = base.clone(), np.random.default_rng(9)
    for output in outputs:
        node = next(node for node in changed.graph if node.outputs[0].name == output)
        old = weight_of(changed, output)
        mask = rng.random(old.shape) < 0.5
        set_constant(node, 1, ((old + noise * rng.normal(size=old.shape)) * mask).astype(np.float32))
    return changed


def error(base: ir.Model, model: ir.Model, x: FloatArray) -> float:
    """Squared error of the output relative to its variance."""
    y = output_of(base, x)
    return float(np.mean((output_of(model, x) - y) ** 2) / np.var(y))


def weights(model: ir.Model) -> bytes:
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data


@pytest.mark.parametrize("base", [ibn(), classifier()], ids=["block", "classifier"])
def test_steps_lower_the_error_on_other_samples(base: ir.Model) -> None:
    shape = tuple(int(str(d)) for d in list(base.graph.inputs[0].shape or [])[1:])
    changed = spoiled(base, "d", "p")
    data = reference(base, images(shape))
    found = tune(data, changed, range(60), seed=0, steps=60, recipe=FAST)
    fresh = images(shape, count=8, seed=11)
    assert error(base, found, fresh) < 0.5 * error(base, changed, fresh)


def test_zeros_stay_zero() -> None:
    base = classifier()
    changed = spoiled(base, "e", "p", "y")
    found = tune(reference(base, images((3, 16, 16))), changed, range(60), seed=0, steps=10, recipe=FAST)
    for output in ("e", "p", "y"):
        before, after = weight_of(changed, output), weight_of(found, output)
        assert (before == 0).any()
        np.testing.assert_array_equal(after[before == 0], 0)
        assert (after[before != 0] != before[before != 0]).any()


def test_two_runs_give_the_same_bytes_and_global_settings_stay() -> None:
    base = classifier()
    changed = spoiled(base, "p")
    before = weights(changed)
    torch.manual_seed(1)
    state = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_rng_state().tolist(),
    )
    runs = [
        weights(
            tune(reference(base, images((3, 16, 16)), 2), changed, range(60), seed=0, steps=9, recipe=FAST)
        )
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != before
    assert weights(changed) == before
    after = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_rng_state().tolist(),
    )
    assert after == state


def test_never_worse_than_the_start_on_samples_held_out() -> None:
    base = classifier()
    changed = spoiled(base, "p", noise=0.01)
    wild = replace(FAST, rate=10.0)
    checks: list[Check] = []
    data = reference(base, images((3, 16, 16)))
    found = tune(data, changed, range(60), seed=0, steps=6, recipe=wild, listener=checks.append)
    assert [check.step for check in checks] == [2, 4, 6]
    assert all(check.error > check.start for check in checks)
    np.testing.assert_array_equal(weight_of(found, "p"), weight_of(changed, "p"))


def test_only_given_samples_are_seen() -> None:
    base, x = classifier(), images((3, 16, 16))
    other = x.copy()
    other[40:] = 7.0
    changed = spoiled(base, "p")
    found = []
    for values in (x, other):
        source = from_source(Arrays({"x": x}))
        data = Reference(base, replace(source, source=Arrays({"x": values}), copies=0), threads=1)
        found.append(weights(tune(data, changed, range(40), seed=0, steps=8, recipe=FAST)))
    assert found[0] == found[1]


SHARED = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,6,8,8] x) => (float[N,6,8,8] y) {
  a = Conv(x, w)
  b = Relu(a)
  c = Conv(b, w)
  s = Conv<pads=[3,3,4,4]>(c, code)
  y = Add(s, x)
}
"""


def test_shared_weights_stay_shared_and_codebooks_stay() -> None:
    base = model_of(SHARED, {"w": (6, 6, 1, 1), "code": (6, 6, 8, 8)})
    base.graph.initializers["code"].const_value = ir.tensor(
        np.sign(np.random.default_rng(1).normal(size=(6, 6, 8, 8))).astype(np.float32), name="code"
    )
    changed = base.clone()
    changed.graph.initializers["w"].const_value = ir.tensor(weight_of(base, "a") * np.float32(1.2), name="w")
    found = tune(reference(base, images((6, 8, 8))), changed, range(60), seed=0, steps=20, recipe=FAST)
    np.testing.assert_array_equal(weight_of(found, "a"), weight_of(found, "c"))
    np.testing.assert_array_equal(weight_of(found, "s"), weight_of(base, "s"))
    assert (
        np.abs(weight_of(found, "a") - weight_of(base, "a")).mean()
        < np.abs(0.2 * weight_of(base, "a")).mean()
    )


def test_steps_go_on_from_a_repair_and_see_only_its_folds() -> None:
    base, x = ibn(), images((16, 14, 14))
    marked = spoiled(base, "d")
    request_fit(next(node for node in marked.graph if node.outputs[0].name == "p"))
    data = reference(base, x, copies=2)
    effort = Effort(rows=4000, pool=4000, joint_rounds=5, downstream=0)
    closed = repair(data, marked, [1, 2, 3, 4], seed=0, effort=effort)
    improved = tune(data, closed, data.training([1, 2, 3, 4]), seed=0, steps=60, recipe=FAST)
    unseen = x[list(data.calibration.folds[0])]
    assert error(base, improved, unseen) < 0.9 * error(base, closed, unseen)


def test_a_model_without_gradients_says_why() -> None:
    base = classifier()
    changed = spoiled(base, "p")
    node = next(node for node in changed.graph if node.outputs[0].name == "ha")
    node.op_type = "Shrink"
    data = reference(base, images((3, 16, 16)))
    assert "Shrink" in why_not(data, changed)
    assert tuned(data, changed, range(5), seed=0, steps=3) is changed
    assert why_not(data, spoiled(base, "p")) == ""
