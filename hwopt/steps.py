"""The steps of a run between loading and writing, in their order; `hwopt.pipeline` calls them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import onnx_ir as ir

from hwopt.choice import Choice, Risk, Skip, Value
from hwopt.cost.learned import Learned
from hwopt.damage.harm import Harm, Judging
from hwopt.damage.measure import FLOAT
from hwopt.damage.tables import DamageTables
from hwopt.decide import first_guess
from hwopt.errors import BadInput, BudgetNotMet, RewriteFailed
from hwopt.find import Canonical, canonicalise, find_choices
from hwopt.finish import require_within
from hwopt.held import first_budget, limits_of
from hwopt.hints.apply import Orders
from hwopt.hints.resolve import resolve
from hwopt.judge import better, input_within, unchanged, unproved
from hwopt.plan import Plan, steps_of
from hwopt.pricing.price import draft, make_scene
from hwopt.pricing.refine import refined
from hwopt.quantize.damage import INT8, Int8, open_int8
from hwopt.repair.reference import Reference
from hwopt.repair.saliency import annotate
from hwopt.replay import is_lossy, plan_options, planned_folds
from hwopt.replayed import planned_choices, replay, steps_priced
from hwopt.resolution import changed_sizes, with_sizes
from hwopt.rewrite import chosen_values, rewrite
from hwopt.scope import Problem
from hwopt.selection import canonical_with, only
from hwopt.settle import Data, Settled, settle
from hwopt.trace import Listeners, Progress, emit
from hwopt.verify import Difference, differences, overflow, require_exact, require_same_interface
from hwopt.work import Work

BESIDE_FOLDS = (0, 1)
PRICING_SHARE = 0.6  # of a time limit: a plan that is found must be measured, too


@dataclass(frozen=True)
class Found:
    """The canonical model and everything that may be decided about it, hints obeyed."""

    base: ir.Model
    folds: tuple[Value, ...]
    choices: tuple[Choice, ...]
    skipped: tuple[Skip, ...]
    orders: Orders


def find(work: Work, listeners: Listeners = ()) -> Found:
    """Canonicalises the model and collects what may change, or, for a replay, what the plan names."""
    canonical = _canonical(work, listeners)
    risks = frozenset({Risk.EXACT} if work.calibration is None else {Risk.EXACT, Risk.LOSSY})
    offered, skipped = find_choices(canonical.model, work.passes, work.target, frozenset(Risk), listeners)
    if work.replayed is not None:
        chosen = planned_choices(work, canonical.model, canonical.folds, offered)
        return Found(canonical.model, canonical.folds, chosen, canonical.skipped, Orders(listed=chosen))
    orders = resolve(work.settings.hints, offered, risks, work.model, work.settings.allow_retrain)
    orders = only(work.settings.only_choice, orders, offered, risks, work.model)
    choices = orders.allowed(orders.listed)
    return Found(canonical.model, canonical.folds, choices, (*canonical.skipped, *skipped), orders)


def _canonical(work: Work, listeners: Listeners) -> Canonical:
    hints, limit = work.settings.hints, work.settings.rewrite_limit
    passes = work.passes if hints is None else hints.passes(work.passes)
    if work.replayed is None:
        return canonical_with(work.settings.only_choice, work.model, passes, work.target, listeners)
    planned = planned_folds(work.replayed)
    return canonicalise(work.model, passes, work.target, planned, listeners, limit)


def price_choices(work: Work, found: Found, listeners: Listeners = ()) -> tuple[Problem, Data | None]:
    """The tables: latency, memory and size of every joint value, and with data also the damage.

    Where the oracle can be asked, what it says of the plans that the tables lead to replaces
    the predictions.
    """
    scene = make_scene(found.base, work.shapes(found.base), work.target)
    drafts = draft(scene, found.choices, listeners)
    learned = Learned(work.cost_model)
    data = open_data(work, found, listeners)
    if work.replayed is not None:
        return steps_priced(drafts.problem(learned), found.choices, data, listeners), data
    budget = first_budget(work, limits_of(work, work.ask([work.model])[0]))
    if data is None or work.limit is None:
        return refined(work, found.base, drafts, None, budget, learned, listeners, found.orders), None
    damage = DamageTables(found.choices, data.harm.of_values, listeners, data.reference.given_up.set)
    damage.measure_singles(
        drafts.problem(learned), work.settings.wanted, lambda: work.stop.used(PRICING_SHARE)
    )
    for named in found.orders.named:
        damage.measure_chosen(named)
    budget = replace(budget, damage=first_guess(work.limit))
    return refined(work, found.base, drafts, damage, budget, learned, listeners, found.orders), data


def open_data(work: Work, found: Found, listeners: Listeners = ()) -> Data | None:
    """The calibration data, seen through the canonical model; None where there is none."""
    if work.calibration is None or work.limit is None:
        return None
    reference = Reference(found.base, work.calibration)
    if work.metric is not None:
        labels, some = work.calibration.labels, list(reference.judged[0])
        work.metric(reference.outputs(some), None if labels is None else labels[some])  # to fail now
    emit(listeners, Progress("calibration", 0, 1))
    annotate(reference, work.settings.seed, work.settings.ranking)
    emit(listeners, Progress("calibration", 1, 1))
    int8 = int8_forms(work, reference)
    judging = Judging(
        metric=work.metric,
        int8=None if isinstance(int8, str) else int8,
        written=work.settings.quantize or FLOAT,
        ranking=work.settings.ranking,
    )
    harm = Harm(found.base, reference, work.limit, work.settings.seed, judging, listeners)
    return Data(reference, harm, int8 if isinstance(int8, str) else "")


def int8_forms(work: Work, reference: Reference) -> Int8 | str | None:
    """The int8 forms that are judged beside the fp32 ones; None: nobody wants them; a text: why not.

    All folds judge what will be written; two tell a target in int8 what it may expect.
    """
    if work.settings.quantize == INT8:
        return open_int8(reference, range(len(reference.calibration.folds)), work.metric)
    if work.target.precision != INT8:
        return None
    try:
        return open_int8(reference, BESIDE_FOLDS, work.metric)
    except BadInput as error:
        return str(error)


def choose(
    work: Work, found: Found, problem: Problem, data: Data | None, listeners: Listeners = ()
) -> Settled:
    """Searches for the plan, or takes the replayed one, and carries it out."""
    if work.settings.latency is not None and work.before.unpriced and not work.settings.allow_unpriced:
        names = ", ".join(sorted(work.before.unpriced)[:5])
        raise BudgetNotMet(f"--max-latency cannot be held: {names} have no price; see --allow-unpriced")
    if work.replayed is not None:
        return replay(work, found.base, found.choices, problem, data, listeners)
    if data is not None and work.settings.quantize is not None:
        require_within(work, data.harm.of_exact(found.choices, {}), "the input's own")
    try:
        return settle(work, found.base, problem, data, listeners)
    except BudgetNotMet:
        kept = input_within(work, problem)
        if kept is None:
            raise
        return kept


def verify(
    work: Work, found: Found, settled: Settled, listeners: Listeners = ()
) -> tuple[Settled, tuple[Difference, ...] | str]:
    """Holds the result against the input; what is not better goes back to the input, unchanged.

    So does what cannot be proved, since the input runs on no inputs that anybody here can make, or what it
    gives overflows. Raises
    RewriteFailed where an EXACT step changed the function, or the interface changed.
    """
    if work.replayed is None and not better(work, settled):
        settled = unchanged(work, settled, None if work.settings.quantize is None else found.base)
    if settled.model is work.model:
        return settled, ()
    sizes = changed_sizes(work.model, settled.model)
    require_same_interface(with_sizes(work.model, sizes) if sizes else work.model, settled.model, listeners)
    seed = work.settings.seed
    if is_lossy(settled.decision.assignment, found.choices):
        _require_exact_part(work, found, settled, listeners)
        if sizes:
            return settled, f"the size of {', '.join(sizes)} changed: see the accuracy"
        return settled, differences(work.model, settled.model, work.input_shapes, seed)
    changes = differences(work.model, settled.model, work.input_shapes, seed)
    doubt = changes if isinstance(changes, str) else overflow(changes)
    if doubt and work.calibration is None and not work.settings.allow_unverified:
        return unproved(work, settled, doubt), ()
    require_exact(changes, "the plan", listeners)
    return settled, changes


def _require_exact_part(work: Work, found: Found, settled: Settled, listeners: Listeners) -> None:
    """Holds what is EXACT in a LOSSY plan against the input: its folds, and then its EXACT values, too.

    Those that can only be written behind a LOSSY one are judged with it, by the data.
    """
    seed, part = work.settings.seed, found.base
    require_exact(differences(work.model, part, work.input_shapes, seed), "canonicalising", listeners)
    for value in chosen_values(found.choices, settled.decision.assignment):
        if value.risk == Risk.EXACT:
            with suppress(RewriteFailed):
                part = rewrite(part, [value])
    if part is not found.base:
        changes = differences(work.model, part, work.input_shapes, seed)
        require_exact(changes, "the plan's exact part", listeners)


def make_plan(work: Work, found: Found, settled: Settled) -> Plan:
    """The plan that gives this result when it is replayed."""
    folds = () if settled.model is work.model else found.folds
    values = chosen_values(found.choices, settled.decision.assignment)
    return plan_of(work, [*folds, *values], settled.tuned)


def plan_of(work: Work, values: Sequence[Value], tuned: int) -> Plan:
    """The plan of these values, in their order, made for this run's material.

    tuned: gradient steps that go with it.
    """
    pin = work.target.cost_model
    return Plan(
        model_sha256=work.sha256,
        target=work.target.name,
        target_config=work.target.config_hash,
        cost_model_sha256=None if pin is None else pin.sha256,
        calibration=None if work.calibration is None else work.calibration.fingerprint,
        seed=work.settings.seed,
        steps=steps_of(values),
        options=plan_options(work.settings, tuned),
    )
