"""Untouched weights behind a rewrite absorb its error only where there are rows enough to learn it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.calibration.data import Arrays, from_source
from hwopt.edit import set_constant
from hwopt.nodes import constant_array
from hwopt.repair.effort import Effort
from hwopt.repair.marks import request_fit
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import ENOUGH, repair
from tests.graphs import classifier


def node_of(model: ir.Model, output: str) -> ir.Node:
    return next(node for node in model.graph if node.outputs[0].name == output)


@pytest.mark.parametrize(("rows", "absorbs"), [(4000, True), (100, False)])
def test_a_scarce_absorber_keeps_its_weights(rows: int, absorbs: bool) -> None:
    """`h` has 12 features: 32 samples of which some positions are read are above or below the mark."""
    model = classifier()
    changed = model.clone()
    marked = node_of(changed, "p")
    weight = constant_array(marked.inputs[1])
    assert weight is not None
    halved = weight.astype(np.float32).copy()
    halved[:, ::2] = 0
    set_constant(marked, 1, halved)
    request_fit(marked, support=True)
    x = np.random.default_rng(2).normal(size=(40, 3, 16, 16)).astype(np.float32)
    effort = Effort(rows=rows, pool=rows, joint_rounds=2, downstream=3)
    fitted = repair(
        Reference(model, from_source(Arrays({"x": x})), threads=1), changed, range(4), seed=0, effort=effort
    )
    before, after = (constant_array(node_of(m, "h").inputs[1]) for m in (model, fitted))
    assert before is not None
    assert after is not None
    assert np.array_equal(before, after) is not absorbs
    assert (32 * min(64, -(-rows // 40)) >= ENOUGH * 12) is absorbs
