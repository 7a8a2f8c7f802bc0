"""Property: what is done to every group of random networks leaves the outputs as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.channels.groups import ChannelGroup, groups_of, padded_selection, resize
from hwopt.edit import PIECE, set_constant
from hwopt.ir import load_model
from hwopt.nodes import FloatArray, constant_array
from hwopt.runtime import run
from tests.channel_nets import SIZE, random_net
from tests.graphs import output_of

SEEDS = [seed for seed in range(41) if seed != 1]  # ONNX Runtime itself cannot run number 1


def images() -> FloatArray:
    return np.random.default_rng(9).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)


def resizable(model: ir.Model) -> list[ChannelGroup]:
    return [group for group in groups_of(model) if isinstance(group, ChannelGroup)]


def same(changed: ir.Model, model: ir.Model) -> None:
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)
    before = output_of(model, images())
    np.testing.assert_allclose(
        output_of(changed, images()), before, rtol=1e-3, atol=1e-4 * np.abs(before).max()
    )


def shuffled(group: ChannelGroup, rng: np.random.Generator) -> list[int]:
    size = group.width // group.parts
    return [int(part * size + c) for part in range(group.parts) for c in rng.permutation(size)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_permutation_and_zero_padding_leave_the_output(seed: int) -> None:
    model, changed = random_net(seed), random_net(seed)
    rng = np.random.default_rng(seed)
    for number in range(len(resizable(changed))):
        group = resizable(changed)[number]
        wider = group.width + group.parts * int(rng.integers(0, 3))
        resize(group, shuffled(group, rng))
        group = resizable(changed)[number]
        resize(group, padded_selection(group, wider))
        assert resizable(changed)[number].width == wider
    same(changed, model)


@pytest.mark.parametrize("seed", SEEDS)
def test_channels_that_nobody_needs_can_go(seed: int) -> None:
    model, changed = random_net(seed), random_net(seed)
    rng = np.random.default_rng(seed)
    for number in range(len(resizable(changed))):
        group, twin = resizable(changed)[number], resizable(model)[number]
        size = group.width // group.parts
        gone = set(shuffled(group, rng)[::size]) if size > 2 else set()
        kept = [c for c in range(group.width) if c not in gone]
        silence(twin, sorted(gone))
        resize(group, kept)
    same(changed, model)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_piece_that_is_priced_makes_the_same_numbers_but_only_when_asked(seed: int) -> None:
    whole, piece = random_net(seed), random_net(seed)
    piece.graph.meta[PIECE] = True
    for model in (whole, piece):
        rng = np.random.default_rng(seed)
        for number in range(len(resizable(model))):
            group = resizable(model)[number]
            resize(group, shuffled(group, rng))
            group = resizable(model)[number]
            resize(group, padded_selection(group, group.width + 2 * group.parts))
    assert list(piece.graph.initializers) == list(whole.graph.initializers)
    for name, value in whole.graph.initializers.items():
        later, now = piece.graph.initializers[name], constant_array(value)
        assert now is not None
        assert (later.dtype, later.shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(constant_array(later), now)
    assert any(isinstance(v.const_value, ir.LazyTensor) for v in piece.graph.initializers.values())


def test_every_group_of_the_shipped_network_can_be_reordered_and_padded() -> None:
    file = Path(__file__).parents[1] / "models" / "figures" / "figures.onnx"
    model, changed = load_model(file), load_model(file)
    rng = np.random.default_rng(0)
    count = len(resizable(changed))
    assert count > 10
    for number in range(count):
        group = resizable(changed)[number]
        resize(group, shuffled(group, rng))
        group = resizable(changed)[number]
        resize(group, padded_selection(group, group.width + group.parts))
    shape = [dim if isinstance(dim, int) else 2 for dim in model.graph.inputs[0].shape or ()]
    feeds = {str(model.graph.inputs[0].name): rng.standard_normal(shape).astype(np.float32)}
    for name, before in run(model, feeds).items():
        np.testing.assert_allclose(
            np.asarray(run(changed, feeds)[name], np.float32),
            np.asarray(before, np.float32),
            rtol=1e-3,
            atol=1e-4,
        )


def silence(group: ChannelGroup, gone: list[int]) -> None:
    """Zeroes what readers make of these channels, by an implementation of its own."""
    for slot in group.slots_on("in"):
        array = constant_array(slot.node.inputs[1])
        assert array is not None
        array = array.copy()
        columns = group.width // slot.groups
        rows = array.shape[0] // slot.groups
        for channel in gone:
            for entry in range(slot.block):
                index = [slice(None)] * array.ndim
                if slot.groups > 1:
                    part = channel // columns
                    index[0] = slice(part * rows, (part + 1) * rows)
                    index[1] = slice(channel % columns, channel % columns + 1)
                else:
                    at = (slot.start + channel) * slot.block + entry
                    index[slot.axis] = slice(at, at + 1)
                array[tuple(index)] = 0
        set_constant(slot.node, 1, array)


def test_random_networks_hold_every_kind_of_coupling() -> None:
    groups = [group for seed in SEEDS for group in resizable(random_net(seed))]
    assert any(slot.start > 0 for group in groups for slot in group.slots)
    assert any(slot.block == 4 for group in groups for slot in group.slots)  # four pixels flattened
    assert any(slot.block == 2 for group in groups for slot in group.slots)  # channel multiplier
    assert any(group.parts == 4 for group in groups)
    assert any(count.name == "split" for group in groups for count in group.counts)
    assert any(lane.axis == 3 for group in groups for lane in group.lanes)
    assert len(groups) > 60
