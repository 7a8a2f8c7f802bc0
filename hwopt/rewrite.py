"""Writes a plan's values into a model: structure only, one step after the other.

Two ways. `rewrite` tries values, as the search and the measuring of damage do thousands of times, and says
nothing. `carry_out_steps` makes the plan that is delivered: every step has a number, is told to the
listeners, and leaves on the nodes where they come from (`hwopt.provenance`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import groupby
from time import perf_counter

import onnx_ir as ir

from hwopt.choice import KEEP, Choice, Kind, Value, in_order
from hwopt.errors import HwoptError, PassFailed, RewriteFailed
from hwopt.ledger import Ledger, ledger_of
from hwopt.scope import Assignment
from hwopt.trace import REWRITING, CheckFailed, Listeners, RewriteApplied, emit, timed_pass
from hwopt.widths import groups_standing

_MANY = 8  # values from which on it pays to know the graph, which costs a look at every node
_STEPS = "hwopt.steps"  # in graph.meta, which survives clones: how many steps were made


def chosen_values(choices: Sequence[Choice], assignment: Assignment) -> list[Value]:
    """The values of an assignment in the order in which they compose; what keeps is left out.

    Raises KeyError for a choice that is none of these, and for a value that its choice does not have.
    """
    if unknown := assignment.keys() - {choice.id for choice in choices}:
        raise KeyError(f"no choice {min(unknown)}")
    picked = [choice.value(assignment.get(choice.id, KEEP)) for choice in choices]
    return in_order(value for value in picked if value is not None)


def rewrite(base: ir.Model, values: Iterable[Value]) -> ir.Model:
    """A clone of the model with the values written into it.

    Weights of LOSSY values are initial ones; their nodes carry marks for repair. Raises RewriteFailed
    where a value cannot be written there, PassFailed where its pass breaks down.
    """
    changed, wanted = base.clone(), list(values)
    with ledger_of(changed) if len(wanted) >= _MANY else nullcontext() as ledger:
        for number, value in _knowing_groups(changed, enumerate(wanted)):
            before = partial(rewrite, base, tuple(wanted[:number]))
            with nullcontext() if ledger is None else ledger.step(value):
                apply_value(changed, value, before)
    return changed


def _knowing_groups(model: ir.Model, steps: Iterable[tuple[int, Value]]) -> Iterator[tuple[int, Value]]:
    """The steps; where several widths follow each other, which change nothing but the widths of channel
    groups, the model's groups are looked for once while they are made.
    """
    for (_, kind), run in groupby(steps, key=lambda step: (step[1].pass_name, step[1].kind)):
        made = list(run)
        with groups_standing(model) if len(made) > 1 and kind == Kind.WIDTH else nullcontext():
            yield from made


def carry_out_steps(base: ir.Model, values: Iterable[Value], listeners: Listeners = ()) -> ir.Model:
    """As `rewrite`, step by step, numbered on from the steps that made `base`."""
    return carry_out_numbered(base, enumerate(values, start=steps_made(base) + 1), listeners)


def carry_out_numbered(
    base: ir.Model, steps: Iterable[tuple[int, Value]], listeners: Listeners = ()
) -> ir.Model:
    """As `carry_out_steps`, for some of a plan's steps, each with its number in the whole plan."""
    changed, made = base.clone(), list[Value]()
    with ledger_of(changed) as ledger:
        for name, group in groupby(steps, key=lambda step: step[1].pass_name):
            with timed_pass(listeners, name, changed, REWRITING):
                for step in _knowing_groups(changed, group):
                    apply_step(changed, step, partial(rewrite, base, tuple(made)), ledger, listeners)
                    made.append(step[1])
    return changed


def apply_step(
    model: ir.Model,
    step: tuple[int, Value],
    before: Callable[[], ir.Model],
    ledger: Ledger,
    listeners: Listeners = (),
) -> None:
    """Makes a step of a plan, with its number, in the model that the ledger is kept of, in place.

    before: the model as it is now, made anew.
    """
    (number, value), start, nodes = step, perf_counter(), len(model.graph)
    with ledger.step(value, f"{number} {value.pass_name} {value.choice} = {value.name}") as made:
        try:
            apply_value(model, value, before)
        except RewriteFailed as error:
            emit(
                listeners, CheckFailed("rewrite", f"step {number} {value.choice} = {value.name}", str(error))
            )
            raise
    model.graph.meta[_STEPS] = number
    told = RewriteApplied(
        number, value.pass_name, value.choice, value.name, nodes, len(model.graph), model,
        made[0].gone, made[0].new, perf_counter() - start,
    )  # fmt: skip
    emit(listeners, told)


def steps_made(model: ir.Model) -> int:
    """The number of the last step of a plan that was made in this model, folds included; 0 for none."""
    return int(model.graph.meta.get(_STEPS, 0))


def apply_value(model: ir.Model, value: Value, before: Callable[[], ir.Model]) -> None:
    """Writes one value into the model, in place.

    Raises RewriteFailed where it does not fit this model, PassFailed, with the model before it, for anything
    else that its pass raises.
    """
    try:
        value.rewrite(model)
    except RewriteFailed as error:
        error.pass_name, error.choice, error.value = value.pass_name, value.choice, value.name
        raise
    except HwoptError:
        raise
    except Exception as error:
        raise PassFailed(value.pass_name, error, before(), value.choice, value.name) from error
