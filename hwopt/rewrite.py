"""Writes a plan's values into a model: structure only, one step after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from hwopt.choice import KEEP, Choice, Value
from hwopt.regions import in_order
from hwopt.trace import Listeners, RewriteApplied, emit


def chosen_values(choices: Sequence[Choice], assignment: Mapping[str, str]) -> list[Value]:
    """The values of an assignment in the order in which they compose; what keeps is left out."""
    picked = [choice.value(assignment.get(choice.id, KEEP)) for choice in choices]
    return in_order(value for value in picked if value is not None)


def rewrite(base: ir.Model, values: Iterable[Value], listeners: Listeners = ()) -> ir.Model:
    """A clone of the canonical model with the values written into it.

    Weights of LOSSY values are initial ones; their nodes carry marks for repair.
    """
    changed = base.clone()
    for step, value in enumerate(values, start=1):
        before = changed.graph.num_nodes()
        value.rewrite(changed)
        after = changed.graph.num_nodes()
        emit(listeners, RewriteApplied(step, value.pass_name, value.choice, value.name, before, after))
    return changed
