"""All canonical rules in one list: find, apply, and repeat until nothing is left to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from hwopt.canonical.chains import (
    AFTER,
    BEFORE,
    SCALE,
    apply_after,
    apply_before,
    apply_scale,
    find_chain_folds,
)
from hwopt.canonical.common import Fold, Passed, View
from hwopt.canonical.expressions import EXPRESSION, apply_constant_expression, find_constant_expressions
from hwopt.canonical.native import NATIVE, apply_native, find_native_activations
from hwopt.canonical.noops import NOOP, apply_noop, find_noops
from hwopt.canonical.padding import EXPLICIT, PAD, apply_explicit, apply_pad, find_padding_folds

Apply = Callable[[ir.Model, Fold], None]

RULES: Mapping[str, Apply] = {
    NATIVE: apply_native,
    AFTER: apply_after,
    BEFORE: apply_before,
    SCALE: apply_scale,
    EXPLICIT: apply_explicit,
    PAD: apply_pad,
    NOOP: apply_noop,
    EXPRESSION: apply_constant_expression,
}

# The order decides who gets a node that two rules could take: an activation is kept whole, a
# no-op inside a chain goes with the chain, and constants are folded where nobody absorbs them.
_FINDERS = (
    find_native_activations,
    find_chain_folds,
    find_padding_folds,
    find_noops,
    find_constant_expressions,
)
_MOST_ROUNDS = 20


def find_folds(model: ir.Model) -> list[Fold | Passed]:
    """Every fold that can be made now, each independent of the others, and every place passed over.

    Only the main graph is looked at. The model is not edited.
    """
    view = View.of(model)
    for finder in _FINDERS:
        finder(view)
    return view.found


def apply_fold(model: ir.Model, fold: Fold) -> None:
    """Makes one fold in the model, in place; its nodes are those of this very model.

    Raises RewriteFailed where it does not fit the model (any more), KeyError for an unknown rule.
    """
    RULES[fold.rule](model, fold)


def canonicalise(model: ir.Model) -> list[str]:
    """Makes every fold, in place, again and again until there is none; returns the rules applied."""
    applied: list[str] = []
    for _ in range(_MOST_ROUNDS):
        folds = [found for found in find_folds(model) if isinstance(found, Fold)]
        for fold in folds:
            apply_fold(model, fold)
            applied.append(fold.rule)
        if not folds:
            break
    return applied
