"""The same function written with fewer operators (EXACT, borders included).

    Conv -> BatchNormalization, Mul, Add, Sub, Div     -->  Conv            fold_after
    Mul, Add ... -> Conv (unpadded, or nothing added)  -->  Conv            fold_before
    Mul, Add -> Conv (padded)                          -->  Add -> Conv     fold_scale
    Pad (zeros) -> Conv                                -->  Conv            fold_pad
    auto_pad                                           -->  pads            explicit_padding
    Add 3, Clip 0..6, Mul, Div 6                       -->  HardSwish       native_activation
    Identity, Dropout, x * 1, Reshape to itself ...    -->  nothing         remove_noop
    operators on constants                             -->  a constant      fold_constants

ConvTranspose and Gemm absorb like Conv. The rules live in hwopt.canonical, one file each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import onnx_ir as ir

from hwopt.canonical import Fold, apply_fold, find_folds
from hwopt.choice import Kind, Pass, Risk, Skip, Stage, Value
from hwopt.nodes import is_op, label
from hwopt.places import has_place, node_at, place_of
from hwopt.target import Target

_SOUGHT = ("Conv", "ConvTranspose", "Gemm", "BatchNormalization")


def _inside(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that the node holds."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS and not attribute.is_ref():
            yield from attribute.as_graphs()


class Canonicalize(Pass):
    """One value per fold; each can be made or left alone by itself."""

    name = "canonicalize"
    stage = Stage.CANONICALISE
    risk = Risk.EXACT
    summary = "BatchNorm, scalar chains, no-ops, Pad, auto_pad, constant expressions --> folded away"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        del target
        for found in find_folds(model):
            if not isinstance(found, Fold):
                yield Skip(self.name, label(found.node), found.reason)
            elif all(has_place(node) for node in found.nodes):
                yield self._value(found)
        yield from self._unseen(model)

    def _unseen(self, model: ir.Model) -> Iterator[Skip]:
        """Nested graphs and functions with operators to rewrite: only the main graph is looked at."""
        for node in model.graph:
            function = model.functions.get(node.op_identifier())
            if function is not None and any(is_op(inner, *_SOUGHT) for inner in function.all_nodes()):
                yield Skip(
                    self.name, label(node), f"the inside of the function {node.op_type} is not rewritten"
                )
            if any(is_op(inner, *_SOUGHT) for graph in _inside(node) for inner in graph.all_nodes()):
                yield Skip(self.name, label(node), f"the graphs inside the {node.op_type} are not rewritten")

    def _value(self, fold: Fold) -> Value:
        places = tuple(place_of(node) for node in fold.nodes)
        subject = places[fold.subject]
        rewrite = partial(_rewrite, rule=fold.rule, places=places, anchors=fold.anchors, numbers=fold.numbers)
        return Value(
            choice=f"canonical:{subject}",
            kind=Kind.CANONICAL,
            name=fold.rule,
            pass_name=self.name,
            risk=Risk.EXACT,
            stage=self.stage,
            places=places,
            rewrite=rewrite,
            parameters={"nodes": len(places)},
        )


def _rewrite(
    model: ir.Model, rule: str, places: tuple[str, ...], anchors: int, numbers: tuple[int, ...]
) -> None:
    """Finds the fold's nodes in the model at hand, and makes it there."""
    nodes = tuple(node_at(model, place) for place in places)
    apply_fold(model, Fold(rule, nodes, anchors, numbers))


PASSES: tuple[Pass, ...] = (Canonicalize(),)
