"""Fused blocks of every variant, repaired: better than the composition, borders as good as the interior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from hwopt.calibration.data import Arrays, from_source
from hwopt.choice import Value
from hwopt.nodes import FloatArray
from hwopt.passes.fuse_ibn import FuseInvertedBottleneck
from hwopt.passes.fuse_separable import FuseSeparable
from hwopt.registry import load_target
from hwopt.repair.effort import Effort
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import repair
from hwopt.rewrite import rewrite
from tests.graphs import output_of
from tests.passes.blocks import VARIANTS, Block

EFFORT = Effort(rows=8_000, pool=12_000, joint_rounds=80, downstream=0)
SEPARABLE = {
    "separable relu": Block(second="relu", expanded=False),
    "separable silu, stride 2": Block(second="silu", expanded=False, kernel=(5, 5), strides=(2, 2)),
    "separable hardswish 5x3, gated": Block(second="hardswish", expanded=False, kernel=(5, 3), gated=True),
}
CASES = [
    pytest.param(block, name, id=f"{variant}-{name}")
    for variant, block in {**VARIANTS, **SEPARABLE}.items()
    for name in (("fused", "fused_k3") if block.expanded else ("merged", "merged_k3", "dense_k3"))
    if (name.endswith("k3")) <= (max(block.kernel) > 3 and any(block.all_pads))
    if not (name.startswith("merged") and block.gated)
]


def images(block: Block, count: int, seed: int) -> FloatArray:
    """Smooth random fields, so that neighbouring pixels are related as in images."""
    x = np.random.default_rng(seed).normal(size=(count, block.channels, *block.size))
    for axis in (2, 3):
        x = x + np.roll(x, 1, axis) + np.roll(x, 2, axis)
    return np.asarray(x / 3, np.float32)


def border(block: Block, size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """[height, width]: where the filter sees padding."""
    inside = []
    for axis in (0, 1):
        first = np.arange(size[axis]) * block.strides[axis] - block.all_pads[axis]
        inside.append((first >= 0) & (first + block.kernel[axis] <= block.size[axis]))
    return np.asarray(~(inside[0][:, None] & inside[1]))


@pytest.mark.parametrize(("block", "name"), CASES)
def test_the_fit_mends_the_composition_and_the_border_no_worse_than_the_rest(block: Block, name: str) -> None:
    block = replace(block, size=(14, 14))
    model, x, fresh = block.model(), images(block, 80, 3), images(block, 20, 8)
    target = load_target("edge-npu")
    passes = (FuseInvertedBottleneck(), FuseSeparable())
    found = [v for item in passes for v in item.values(model, target) if isinstance(v, Value)]
    changed = rewrite(model, [value for value in found if value.name == name])
    data = Reference(model, from_source(Arrays({"x": x})), threads=1)
    fitted = repair(data, changed, range(5), seed=0, effort=EFFORT)
    wanted = output_of(model, fresh)
    before, after = ((output_of(m, fresh) - wanted) ** 2 for m in (changed, fitted))
    assert after.mean() < 0.7 * before.mean()
    ring = border(block, wanted.shape[2:])
    if ring.any() and not ring.all():
        assert after[..., ring].mean() <= after[..., ~ring].mean()


@pytest.mark.parametrize("variant", ["relu6", "hardswish", "silu gated", "relu gated", "1x5"])
def test_fitting_both_together_beats_fitting_one_after_the_other(variant: str) -> None:
    block = VARIANTS[variant]
    model, x, fresh = block.model(), images(block, 80, 3), images(block, 20, 8)
    value = next(v for v in FuseInvertedBottleneck().values(model, load_target("edge-npu")))
    assert isinstance(value, Value)
    data = Reference(model, from_source(Arrays({"x": x})), threads=1)
    wanted = output_of(model, fresh)
    errors = []
    for rounds in (0, 60):
        effort = replace(EFFORT, joint_rounds=rounds)
        fitted = repair(data, rewrite(model, [value]), range(5), seed=0, effort=effort)
        errors.append(float(np.mean((output_of(fitted, fresh) - wanted) ** 2)))
    assert errors[1] < 0.75 * errors[0]
