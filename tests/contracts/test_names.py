"""A name of the input model means the same value in a rewritten one: same numbers, same shape.

Where an EXACT step resized a value, `hwopt.channels` says which of its entries are left. This is what
`hwopt compare --layers` rests on.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from hwopt.canonical.engine import RULES
from hwopt.choice import Risk, Stage, Value, in_order
from hwopt.errors import RewriteFailed
from hwopt.find import canonicalise
from hwopt.inputs import random_feeds
from hwopt.nodes import Array, constant_array
from hwopt.provenance import Channels, channels_of
from hwopt.registry import all_passes
from hwopt.rewrite import carry_out_steps
from hwopt.target import read_target
from hwopt.verify import Sample, compare, nudged
from tests.small_models import FOLDER, MODELS, input_model, offered


@cache
def source(name: str) -> ir.Model:
    return input_model(name)


def all_values(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor of the main graph, constants among them, by ONNX Runtime without its own rewrites."""
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(model))
    types = {info.name: info for info in proto.graph.value_info}
    known = {output.name for output in proto.graph.output}
    computed = [name for node in proto.graph.node for name in node.output if name]
    proto.graph.output.extend(types[name] for name in computed if name not in known and name in types)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = {v.name: constant_array(v) for v in model.graph.initializers.values() if v.name}
    results = dict(zip(names, session.run(names, dict(feeds)), strict=True))
    assert set(computed) <= set(results), "a tensor without a type was left out"
    return {**{n: a for n, a in found.items() if a is not None}, **results}


def sample(model: ir.Model, batch: int = 2) -> Sample:
    feeds = random_feeds(model, {}, 0, batch)
    outputs = all_values(model, feeds)
    moved = all_values(model, {name: nudged(array) for name, array in feeds.items()})
    return Sample(feeds, outputs, tuple(item.max_rel for item in compare(outputs, moved)))


@cache
def expected(name: str) -> Sample:
    return sample(source(name))


def resized(model: ir.Model) -> dict[str, Channels]:
    return {name: one for node in model.graph for name, one in channels_of(node).items()}


def broken_names(known: Sample, changed: ir.Model) -> list[str]:
    """What breaks the contract, in words."""
    actual = all_values(changed, known.feeds)
    kept = resized(changed)
    found = []
    for (name, before), noise in zip(known.outputs.items(), known.noise, strict=True):
        after = actual.get(name)
        if after is None:
            continue
        if name in kept:
            axis, entries = kept[name].axis, np.asarray(kept[name].kept)
            if after.shape[axis] != len(entries):
                found.append(f"{name}: {after.shape} but {len(entries)} entries on axis {axis}")
                continue
            before = np.take(before, entries[entries >= 0], axis)
            after = np.take(after, np.flatnonzero(entries >= 0), axis)
        if before.shape != after.shape:
            found.append(f"{name}: {before.shape} became {after.shape}")
            continue
        [item] = compare({name: before}, {name: after})
        if item.max_rel > 1e-4 + 4.0 * noise:
            found.append(f"{name}: differs by {item.max_rel:.2g}")
    return found


def exact(name: str) -> list[Value]:
    return [value for value in offered(source(name)) if value.risk == Risk.EXACT]


@pytest.mark.parametrize("name", MODELS)
def test_after_any_exact_value_a_kept_name_means_what_it_did(name: str) -> None:
    for value in exact(name):
        changed = carry_out_steps(source(name), [value])
        assert broken_names(expected(name), changed) == [], (value.pass_name, value.choice, value.name)


@pytest.mark.parametrize("name", MODELS)
def test_after_all_folds_and_then_one_value_more_too(name: str) -> None:
    target = read_target(FOLDER / "edge-npu")
    base = canonicalise(source(name), all_passes(), target).model
    assert broken_names(expected(name), base) == []
    for value in [v for v in offered(base) if v.risk == Risk.EXACT]:
        changed = carry_out_steps(base, [value])
        assert broken_names(expected(name), changed) == [], (value.pass_name, value.choice, value.name)


@pytest.mark.parametrize("name", MODELS)
def test_after_many_values_too(name: str) -> None:
    """One value of every choice, as far as they can stand together."""
    model, taken = source(name), set[str]()
    base = canonicalise(model, all_passes(), read_target(FOLDER / "edge-npu")).model
    for value in in_order(v for v in offered(base) if v.risk == Risk.EXACT):
        if value.choice in taken or value.stage == Stage.CANONICALISE:
            continue
        try:
            base = carry_out_steps(base, [value])
        except RewriteFailed:
            continue
        taken.add(value.choice)
    assert broken_names(expected(name), base) == []


def test_every_rule_and_every_exact_pass_was_tried() -> None:
    every = [value for name in MODELS for value in exact(name)]
    assert {value.name for value in every if value.stage == Stage.CANONICALISE} == set(RULES)
    passes = {value.pass_name for value in every}
    assert passes >= {"densify_depthwise", "fuse_ibn", "fuse_separable", "swap_activation", "align_channels"}
    assert {"fused", "fused_exact"} & {v.name for v in every if v.pass_name == "fuse_ibn"}


def test_the_contract_can_be_broken() -> None:
    """A kept name with another meaning is found, and so is a width that nobody wrote down."""
    model = source("folds")
    changed = carry_out_steps(model, [v for v in exact("folds") if v.name == "fold_after"][:1])
    assert broken_names(expected("folds"), changed) == []
    conv = next(node for node in changed.graph if node.op_type == "Conv")
    weight = conv.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy() * 1.01, name=weight.name)
    assert any("differs" in text for text in broken_names(expected("folds"), changed))
    [padded] = [v for v in exact("classifier") if v.pass_name == "align_channels"][:1]
    changed = carry_out_steps(source("classifier"), [padded])
    for node in changed.graph:
        for value in node.outputs:
            value.meta.clear()
        node.metadata_props.clear()
    assert any("became" in text for text in broken_names(expected("classifier"), changed))


def test_a_fresh_name_is_none_that_the_input_has() -> None:
    """The input has weights `w` and `w.1`; folds replace both, in the order that could take the name over."""
    model = source("folds")
    folds = [value for value in exact("folds") if value.name == "fold_after"]
    changed = carry_out_steps(model, folds[::-1])
    originals = {v.name: constant_array(v) for v in model.graph.initializers.values()}
    for value in changed.graph.initializers.values():
        array = constant_array(value)
        if value.name in originals:
            np.testing.assert_array_equal(array, originals[value.name])
    assert "w.1" not in changed.graph.initializers
