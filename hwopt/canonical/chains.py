"""Chains of per-channel affine operators, absorbed by the linear operator before or after them.

Conv -> Mul -> Add                --> Conv          (fold_after; BatchNormalization alike)
Mul -> Add -> Conv, unpadded      --> Conv          (fold_before)
Mul -> Conv, padded               --> Conv          (fold_before: a scaled zero is zero)
Mul -> Add -> Conv, padded        --> Add -> Conv   (fold_scale: the shift would miss the border)
Mul -> Mul -> BatchNormalization  --> Mul -> Add    is left alone: nothing absorbs it
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from hwopt.canonical.affine import SAME, Affine, affine_input, read_affine
from hwopt.canonical.anchors import Anchor, Folded, read_anchor, unpadded
from hwopt.canonical.common import Fold, View, bypass, required, sole_reader, take_over, why_not_alone
from hwopt.edit import add_constant, fresh_name, insert_node
from hwopt.nodes import is_op
from hwopt.places import inherit_place

AFTER, BEFORE, SCALE = "fold_after", "fold_before", "fold_scale"


def find_chain_folds(view: View) -> None:
    """Adds a fold or a reason for every maximal chain of affine operators of the main graph."""
    for node in view.model.graph:
        if node not in view.taken and not _continues(node, view):
            chain = _chain_from(node, view)
            if chain:
                _place_chain(chain, view)


def _is_link(node: ir.Node | None, view: View) -> bool:
    if node is None or node in view.taken or node in view.kept:
        return False
    return affine_input(node) is not None


def _continues(node: ir.Node, view: View) -> bool:
    """Whether the node belongs to a chain that began before it."""
    x = affine_input(node)
    producer = None if x is None else x.producer()
    if x is None or producer is None or producer.outputs[0] is not x:
        return False
    return sole_reader(x) is node and _is_link(producer, view)


def _chain_from(node: ir.Node, view: View) -> list[ir.Node]:
    chain = [node] if _is_link(node, view) else []
    while chain:
        reader = sole_reader(chain[-1].outputs[0])
        if reader is None or not _is_link(reader, view) or affine_input(reader) is not chain[-1].outputs[0]:
            break
        chain.append(reader)
    return chain


def _place_chain(chain: list[ir.Node], view: View) -> None:
    """Gives the chain's head to what stands before it, and its tail, or all of it, to what stands after."""
    if all(is_op(node, "Identity", "Dropout") for node in chain):
        return  # no-ops by themselves
    head = _try_after(chain, view)
    rest = chain if isinstance(head, str) else chain[head:]
    tail = _try_before(rest, view) if rest else 0
    left = rest if isinstance(tail, str) else rest[: len(rest) - tail]
    reasons = [reason for reason in (head, tail) if isinstance(reason, str) and reason]
    if left and (reasons or _wants_a_home(left, view)):
        view.skip("fold", left[0], "; ".join(reasons) or "no linear operator beside it can take it")


def _wants_a_home(chain: list[ir.Node], view: View) -> bool:
    """Whether somebody will ask why it is still there: a lone Add or Mul, or one on integers, is ordinary."""
    dtype = view.dtype(chain[0].outputs[0])
    floating = dtype is None or dtype.is_floating_point()
    return floating and (len(chain) > 1 or is_op(chain[0], "BatchNormalization"))


def _try_after(chain: list[ir.Node], view: View) -> int | str:
    """Records a fold of as many nodes as the operator before the chain can take: how many, or why not.

    The reason is empty where no linear operator stands there.
    """
    x = affine_input(chain[0])
    assert x is not None
    anchor = read_anchor(x.producer(), view.opset)
    if not isinstance(anchor, Anchor):
        return anchor or ""
    reason = why_not_alone(x)
    for length in range(len(chain), 0, -1) if not reason else ():
        weights = _after(anchor, chain[:length], view.opset)
        if not isinstance(weights, str):
            view.fold(AFTER, chain[:length], [anchor.node])
            return length
        reason = weights
    return reason


def _try_before(chain: list[ir.Node], view: View) -> int | str:
    """Records a fold of as many nodes as the operators after the chain can take: how many, or why not."""
    anchors = _anchors_after(chain[-1].outputs[0], view.opset)
    if isinstance(anchors, str):
        return anchors
    reason = ""
    for start in range(len(chain)):
        reason = _rule_before(anchors, chain[start:], view.opset)
        if reason in (BEFORE, SCALE):
            view.fold(reason, chain[start:], [anchor.node for anchor in anchors])
            return len(chain) - start
    return reason


def _anchors_after(value: ir.Value, opset: int) -> list[Anchor] | str:
    """The linear operators that read the value, if nothing else does; else a reason, empty if none does."""
    uses = list(value.uses())
    anchors = [read_anchor(use.node, opset) if use.idx == 0 else None for use in uses]
    linear = [anchor for anchor in anchors if isinstance(anchor, Anchor)]
    if not linear:
        return next((anchor for anchor in anchors if isinstance(anchor, str)), "")
    if len(linear) < len(uses) or value.is_graph_output():
        return f"'{value.name}' is not only read by linear operators with constant weights"
    if any(anchor.node.graph is not value.graph for anchor in linear):
        return f"'{value.name}' is read inside a nested graph"
    return linear


def _rule_before(anchors: Sequence[Anchor], chain: Sequence[ir.Node], opset: int) -> str:
    """The rule by which the chain can go into the operators after it, or the reason why it cannot."""
    shifted, scalable = False, len(chain) > 1
    for anchor in anchors:
        affine = _compose(chain, anchor.rank, anchor.in_channels, opset)
        if isinstance(affine, str):
            return affine
        if is_op(anchor.node, "Gemm") and not unpadded(anchor.node):
            return "the Gemm reads its input transposed"
        if not anchor.fits(anchor.preceded_by(affine)):
            return "the folded weights are not finite"
        shifted = shifted or (bool(affine.shift.any()) and not unpadded(anchor.node))
        scalable = scalable and bool(np.all(affine.scale != 0))
    if not shifted:
        return BEFORE
    return SCALE if scalable else "a padded operator after it would miss at its border what is added"


def _after(anchor: Anchor, chain: Sequence[ir.Node], opset: int) -> Folded | str:
    """The anchor's new weight and bias, or the reason why the chain cannot be absorbed."""
    affine = _compose(chain, anchor.rank, anchor.out_channels, opset)
    if isinstance(affine, str):
        return affine
    weights = anchor.followed_by(affine)
    return weights if anchor.fits(weights) else "the folded weights are not finite"


def _compose(chain: Sequence[ir.Node], rank: int, channels: int, opset: int) -> Affine | str:
    """The whole chain as one affine operator on so many channels, or a reason."""
    total = SAME
    for node in chain:
        affine = read_affine(node, rank, opset)
        if isinstance(affine, str):
            return affine
        if affine.channels not in (1, channels):
            return f"it has {affine.channels} channels where {channels} were expected"
        total = total.then(affine)
    return total


# --- applying ----------------------------------------------------------------------------


def apply_after(model: ir.Model, fold: Fold) -> None:
    """nodes: the linear operator, then the chain that it absorbs."""
    node, chain = fold.nodes[0], fold.nodes[1:]
    opset = model.opset_imports.get("", 1)
    anchor = required(read_anchor(node, opset), AFTER, node)
    _require_joined(node.outputs[0], chain, AFTER)
    weights = required(why_not_alone(node.outputs[0]) or _after(anchor, chain, opset), AFTER, node)
    take_over(model.graph, chain, chain[-1].outputs[0], node.outputs[0])
    anchor.store(weights)


def apply_before(model: ir.Model, fold: Fold) -> None:
    """nodes: the linear operators, then the chain before them."""
    anchors, chain, x = _before(model, fold)
    weights = [anchor.preceded_by(_affine(anchor, chain, model)) for anchor in anchors]
    bypass(model.graph, chain, chain[-1].outputs[0], x)
    for anchor, folded in zip(anchors, weights, strict=True):
        anchor.store(folded)


def apply_scale(model: ir.Model, fold: Fold) -> None:
    """nodes: the linear operators, then the chain before them; an Add of shift / scale remains of it."""
    anchors, chain, x = _before(model, fold)
    affine = _affine(anchors[0], chain, model)
    scale = Affine(affine.scale, np.zeros(()))
    add = _insert_shift(model.graph, chain, x, anchors[0], affine)
    bypass(model.graph, chain, chain[-1].outputs[0], add.outputs[0])
    for anchor in anchors:
        anchor.store(anchor.preceded_by(scale))


def _insert_shift(
    graph: ir.Graph, chain: Sequence[ir.Node], x: ir.Value, anchor: Anchor, affine: Affine
) -> ir.Node:
    """x + shift / scale, where the chain ends."""
    shift = (affine.shift / affine.scale).astype(anchor.dtype)
    if shift.size > 1:
        shift = shift.reshape(-1, *[1] * (anchor.rank - 2))
    name = fresh_name(graph, f"{chain[-1].outputs[0].name}.shifted")
    constant = add_constant(graph, shift, f"{name}.by")
    add = insert_node(chain[-1], "Add", [x, constant], {}, name)
    inherit_place(add, chain[-1])
    return add


def _affine(anchor: Anchor, chain: Sequence[ir.Node], model: ir.Model) -> Affine:
    affine = _compose(chain, anchor.rank, anchor.in_channels, model.opset_imports.get("", 1))
    return required(affine, BEFORE, chain[0])


def _before(model: ir.Model, fold: Fold) -> tuple[list[Anchor], tuple[ir.Node, ...], ir.Value]:
    """The operators, the chain and its input; raises where the fold is not exact (any more)."""
    chain = fold.nodes[fold.anchors :]
    opset = model.opset_imports.get("", 1)
    x = required(affine_input(chain[0]), fold.rule, chain[0])
    _require_joined(x, chain, fold.rule)
    anchors = required(_anchors_after(chain[-1].outputs[0], opset), fold.rule, chain[0])
    allowed = _rule_before(anchors, chain, opset)
    if allowed != fold.rule and not (fold.rule == SCALE and allowed == BEFORE):
        required(allowed, fold.rule, chain[0])
    return anchors, chain, x


def _require_joined(x: ir.Value, chain: Sequence[ir.Node], rule: str) -> None:
    """Raises unless each node of the chain still reads the one before it, and nobody else does."""
    value = x
    for index, node in enumerate(chain):
        alone = index == 0 or sole_reader(value) is node
        required(node if affine_input(node) is value and alone else None, rule, node)
        value = node.outputs[0]
