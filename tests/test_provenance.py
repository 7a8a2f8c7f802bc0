"""Where nodes come from: nothing vanishes without a word, nothing untouched is touched, files load."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.calibration.stream import calibration_of
from hwopt.channels.groups import channel_groups, resize
from hwopt.choice import Value
from hwopt.errors import RewriteFailed
from hwopt.find import canonicalise, with_places
from hwopt.ir import load_model, model_bytes, save_model
from hwopt.nodes import label
from hwopt.pricing.regions import cut_out
from hwopt.provenance import (
    CHANNELS,
    GONE,
    KEYS,
    REWRITES,
    SOURCES,
    Before,
    Channels,
    channels_of,
    channels_since,
    forget,
    gone_of,
    note_made,
    rewrites_of,
    sources_of,
)
from hwopt.quantize.write import quantised
from hwopt.registry import all_passes
from hwopt.repair.linear import WEIGHT, put_constant
from hwopt.rewrite import carry_out_steps, rewrite, steps_made
from hwopt.runtime import Session
from hwopt.shapes import infer_shapes
from hwopt.target import read_target
from tests.small_models import FOLDER, MODELS, input_model, offered


@cache
def source(name: str) -> ir.Model:
    return input_model(name)


def everything_is_accounted_for(before: ir.Model, after: ir.Model) -> None:
    """Every node of the input stands in the result, in the sources of a node, or among those that went."""
    named = {name for node in after.graph for name in sources_of(node)}
    gone = gone_of(after)
    inputs = [label(node) for node in before.graph]
    assert set(inputs) <= named | set(gone)
    assert named <= set(inputs), "sources are nodes of the input"
    assert named.isdisjoint(gone)


def untouched_nodes_are_as_they_came(before: ir.Model, after: ir.Model) -> None:
    """Whoever carries nothing has the bytes of its source; whoever carries anything says what made it."""
    originals = {label(node): node for node in before.graph}
    for node in after.graph:
        if rewrites_of(node):
            assert json.loads(node.metadata_props[SOURCES]) == list(sources_of(node))
            continue
        assert not set(KEYS) & set(node.metadata_props)
        [own] = sources_of(node)
        assert ir.to_proto(node) == ir.to_proto(originals[own])


def check(before: ir.Model, after: ir.Model) -> None:
    everything_is_accounted_for(before, after)
    untouched_nodes_are_as_they_came(before, after)


@pytest.mark.parametrize("name", MODELS)
def test_after_any_value_every_node_is_accounted_for(name: str) -> None:
    model = source(name)
    for value in offered(model):
        try:
            changed = carry_out_steps(model, [value])
        except RewriteFailed:  # a random net may not take a width everywhere
            continue
        check(model, changed)
        touched = [node for node in changed.graph if rewrites_of(node)]
        step = f"1 {value.pass_name} {value.choice} = {value.name}"
        assert all(rewrites_of(node) == (step,) for node in touched)
        assert touched or gone_of(changed)


@pytest.mark.parametrize("name", MODELS)
def test_after_a_whole_plan_too(name: str) -> None:
    """All folds, then one value of every choice, LOSSY ones among them."""
    model, target = source(name), read_target(FOLDER / "edge-npu")
    changed, taken = canonicalise(model, all_passes(), target).model, set[str]()
    for value in offered(changed):
        if value.choice not in taken:
            try:
                changed = carry_out_steps(changed, [value])
            except RewriteFailed:
                continue
            taken.add(value.choice)
    check(model, changed)
    numbers = [int(step.split()[0]) for node in changed.graph for step in rewrites_of(node)]
    assert all(
        list(map(_number, rewrites_of(n))) == sorted(map(_number, rewrites_of(n))) for n in changed.graph
    )
    assert not numbers or max(numbers) <= changed.graph.meta["hwopt.steps"]


def _number(step: str) -> int:
    return int(step.split()[0])


def first(model: ir.Model, pass_name: str, name: str | None = None) -> Value:
    values = [v for v in offered(model) if v.pass_name == pass_name and name in (None, v.name)]
    return values[0]


def test_a_fold_takes_the_sources_of_what_went() -> None:
    model = source("folds")
    changed = carry_out_steps(model, [first(model, "canonicalize", "fold_after")])
    [conv] = [node for node in changed.graph if rewrites_of(node)]
    assert sources_of(conv) == ("c", "d", "i"), "the convolution, then what it took in"
    assert conv.outputs[0].name == "i"


def test_what_read_a_node_that_changed_nothing_stands_for_it() -> None:
    """A node of the main graph, or one that holds a graph which read it."""
    model = source("branches")
    noops = [v for v in offered(model) if v.name == "remove_noop"]
    changed = carry_out_steps(model, noops)
    named = {label(node): sources_of(node) for node in changed.graph if rewrites_of(node)}
    assert named == {"z": ("z", "i"), "y": ("y", "k")}


def test_a_constant_expression_says_which_constant_it_became() -> None:
    model = source("borders")
    changed = carry_out_steps(model, [first(model, "canonicalize", "fold_constants")])
    assert gone_of(changed) == dict.fromkeys(("slopes", "ones"), "computed the constant 'slopes'")
    check(model, changed)


@pytest.mark.parametrize("name", ["folds", "branches", "classifier", "borders"])
def test_files_of_an_old_ir_version_with_metadata_load_everywhere(name: str, tmp_path: Path) -> None:
    """Metadata on nodes came with IR version 10; the field is unknown to older readers, and ignored."""
    model = source(name)
    changed = canonicalise(model, all_passes(), read_target(FOLDER / "edge-npu")).model
    wide = [v for v in offered(changed) if v.pass_name == "align_channels"]
    changed = carry_out_steps(changed, wide[:1])
    saved = save_model(changed, tmp_path / "out.onnx")
    assert saved.unchecked is None
    proto = onnx.load(saved.path)
    assert proto.ir_version == 8
    onnx.checker.check_model(proto, full_check=True)
    assert any(node.metadata_props for node in proto.graph.node)
    Session(saved.path.read_bytes())
    again = load_model(saved.path)
    for node, read in zip(changed.graph, again.graph, strict=True):
        assert sources_of(read) == sources_of(node)
        assert rewrites_of(read) == rewrites_of(node)
        assert channels_of(read) == channels_of(node)
    assert gone_of(again) == gone_of(changed)
    assert model_bytes(again) == model_bytes(changed)


def test_clones_and_regions_keep_it() -> None:
    model = source("classifier")
    changed = carry_out_steps(model, [first(model, "align_channels")])
    touched = [node for node in changed.graph if rewrites_of(node)]
    known = {label(n): (sources_of(n), rewrites_of(n), channels_of(n)) for n in touched}
    region = cut_out(changed, touched, infer_shapes(changed, {}))
    for copy in (changed.clone(), rewrite(changed, []), region):
        found = {label(n): (sources_of(n), rewrites_of(n), channels_of(n)) for n in copy.graph}
        assert known.items() <= found.items()


def test_a_result_that_goes_through_again_keeps_its_first_sources() -> None:
    model = source("folds")
    once = carry_out_steps(model, [first(model, "canonicalize", "fold_after")])
    read = with_places(ir.from_proto(ir.to_proto(once)))
    twice = carry_out_steps(read, [first(read, "canonicalize", "fold_after")])
    named = {name for node in twice.graph for name in sources_of(node)}
    assert named <= {label(node) for node in model.graph}
    assert any(len(rewrites_of(node)) == 1 for node in twice.graph)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1, 2", "7", '"a"', "null", "[" * 5000, '{"y": {"axis": "1"}}', '{"y": {"channels": [null]}}'],
)
def test_metadata_from_a_file_may_hold_anything(text: str) -> None:
    model = source("ibn").clone()
    node = model.graph[-1]
    node.meta.clear()
    node.metadata_props.update(dict.fromkeys(KEYS, text))
    model.graph.metadata_props[GONE] = text
    assert all(isinstance(name, str) for name in (*sources_of(node), *rewrites_of(node)))
    assert channels_of(node) == {}
    assert isinstance(gone_of(model), dict)


def test_a_repair_is_noted_on_the_nodes_that_it_changed_alone() -> None:
    model = source("ibn")
    changed = carry_out_steps(model, [first(model, "shrink_kernel", "k3")])
    fitted = changed.clone()
    node = next(node for node in fitted.graph if node.op_type == "Conv" and len(node.inputs) > 2)
    weight = node.inputs[WEIGHT]
    assert weight is not None
    assert weight.const_value is not None
    put_constant(node, WEIGHT, weight.const_value.numpy() + 1)
    note_made(changed, fitted, "repaired")
    assert [label(n) for n in fitted.graph if "repaired" in rewrites_of(n)] == [label(node)]
    assert all("repaired" not in rewrites_of(n) for n in changed.graph)
    assert SOURCES in node.metadata_props


def test_forgetting_leaves_a_model_that_says_nothing() -> None:
    model = source("borders")
    changed = canonicalise(model, all_passes(), read_target(FOLDER / "edge-npu")).model
    forget(changed)
    assert not any(node.metadata_props for node in changed.graph)
    assert not changed.graph.metadata_props


def selected(selection: list[int], *more: list[int]) -> dict[str, Channels]:
    """`hwopt.channels` after the group behind the classifier's stem was resized, once or more often."""
    model = source("classifier").clone()
    for step in (selection, *more):
        known = Before.of(model)
        conv = next(node for node in model.graph if label(node) == "e")
        [group] = channel_groups(conv.outputs[0])
        resize(group, step)  # type: ignore[arg-type]
        known.record(model, "1 test")
    read = ir.from_proto(ir.to_proto(model))
    return {name: one for node in read.graph for name, one in channels_of(node).items()}


def test_channels_say_what_is_left_of_every_tensor_and_in_which_order() -> None:
    kept = [4, 2, *range(6, 30)]
    found = selected(kept)
    assert found == dict.fromkeys(("e", "ea", "d", "da"), Channels(1, tuple(kept)))


def test_channels_that_are_resized_again_are_still_those_of_the_input() -> None:
    found = selected([*range(36), -1, -1], [37, 35, 36, 1])
    assert found["e"] == Channels(1, (-1, 35, -1, 1))


def test_a_result_that_is_resized_again_counts_from_the_first_input() -> None:
    """And a comparison of the two results finds one's channels in the other."""
    model = source("classifier")
    wide = first(model, "align_channels", "w16")
    once = with_places(ir.from_proto(ir.to_proto(carry_out_steps(model, [wide]))))
    fewer = next(v for v in offered(once) if v.pass_name == "prune_channels" and "s" in _resizes(once, v))
    twice = ir.from_proto(ir.to_proto(carry_out_steps(once, [fewer])))
    before, after = _channels_by_name(once), _channels_by_name(twice)
    assert set(after["s"].kept) <= set(range(12)) | {-1}
    between = channels_since(before["s"], after["s"])
    assert between is not None
    assert [before["s"].kept[i] for i in between.kept if i >= 0] == [i for i in after["s"].kept if i >= 0]
    assert channels_since(None, after["s"]) == after["s"]
    assert channels_since(before["s"], before["s"]) is None


def _channels_by_name(model: ir.Model) -> dict[str, Channels]:
    return {name: one for node in model.graph for name, one in channels_of(node).items()}


def _resizes(model: ir.Model, value: Value) -> set[str]:
    before, after = _channels_by_name(model), _channels_by_name(carry_out_steps(model, [value]))
    return {name for name in after if after[name] != before.get(name)}


@pytest.mark.parametrize("kept", [(0,), tuple(range(400)), (5,) * 36])
def test_wrong_channels_in_a_file_break_no_rewrite(kept: tuple[int, ...]) -> None:
    model = source("classifier").clone()
    for node in model.graph:
        told = {str(value.name): {"axis": 1, "channels": list(kept)} for value in node.outputs}
        node.metadata_props[CHANNELS] = json.dumps(told)
    model = with_places(model)
    resizing = [v for v in offered(model) if v.pass_name in ("align_channels", "prune_channels")]
    assert resizing
    for value in resizing:
        assert steps_made(carry_out_steps(model, [value])) == 1


def test_a_tensor_with_the_same_channels_twice_loses_them_twice() -> None:
    proto = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 13]>
        twice (float[N,2,4,4] x) => (float[N,3,4,4] y) {
          c = Conv<kernel_shape=[1,1]>(x, w)
          r = Relu(c)
          k = Concat<axis=1>(c, r)
          y = Conv<kernel_shape=[1,1]>(k, v)
        }""")
    for name, shape in (("w", (4, 2, 1, 1)), ("v", (3, 8, 1, 1))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    model = with_places(ir.from_proto(proto))
    known = Before.of(model)
    [group, *_] = channel_groups(model.graph[0].outputs[0])
    resize(group, [0, 3])  # type: ignore[arg-type]
    known.record(model, "1 test")
    node = next(node for node in model.graph if node.op_type == "Concat")
    assert channels_of(node) == {"k": Channels(1, (0, 3, 4, 7))}
    assert json.loads(node.metadata_props[CHANNELS]) == {"k": {"axis": 1, "channels": [0, 3, 4, 7]}}
    assert node.metadata_props[REWRITES] == '["1 test"]'


def test_the_int8_form_keeps_it_and_says_what_took_an_activation_in() -> None:
    model = source("classifier")
    changed = carry_out_steps(model, [first(model, "align_channels")])
    rng = np.random.default_rng(0)
    images = [{"x": rng.standard_normal((3, 16, 16)).astype(np.float32)} for _ in range(20)]
    form = quantised(changed, calibration_of(images, model), range(20))
    onnx.checker.check_model(ir.to_proto(form), full_check=True)
    labels = {label(node) for node in model.graph}
    assert all("quantised" in rewrites_of(node) and set(sources_of(node)) <= labels for node in form.graph)
    everything_is_accounted_for(model, form)
    known = {name: one for node in changed.graph for name, one in channels_of(node).items()}
    ends = {str(v.name): node for node in form.graph for v in node.outputs}
    assert sources_of(ends["sa"]) == ("s", "sa")
    assert channels_of(ends["sa"]) == {"sa": known["sa"]}
    assert any(step.startswith("1 align_channels") for step in rewrites_of(ends["sa"]))
