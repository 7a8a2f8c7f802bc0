"""align_channels and prune_channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.choice import KEEP, Pass, Risk, Skip, Value, group_values
from hwopt.errors import RewriteFailed
from hwopt.find import with_places
from hwopt.nodes import constant, dims_of
from hwopt.passes.align_channels import AlignChannels, padded_widths
from hwopt.passes.depth_multiplier import DepthMultiplier
from hwopt.passes.fuse_ibn import FuseInvertedBottleneck
from hwopt.passes.prune_channels import PruneChannels
from hwopt.pricing.price import draft_table, find_cells, make_scene, memory_shares
from hwopt.pricing.regions import apply_values
from hwopt.repair.marks import Fit, fit_of, origin_of
from hwopt.rewrite import rewrite
from hwopt.shapes import infer_shapes
from hwopt.target import Target, read_target
from hwopt.widths import WHOLE_MODEL, next_lower, rounded
from tests.channel_nets import random_net
from tests.graphs import classifier, output_of

WIDTH_PASSES: tuple[Pass, ...] = (PruneChannels(), AlignChannels(), DepthMultiplier())
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
    values = [v for v in offers(AlignChannels(), model, u55) if v.risk == Risk.EXACT]
    assert {v.parameters["from"] for v in values if v.choice != WHOLE_MODEL} == {12, 36, 60}
    assert {v.name for v in values if v.choice == WHOLE_MODEL} == {"up8", "up16"}
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


@pytest.mark.parametrize(
    ("width", "ratio", "expected"),
    [
        (672, 7 / 8, 576),  # 588 is not far from eighteen times 32
        (144, 5 / 6, 120),
        (96, 3 / 4, 72),
        (96, 2 / 3, 64),
        (12, 1 / 2, 8),  # six is no multiple: the finest one counts
    ],
)
def test_a_ratio_is_met_at_the_coarsest_multiple_that_is_close(
    width: int, ratio: float, expected: int
) -> None:
    assert rounded(width, ratio, (8, 16, 32)) == expected


def test_the_next_lower_multiples_are_those_that_leave_most() -> None:
    assert next_lower(112, (8, 16, 32), 2 / 3) == [96]
    assert next_lower(24, (8, 16, 32), 2 / 3) == [16]
    assert next_lower(40, (16, 32), 0.9) == []


def test_what_can_lose_a_multiple_is_pruned(u55: Target) -> None:
    values = offers(PruneChannels(), classifier(), u55)
    assert {value.parameters["from"] for value in values} == {36, 60}
    assert all(value.risk == Risk.LOSSY for value in values)
    assert all(value.strength is not None and 0 < value.strength < 0.6 for value in values)


def test_a_stream_loses_the_same_channels_everywhere(u55: Target) -> None:
    model = classifier()
    value = next(v for v in offers(AlignChannels(), model, u55) if v.parameters == {"from": 12, "to": 8})
    changed = rewrite(model, [value])
    assert (width_of(changed, "s"), width_of(changed, "p")) == (8, 8)
    origins = {n.outputs[0].name: origin_of(n) for n in changed.graph if n.outputs[0].name in ("s", "p")}
    kept = {o.channels for o in origins.values() if o is not None}
    assert len(kept) == 1
    fitted = {n.outputs[0].name for n in changed.graph if fit_of(n) is not None}
    assert fitted == {"e", "h"}  # what reads the stream
    assert len(list(changed.graph)) == len(list(model.graph))


def test_no_width_is_offered_twice(u55: Target) -> None:
    values = [v for item in WIDTH_PASSES for v in offers(item, classifier(), u55)]
    group_values(values)  # raises where one choice has two values of one name


def test_a_ratio_for_the_whole_model_shrinks_every_group(u55: Target) -> None:
    model = classifier()
    values = {v.name: v for v in offers(DepthMultiplier(), model, u55)}
    assert values["x0.75"].risk == Risk.LOSSY
    assert values["x0.5"].risk == Risk.RETRAIN
    changed = rewrite(model, [values["x0.5"]])
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)
    assert [width_of(changed, name) for name in ("s", "e", "h")] == [8, 16, 32]
    assert sum(c.size for c in constants(changed)) < 0.6 * sum(c.size for c in constants(model))


def constants(model: ir.Model) -> list[np.ndarray]:
    return [v.const_value.numpy() for v in model.graph.initializers.values() if v.const_value is not None]


def test_the_whole_model_is_evened_down_and_up(u55: Target) -> None:
    model = classifier()
    value = next(v for v in offers(AlignChannels(), model, u55) if v.name == "even16")
    changed = rewrite(model, [value])
    assert [width_of(changed, name) for name in ("s", "e", "h")] == [16, 32, 64]
    assert value.risk == Risk.LOSSY
    assert fit_of(next(n for n in changed.graph if n.outputs[0].name == "p")) is not None


def test_the_whole_model_and_single_widths_exclude_one_another(u55: Target) -> None:
    model = classifier()
    values = [v for item in WIDTH_PASSES for v in offers(item, model, u55)]
    whole = [v for v in values if v.choice == WHOLE_MODEL]
    single = [v for v in values if v.choice != WHOLE_MODEL]
    for one in whole:
        for two in (v for v in single if v.parameters["from"] in touched(model, one)):
            with pytest.raises(RewriteFailed, match="already"):
                apply_values(model, [one, two])


def touched(model: ir.Model, value: Value) -> set[int]:
    """The old widths of the groups that a value changes."""
    changed = rewrite(model, [value])
    return {width_of(model, n) for n in ("s", "e", "h") if width_of(model, n) != width_of(changed, n)}


def test_prices_hold_the_whole_model_against_single_widths(u55: Target) -> None:
    model = classifier()
    shapes = infer_shapes(model, {})
    choices = group_values(v for item in WIDTH_PASSES for v in offers(item, model, u55))
    scene = make_scene(model, shapes, u55)
    cells = find_cells(scene, choices)
    for cell, share in zip(cells, memory_shares(scene, cells)[0], strict=True):
        table = draft_table(scene, cell, share)
        ids = [choice.id for choice in cell.choices]
        assert all(
            set(key) == {KEEP} or key[ids.index(WHOLE_MODEL)] == KEEP
            or (set(key) == {KEEP, key[ids.index(WHOLE_MODEL)]} and key.count(KEEP) == len(key) - 1)
            for key in table
        )  # fmt: skip
        if ids:
            names = {value.name for value in cell.choices[ids.index(WHOLE_MODEL)].values}
            assert names <= {key[ids.index(WHOLE_MODEL)] for key in table}


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


@pytest.mark.parametrize("seed", [54, 139])
def test_a_grouped_convolution_never_becomes_a_depthwise_one(seed: int) -> None:
    """With one channel per group its input and its output would be one group, of two widths at once."""
    model = with_places(random_net(seed))
    target = read_target(Path(__file__).parents[2] / "targets" / "edge-npu")
    values = [v for v in DepthMultiplier().values(model, target) if isinstance(v, Value)]
    assert {v.name for v in values} >= {"x0.5", "x0.35"}
    for value in values:
        rewrite(model, [value])
