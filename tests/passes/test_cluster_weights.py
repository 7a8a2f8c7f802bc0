"""cluster_weights: what it offers to whom, and what price and repair see of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from hwopt.choice import Skip, Value
from hwopt.descriptor import describe
from hwopt.nodes import constant
from hwopt.passes.cluster_weights import ClusterWeights
from hwopt.passes.sparsify import Sparsify
from hwopt.repair.marks import Fit, Origin, fit_of, origin_of
from hwopt.rewrite import rewrite
from hwopt.target import Target, read_target
from tests.graphs import classifier

TARGETS = Path(__file__).parents[2] / "targets"


@pytest.fixture(scope="module")
def u55() -> Target:
    return read_target(TARGETS / "ethos-u55-256")


def offers(model: ir.Model, target: Target) -> list[Value]:
    return [v for v in ClusterWeights().values(model, target) if isinstance(v, Value)]


def test_targets_without_a_compressed_stream_get_one_reason(u55: Target) -> None:
    (skip,) = ClusterWeights().values(classifier(), replace(u55, weights_compressed=False))
    assert isinstance(skip, Skip)
    assert "repeats cost what others cost" in skip.reason


def test_grouped_convolutions_are_skipped_with_a_reason(u55: Target) -> None:
    skips = [v for v in ClusterWeights().values(classifier(), u55) if isinstance(v, Skip)]
    assert [v.reason for v in skips] == ["it is a grouped convolution"]


def test_it_decides_the_same_choice_as_sparsify(u55: Target) -> None:
    model = classifier()
    sparse = {v.choice for v in Sparsify().values(model, u55) if isinstance(v, Value)}
    assert {v.choice for v in offers(model, u55)} <= sparse


@pytest.mark.parametrize("count", [8, 16, 32])
def test_the_layer_takes_so_many_values_and_asks_for_a_codebook(count: int, u55: Target) -> None:
    model = classifier()
    value = next(v for v in offers(model, u55) if v.name == f"codebook_{count}" and "gemm" in v.choice)
    changed = rewrite(model, [value])
    before, after = (next(n for n in m.graph if n.op_type == "Gemm") for m in (model, changed))
    old, new = constant(before.inputs[1]), constant(after.inputs[1])
    assert old is not None
    assert new is not None
    assert describe(new, 0, u55).distinct <= count
    assert describe(new, 0, u55).encoded_bytes < describe(old, 0, u55).encoded_bytes
    assert fit_of(after) == Fit(codebook=count)
    assert origin_of(after) == Origin("y")
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)
