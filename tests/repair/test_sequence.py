"""Repair of whole models: what it recovers, what it leaves alone, and what it must not look at."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.calibration.data import Arrays, Calibration, from_source
from hwopt.channels.groups import PADDING, Blocked, channel_group, resize
from hwopt.edit import set_constant
from hwopt.errors import RewriteFailed
from hwopt.nodes import FloatArray, constant_array
from hwopt.repair.effort import Effort
from hwopt.repair.marks import Origin, fit_of, mark_origin, request_fit
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import repair
from tests.graphs import classifier, ibn, model_of, output_of, values_of

SMALL = Effort(rows=4000, pool=4000, joint_rounds=20, downstream=0)
EVERY = range(5)


def images(shape: tuple[int, ...], count: int = 40, seed: int = 3) -> FloatArray:
    """Smooth random fields, so that neighbouring pixels are related as in images."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, *shape))
    for axis in (2, 3):
        x = x + np.roll(x, 1, axis) + np.roll(x, 2, axis)
    return np.asarray(x, np.float32)


def reference(base: ir.Model, x: FloatArray) -> Reference:
    return Reference(base, from_source(Arrays({"x": x})), threads=1)


def node_of(model: ir.Model, output: str) -> ir.Node:
    return next(node for node in model.graph if node.outputs[0].name == output)


def weight_of(model: ir.Model, output: str) -> FloatArray:
    array = constant_array(node_of(model, output).inputs[1])
    assert array is not None
    return np.asarray(array, np.float32)


def spoiled(base: ir.Model, *outputs: str, seed: int = 9) -> ir.Model:
    """A clone whose named nodes have noise on their weights and ask to be fitted."""
    changed = base.clone()
    rng = np.random.default_rng(seed)
    for output in outputs:
        node = node_of(changed, output)
        old = weight_of(changed, output)
        set_constant(node, 1, (old + 0.3 * rng.normal(size=old.shape)).astype(np.float32))
        request_fit(node)
    return changed


def error(base: ir.Model, model: ir.Model, x: FloatArray) -> float:
    """Squared error of the output relative to its variance."""
    y = output_of(base, x)
    return float(np.mean((output_of(model, x) - y) ** 2) / np.var(y))


@pytest.mark.parametrize("output", ["e", "d", "p"])
def test_a_spoiled_convolution_is_recovered(output: str) -> None:
    base, x = ibn(), images((16, 14, 14))
    changed = spoiled(base, output)
    fitted = repair(reference(base, x), changed, EVERY, seed=0, effort=SMALL)
    fresh = images((16, 14, 14), count=5, seed=7)
    assert error(base, changed, fresh) > 1e-2
    assert error(base, fitted, fresh) < 1e-4


def test_fits_follow_one_another() -> None:
    base, x = classifier(), images((3, 16, 16))
    changed = spoiled(base, "s", "e", "p", "h", "y")
    fitted = repair(reference(base, x), changed, EVERY, seed=0, effort=SMALL)
    assert error(base, fitted, x) < 1e-2 * error(base, changed, x)


SKIP = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,4,8,8] x) => (float[N,4,8,8] y) {
  a = Conv<kernel_shape=[1,1]>(x, wa, ba)
  p = Conv<kernel_shape=[1,1]>(x, wp, bp)
  y = Add(p, a)
}
"""


def test_the_error_of_the_skip_is_compensated() -> None:
    base = model_of(SKIP, {"wa": (4, 4, 1, 1), "ba": (4,), "wp": (4, 4, 1, 1), "bp": (4,)})
    changed = base.clone()
    set_constant(node_of(changed, "a"), 1, weight_of(base, "a") * np.float32(0.5))
    request_fit(node_of(changed, "p"))
    x = images((4, 8, 8))
    fitted = repair(reference(base, x), changed, EVERY, seed=0, effort=SMALL)
    assert error(base, fitted, x) < 1e-6  # only possible where p takes over what a lost
    expected = weight_of(base, "p") + 0.5 * weight_of(base, "a")
    np.testing.assert_allclose(weight_of(fitted, "p"), expected, atol=1e-3)


def fused_ibn(base: ir.Model) -> ir.Model:
    """The bottleneck with its first two convolutions replaced by a dense one that starts at small noise."""
    changed = base.clone()
    node = node_of(changed, "d")
    node.replace_input_with(0, node_of(changed, "e").inputs[0])
    del node.attributes["group"]
    rng = np.random.default_rng(5)
    set_constant(node, 1, (0.01 * rng.normal(size=(48, 16, 5, 5))).astype(np.float32))
    for output in ("d", "p"):
        mark_origin(node_of(changed, output), Origin(output))
        request_fit(node_of(changed, output))
    graph = changed.graph
    graph.remove([node_of(changed, "ea"), node_of(changed, "e")], safe=True)
    return changed


def test_fitting_a_pair_together_beats_fitting_each() -> None:
    base, x = ibn(), images((16, 14, 14), count=120) / np.float32(4)
    changed = fused_ibn(base)
    data = reference(base, x)
    fresh = images((16, 14, 14), count=10, seed=8) / np.float32(4)
    alone = repair(data, changed, EVERY, seed=0, effort=Effort(8000, 24_000, joint_rounds=0))
    joint = repair(data, changed, EVERY, seed=0, effort=Effort(8000, 24_000, joint_rounds=60))
    assert error(base, joint, fresh) < 0.9 * error(base, alone, fresh)


def test_border_is_as_good_as_the_interior() -> None:
    base, x, fresh = ibn(), images((16, 14, 14), count=120), images((16, 14, 14), count=10, seed=8)
    fitted = repair(reference(base, x), fused_ibn(base), EVERY, seed=0, effort=Effort(8000, 24_000))
    off = (output_of(fitted, fresh) - output_of(base, fresh)) ** 2
    inside = np.zeros((14, 14), np.bool_)
    inside[2:-2, 2:-2] = True
    assert off[..., ~inside].mean() <= off[..., inside].mean()


def test_what_feeds_only_the_held_out_fold_is_never_seen() -> None:
    base, x = ibn(), images((16, 14, 14))
    folds = tuple(tuple(range(start, 40, 5)) for start in range(5))
    other = x.copy()
    other[list(folds[2])] = 7.0
    changed = spoiled(base, "d", "p")
    weights = []
    for values in (x, other):
        data = Reference(base, Calibration(Arrays({"x": values}), None, folds, "f"), threads=1)
        weights.append(weight_of(repair(data, changed, [0, 1, 3, 4], seed=0, effort=SMALL), "d"))
    np.testing.assert_array_equal(weights[0], weights[1])


def test_repair_is_deterministic_and_leaves_its_input_alone() -> None:
    base, x = ibn(), images((16, 14, 14))
    changed = spoiled(base, "d", "p")
    before = ir.to_proto(changed).SerializeToString(deterministic=True)
    results = [repair(reference(base, x), changed, EVERY, seed=0, effort=SMALL) for _ in range(2)]
    assert ir.to_proto(changed).SerializeToString(deterministic=True) == before
    one, two = (ir.to_proto(result).SerializeToString(deterministic=True) for result in results)
    assert one == two


def test_what_was_asked_of_the_reference_before_changes_nothing() -> None:
    base, x = classifier(), images((3, 16, 16))
    changed = spoiled(base, "d", "p")
    data = reference(base, x)
    first = weight_of(repair(data, changed, EVERY, seed=0, effort=SMALL), "p")
    repair(data, spoiled(base, "s", "h"), [0, 1], seed=0, effort=SMALL)
    np.testing.assert_array_equal(weight_of(repair(data, changed, EVERY, seed=0, effort=SMALL), "p"), first)


def test_channels_of_the_origin_and_padding() -> None:
    base, x = ibn(), images((16, 14, 14))
    changed = base.clone()
    node = node_of(changed, "e")
    group = channel_group(node.outputs[0])
    assert not isinstance(group, Blocked)
    kept = [5, 3, PADDING, *range(10, 40)]
    resize(group, kept)
    set_constant(node, 1, weight_of(changed, "e") * np.float32(1.3))
    request_fit(node)
    fitted = repair(reference(base, x), changed, EVERY, seed=0, effort=SMALL)
    found, wanted = values_of(fitted, x, "e"), values_of(base, x, "e")
    real = [row for row, channel in enumerate(kept) if channel != PADDING]
    np.testing.assert_allclose(found[:, real], wanted[:, [kept[row] for row in real]], atol=2e-2)
    assert not found[:, kept.index(PADDING)].any()


def test_untouched_projections_behind_are_refitted_and_unmarked() -> None:
    base, x = classifier(), images((3, 16, 16))
    changed = spoiled(base, "s")
    set_constant(node_of(changed, "s"), 1, weight_of(base, "s")[:, :, ::-1].copy())
    for node in changed.graph:
        node.meta.pop("hwopt.fit", None)
    request_fit(node_of(changed, "d"))
    data = reference(base, x)
    none = repair(data, changed, EVERY, seed=0, effort=Effort(4000, 4000, downstream=0))
    some = repair(data, changed, EVERY, seed=0, effort=Effort(4000, 4000, downstream=2))
    assert np.array_equal(weight_of(none, "p"), weight_of(base, "p"))
    assert not np.array_equal(weight_of(some, "p"), weight_of(base, "p"))
    assert not np.array_equal(weight_of(some, "h"), weight_of(base, "h"))
    assert np.array_equal(weight_of(some, "y"), weight_of(base, "y"))
    assert [node.outputs[0].name for node in some.graph if fit_of(node)] == ["d"]
    assert error(base, some, x) < error(base, none, x)


def test_sparse_weights_stay_sparse() -> None:
    base, x = classifier(), images((3, 16, 16), count=60)
    changed = base.clone()
    node = node_of(changed, "y")
    sparse = weight_of(base, "y").copy()
    sparse[np.abs(sparse) < np.quantile(np.abs(sparse), 0.5)] = 0
    set_constant(node, 1, sparse)
    request_fit(node, support=True)
    fitted = repair(reference(base, x), changed, EVERY, seed=0, effort=SMALL)
    assert not weight_of(fitted, "y")[sparse == 0].any()
    fresh = images((3, 16, 16), count=30, seed=11)
    assert error(base, fitted, fresh) < error(base, changed, fresh)


def test_a_mark_that_cannot_be_honoured_is_refused() -> None:
    base, x = ibn(), images((16, 14, 14))
    changed = spoiled(base, "d")
    mark_origin(node_of(changed, "d"), Origin("nothing"))
    with pytest.raises(RewriteFailed, match="nothing"):
        repair(reference(base, x), changed, EVERY, seed=0, effort=SMALL)
    mark_origin(node_of(changed, "d"), Origin("p"))
    with pytest.raises(RewriteFailed, match="channels"):
        repair(reference(base, x), changed, EVERY, seed=0, effort=SMALL)


def test_a_model_with_a_fixed_batch() -> None:
    base, x = ibn(), images((16, 14, 14))
    for value in (*base.graph.inputs, *base.graph.outputs):
        value.shape = ir.Shape([1, 16, 14, 14])
    changed = spoiled(base, "p")
    fitted = repair(reference(base, x), changed, EVERY, seed=0, effort=SMALL)
    assert error(base, fitted, x) < 1e-4
