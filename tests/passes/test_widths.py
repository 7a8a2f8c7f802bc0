"""align_channels, prune_channels and sparsify."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.choice import Pass, Risk, Skip, Value
from hwopt.nodes import constant, dims_of
from hwopt.passes.align_channels import AlignChannels, padded_widths
from hwopt.passes.fuse_ibn import FuseInvertedBottleneck
from hwopt.passes.prune_channels import PruneChannels, pruned_widths
from hwopt.passes.sparsify import Sparsify, thinned
from hwopt.repair.marks import Fit, Origin, fit_of, origin_of
from hwopt.rewrite import rewrite
from hwopt.target import Target, read_target
from tests.graphs import classifier, output_of

TARGETS = Path(__file__).parents[2] / "targets"


@pytest.fixture(scope="module")
def u55() -> Target:
    return read_target(TARGETS / "ethos-u55-256")


def offers(item: Pass, model: ir.Model, target: Target) -> list[Value]:
    return [v for v in item.values(model, target) if isinstance(v, Value)]


def noise() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((2, 3, 16, 16)).astype(np.float32)


def width_of(model: ir.Model, output: str) -> int:
    node = next(n for n in model.graph if n.outputs[0].name == output)
    tensor = constant(node.inputs[1])
    assert tensor is not None
    return dims_of(tensor)[0]


@pytest.mark.parametrize(
    ("width", "expected"), [(24, [32]), (12, [16]), (36, [40, 48]), (32, []), (3, []), (60, [64])]
)
def test_padded_widths_are_the_targets_multiples(width: int, expected: list[int]) -> None:
    assert padded_widths(width, (8, 16, 32)) == expected


def test_every_padding_is_exact_and_passes_the_checker(u55: Target) -> None:
    model = classifier()
    expected = output_of(model, noise())
    values = offers(AlignChannels(), model, u55)
    assert {value.parameters["from"] for value in values} == {12, 36, 60}
    for value in values:
        changed = rewrite(model, [value])
        onnx.checker.check_model(ir.to_proto(changed), full_check=True)
        np.testing.assert_allclose(output_of(changed, noise()), expected, rtol=1e-5, atol=1e-5)


def test_a_stream_is_padded_everywhere_at_once(u55: Target) -> None:
    model = classifier()
    value = next(v for v in offers(AlignChannels(), model, u55) if v.name == "w16")
    changed = rewrite(model, [value])
    assert (width_of(changed, "s"), width_of(changed, "p")) == (16, 16)


def test_the_classifiers_outputs_are_passed_over_with_a_reason(u55: Target) -> None:
    skipped = [v for v in AlignChannels().values(classifier(), u55) if isinstance(v, Skip)]
    assert [s.reason for s in skipped] == ["its channels are those of a graph output"]


def test_pruned_widths_are_multiples_below_the_width() -> None:
    assert pruned_widths(144, 8) == [72, 96, 120]
    assert pruned_widths(16, 8) == []


def test_only_hidden_groups_are_pruned(u55: Target) -> None:
    values = offers(PruneChannels(), classifier(), u55)
    assert {value.parameters["from"] for value in values} == {36, 60}
    assert all(value.risk == Risk.LOSSY for value in values)


def test_the_strongest_channels_stay_and_the_reader_is_refitted(u55: Target) -> None:
    model = classifier()
    value = next(v for v in offers(PruneChannels(), model, u55) if v.parameters == {"from": 36, "to": 24})
    changed = rewrite(model, [value])
    assert (width_of(changed, "e"), width_of(changed, "d"), width_of(changed, "p")) == (24, 24, 12)
    expand = next(n for n in changed.graph if n.outputs[0].name == "e")
    project = next(n for n in changed.graph if n.outputs[0].name == "p")
    assert fit_of(project) == Fit(support=False)
    origin = origin_of(expand)
    assert origin is not None
    assert origin.channels is not None
    norms = np.ones(36)
    for name, axes in (("we", (1, 2, 3)), ("wd", (1, 2, 3)), ("wp", (0, 2, 3))):
        tensor = model.graph.initializers[name].const_value
        assert tensor is not None
        norms *= np.sqrt((tensor.numpy() ** 2).sum(axis=axes))
    assert set(origin.channels) == set(np.argsort(-norms)[:24].tolist())


def test_a_fused_block_is_pruned_at_its_fused_convolution(u55: Target) -> None:
    model = classifier()
    fused = next(v for v in offers(FuseInvertedBottleneck(), model, u55) if v.name == "fused")
    narrow = next(v for v in offers(PruneChannels(), model, u55) if v.parameters == {"from": 36, "to": 24})
    changed = rewrite(model, [fused, narrow])
    assert width_of(changed, "d") == 24
    node = next(n for n in changed.graph if n.outputs[0].name == "d")
    origin = origin_of(node)
    assert origin is not None
    assert origin.value == "d"
    assert origin.channels is not None
    assert len(origin.channels) == 24
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)


def test_sparsify_is_silent_where_zeros_gain_nothing(u55: Target) -> None:
    assert list(Sparsify().values(classifier(), replace(u55, weights_compressed=False))) == []


def test_the_smallest_weights_are_zeroed_and_stay_zero(u55: Target) -> None:
    model = classifier()
    value = next(v for v in offers(Sparsify(), model, u55) if v.name == "zeros_50" and "gemm" in v.choice)
    changed = rewrite(model, [value])
    gemm = next(n for n in changed.graph if n.op_type == "Gemm")
    weight = gemm.inputs[1].const_value  # type: ignore[union-attr]
    assert weight is not None
    assert np.count_nonzero(weight.numpy()) == 300
    assert fit_of(gemm) == Fit(support=True)
    assert origin_of(gemm) == Origin("y")


def test_thinning_keeps_the_largest() -> None:
    weight = np.array([[0.1, -3.0], [2.0, -0.2]], np.float32)
    np.testing.assert_array_equal(thinned(weight, 0.5), [[0.0, -3.0], [2.0, 0.0]])
