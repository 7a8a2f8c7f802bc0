"""HardSwish, SiLU, GELU, PRelu, LeakyRelu, Sigmoid, HardSigmoid  -->  what the target runs for nothing.

An activation that the target does not run inside the operator before it is one more trip through
memory. It becomes one that is: LOSSY, and the convolution before it is fitted so that the new
function of its output resembles the old one, and what reads the result is fitted behind it. A
PRelu with one slope for all channels becomes a LeakyRelu exactly. Howard et al., "Searching for
MobileNetV3", ICCV 2019, section 5.2, on what HardSwish costs where it is not native.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir

from hwopt.activations import Activation, Match, following_activation
from hwopt.channels.groups import hand_on_boundary
from hwopt.choice import Kind, Pass, Risk, Skip, Stage, Value
from hwopt.describe import target_op
from hwopt.edit import AttributeValue, add_constant, fresh_name, insert_node, remove_nodes
from hwopt.errors import RewriteFailed
from hwopt.grouping import op_word
from hwopt.nodes import label
from hwopt.places import has_place, inherit_place, node_at, place_of
from hwopt.repair.linear import as_linear
from hwopt.repair.marks import Origin, fit_of, mark_origin, request_fit
from hwopt.target import Target

CLIP_INPUTS = 11  # the opset from which Clip takes its bounds as inputs
HARDSWISH_OPSET = 14


@dataclass(frozen=True)
class Form:
    """A single operator that may stand where another activation stood."""

    op_type: str
    opset: int = 1


FORMS: Mapping[str, Form] = {
    "relu": Form("Relu"),
    "relu6": Form("Clip"),
    "leaky_relu": Form("LeakyRelu"),
    "hardswish": Form("HardSwish", HARDSWISH_OPSET),
    "sigmoid": Form("Sigmoid"),
    "hardsigmoid": Form("HardSigmoid"),
}

# What resembles what, the nearest first. Nothing is offered in the place of Relu, Clip and Tanh.
SIMILAR: Mapping[str, tuple[str, ...]] = {
    "hardswish": ("relu", "relu6"),
    "silu": ("hardswish", "relu", "relu6"),
    "gelu": ("hardswish", "relu", "relu6"),
    "prelu": ("leaky_relu", "relu"),
    "leaky_relu": ("relu",),
    "sigmoid": ("hardsigmoid",),
    "hardsigmoid": ("sigmoid",),
}
ABOVE_ZERO = ("relu", "relu6")  # cannot follow what goes below zero: fitted to the old result, not before it


class SwapActivation(Pass):
    """One value per activation that the target runs inside the operator before it."""

    name = "swap_activation"
    stage = Stage.FORM
    risk = Risk.LOSSY
    summary = "HardSwish, SiLU, PRelu ... --> Relu, Clip, HardSwish ... that the target runs natively"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        for source in sources(model):
            found = following_activation(source)
            if found is None or found.activation.kind not in SIMILAR:
                continue
            if native(source, op_word(found), target):
                continue  # the target runs it inside the operator before it: nothing is gained
            names = [
                name for name in SIMILAR[found.activation.kind]
                if native(source, FORMS[name].op_type, target) and opset_of(model) >= FORMS[name].opset
            ]  # fmt: skip
            reason = why_not(source, found, names)
            if reason:
                yield Skip(self.name, label(found.nodes[-1]), reason)
                continue
            for name in names:
                yield self._value(source, found, name)

    def _value(self, source: ir.Value, found: Match, name: str) -> Value:
        place = place_of(found.nodes[-1])
        nodes = [node for node in (source.producer(), *found.nodes) if node is not None]
        return Value(
            choice=f"activation:{place}",
            kind=Kind.FORM,
            name=name,
            pass_name=self.name,
            risk=Risk.EXACT if exact(found.activation, name) else Risk.LOSSY,
            stage=self.stage,
            places=tuple(sorted(place_of(node) for node in nodes if has_place(node))),
            rewrite=partial(swap, place=place, name=name),
            parameters={"from": found.activation.kind},
        )


def sources(model: ir.Model) -> Iterator[ir.Value]:
    """Every value that a node computes, in graph order."""
    for node in model.graph:
        yield from node.outputs


def opset_of(model: ir.Model) -> int:
    """The opset of the standard domain."""
    return int(model.graph.opset_imports.get("", 1))


def native(source: ir.Value, op: str, target: Target) -> bool:
    """Whether the target takes an operator of that word into the group of what computes the value."""
    producer = source.producer()
    if producer is None:
        return False
    anchor = target_op(producer)
    followers = next((fusion.followers for fusion in target.fusions if anchor in fusion.anchors), ())
    return any(op in accepted for accepted in followers)


def why_not(source: ir.Value, found: Match, names: list[str]) -> str:
    """The reason why an activation stays although it costs something; empty where it may go."""
    if found.output.is_graph_output():
        return f"its result '{found.output.name}' is an output of the model"
    if not names:
        return f"the target runs nothing that resembles {found.activation.kind} inside the operator before it"
    if exact(found.activation, names[0]) or fitted(source) is not None or readers(found.output):
        return ""
    return "no convolution with constant weights stands before or behind it: nothing could be fitted"


def exact(activation: Activation, name: str) -> bool:
    """Whether the new activation is the same function."""
    return activation.kind == "prelu" and name == "leaky_relu" and len(set(activation.slopes)) == 1


def fitted(source: ir.Value) -> ir.Node | None:
    """The convolution or Gemm that computes the value and whose weights can be fitted."""
    producer = source.producer()
    return producer if producer is not None and as_linear(producer) is not None else None


def readers(value: ir.Value) -> list[ir.Node]:
    """The convolutions and Gemms that read the value as their input and whose weights can be fitted."""
    found = {use.node.outputs[0].name: use.node for use in value.uses() if use.idx == 0}
    return [node for _, node in sorted(found.items()) if as_linear(node) is not None]


def swap(model: ir.Model, place: str, name: str) -> None:
    """Puts the other activation in the place of the one whose last node stands there."""
    source, found = _match_at(model, place)
    keeps = exact(found.activation, name)
    before, behind = fitted(source), readers(found.output)
    below = name in ABOVE_ZERO
    _replace(model, source, found, name)
    if keeps:
        return
    if before is not None:
        mark_origin(before, Origin(str((found.output if below else source).name)))
        request_fit(before)
    for node in behind:
        if fit_of(node) is None:
            mark_origin(node, Origin(str(node.outputs[0].name)))
            request_fit(node)


def _match_at(model: ir.Model, place: str) -> tuple[ir.Value, Match]:
    last = node_at(model, place)
    for source in sources(model):
        found = following_activation(source)
        if found is not None and found.nodes[-1] is last:
            return source, found
    raise RewriteFailed(f"no activation ends at {place}")


def _replace(model: ir.Model, source: ir.Value, found: Match, name: str) -> None:
    """One node for the match's nodes; the result keeps its name, and its place at the end of a piece."""
    graph, last, old = model.graph, found.nodes[-1], found.output
    inputs, attributes = _PARAMETERS[name](model, found.activation)
    new = insert_node(last, FORMS[name].op_type, [source, *inputs], attributes, fresh_name(graph, "swapped"))
    result = new.outputs[0]
    result.shape, result.type = old.shape, old.type
    inherit_place(new, last)
    new.name = last.name
    wanted = old.name
    if old.is_graph_output():  # of a cut-out piece alone: `why_not` leaves a model's own outputs be
        hand_on_boundary(old, result)
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    remove_nodes(graph, found.nodes)
    result.name = wanted


_Parameters = tuple[list[ir.Value], dict[str, AttributeValue]]


def _none(model: ir.Model, activation: Activation) -> _Parameters:
    del model, activation
    return [], {}


def _six(model: ir.Model, activation: Activation) -> _Parameters:
    del activation
    if opset_of(model) < CLIP_INPUTS:
        return [], {"min": 0.0, "max": 6.0}
    bounds = [add_constant(model.graph, np.asarray(b, np.float32), f"clip.{b:.0f}") for b in (0.0, 6.0)]
    return bounds, {}


def _slope(model: ir.Model, activation: Activation) -> _Parameters:
    del model
    return [], {"alpha": float(np.mean(activation.slopes))}


def _sixth(model: ir.Model, activation: Activation) -> _Parameters:
    """The line through HardSwish's gate: slope and offset of the sigmoid's nearest clamp there."""
    del model, activation
    return [], {"alpha": 1 / 6, "beta": 0.5}


_PARAMETERS: Mapping[str, Callable[[ir.Model, Activation], _Parameters]] = {
    "relu": _none,
    "relu6": _six,
    "leaky_relu": _slope,
    "hardswish": _none,
    "sigmoid": _none,
    "hardsigmoid": _sixth,
}


PASSES: tuple[Pass, ...] = (SwapActivation(),)
