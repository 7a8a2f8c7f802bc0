"""The way of a model, top to bottom: `optimize` is the chain, everything else is its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from hwopt.accuracy import Metric
from hwopt.assess import OracleAnswer, assess
from hwopt.choice import Choice, Risk, Skip, Value
from hwopt.cost.learned import Learned
from hwopt.damage_tables import DamageTables
from hwopt.decide import Decision, first_guess
from hwopt.deliver import check_written, place_for, write_model
from hwopt.errors import BudgetNotMet
from hwopt.find import canonicalise, find_choices
from hwopt.harm import Harm
from hwopt.judge import better, unchanged
from hwopt.limits import DEFAULT_REFINE, Bound
from hwopt.plan import Plan, steps_of
from hwopt.price import draft, make_scene
from hwopt.refine import refined
from hwopt.repair.reference import Reference
from hwopt.repair.saliency import annotate
from hwopt.replay import check_plan, is_lossy, planned_assignment, planned_folds
from hwopt.report.analysis import build_analysis
from hwopt.report.build import build_report
from hwopt.report.findings import Findings
from hwopt.report.schema import Report
from hwopt.report.write import check_output
from hwopt.rewrite import chosen_values
from hwopt.scope import Problem
from hwopt.search.problem import Outcome
from hwopt.settings import DEFAULT_RANKING, settings
from hwopt.settle import (
    Data,
    Settled,
    carry_out,
    first_budget,
    limits_of,
    settle,
)
from hwopt.target import Target
from hwopt.trace import Listeners, Timings, stage
from hwopt.verify import Difference, differences, require_exact, require_same_interface
from hwopt.work import CalibrationLike, ModelLike, Work, open_work

Limit = str | float | Bound | None


@dataclass(frozen=True)
class Result:
    """What `optimize` gives back. files: what was written, the ONNX file first; () where nothing was."""

    model: ir.Model
    plan: Plan
    report: Report
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Found:
    """The canonical model and everything that may be decided about it."""

    base: ir.Model
    folds: tuple[Value, ...]
    choices: tuple[Choice, ...]
    skipped: tuple[Skip, ...]


def optimize(
    model: ModelLike,
    *,
    target: str | Path | Target,
    output: str | Path | None = None,
    calib: CalibrationLike | None = None,
    labels: str | Path | None = None,
    preprocess: str | Path | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    max_drop: float | None = None,
    max_divergence: float | None = None,
    max_latency: Limit = None,
    max_memory: Limit = None,
    max_size: Limit = None,
    max_footprint: Limit = None,
    minimize: str = "latency",
    passes: Sequence[str] = (),
    disable: Sequence[str] = (),
    plan: str | Path | None = None,
    seed: int = 0,
    allow_unpriced: bool = False,
    refine: int = DEFAULT_REFINE,
    cost_model: str | Path | None = None,
    quantize: str | None = None,
    allow_interface_change: bool = False,
    allow_retrain: bool = False,
    metric: str | Metric | None = None,
    tune: int = 0,
    augment: int = 0,
    ranking: str = DEFAULT_RANKING,
    dry_run: bool = False,
    force: bool = False,
    command: str = "",
    listeners: Listeners = (),
) -> Result:
    """Rewrites a model for a target and proves the result.

    model: an ONNX file or an onnx_ir.Model, which is not edited. calib: an image folder, an .npz or .npy,
    or an iterable of arrays (`calibration_stream.calibration_of`). output: OUT.onnx; its siblings
    OUT.plan.json, OUT.report.json and OUT.report.md go beside it. Without `calib` only EXACT
    rewrites are made. Limits on latency are microseconds or texts such as "5ms" and "-30%",
    those on memory bytes or texts such as "2MB". refine: how many subgraphs of a model the oracle
    may be asked for where it has no figure for the whole; 0: it is never asked, and every figure is
    predicted. cost_model: a file to price with instead of the one that the target pins; it is
    loaded in a process of its own. quantize: "int8" writes a QDQ model. metric: a function, or
    MODULE:FUNCTION, in the place of top-1 (`hwopt.metric`). tune: gradient steps on the chosen plan.
    augment: cropped and flipped copies of every calibration image. ranking: what decides which
    channels go. The two permissions: shapes of inputs may change; a candidate for training may be
    written beside the result.

    Raises BadInput for anything that cannot be used, before anything is written, and
    BudgetNotMet, naming the closest plan, where the limits cannot be kept.
    """
    chosen = settings(
        input_shapes=input_shapes, passes=passes, disable=disable, minimize=minimize,
        max_latency=max_latency, max_memory=max_memory, max_size=max_size, max_footprint=max_footprint,
        max_drop=max_drop, max_divergence=max_divergence, seed=seed, allow_unpriced=allow_unpriced, plan=plan,
        refine=refine, cost_model=cost_model, quantize=quantize,
        allow_interface_change=allow_interface_change, allow_retrain=allow_retrain, metric=metric, tune=tune,
        augment=augment, ranking=ranking,
    )  # fmt: skip
    out = None if output is None or dry_run else Path(output)
    if out is not None:
        check_output(out, force)
    timings = Timings()
    told = (timings, *listeners)
    with stage(told, "load"):
        work = open_work(model, target, chosen, calib, labels, preprocess)
    with stage(told, "find"):
        found = find(work, told)
    with stage(told, "price"):
        problem, data = price_choices(work, found, told)
    with stage(told, "search"):
        settled = choose(work, found, problem, data, told)
    with stage(told, "verify"):
        settled, changes = verify(work, found, settled)
    result_plan = make_plan(work, found, settled)
    with place_for(out, force) as place:
        checker = write_model(work, settled, place.onnx)
        check_written(work, settled, place.onnx)
        report = build_report(
            Findings(work, found.folds, found.choices, found.skipped, problem, settled, changes, checker,
                     command, timings)
        )  # fmt: skip
        files = () if out is None else place.publish(result_plan.to_json(), report)
    return Result(settled.model, result_plan, report, files)


def analyze(
    model: ModelLike,
    *,
    target: str | Path | Target,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    measure: bool = False,
    refine: int = DEFAULT_REFINE,
    cost_model: str | Path | None = None,
    command: str = "",
    listeners: Listeners = (),
) -> Report:
    """Latency and memory of a model on a target, by subgraph; nothing is changed.

    measure: ask the target's oracle for the whole model too. refine: how many subgraphs, the most
    uncertain ones, it is asked for where it is installed; 0: every figure is predicted.
    cost_model: as in `optimize`.
    """
    timings = Timings()
    told = (timings, *listeners)
    with stage(told, "load"):
        chosen = settings(input_shapes=input_shapes, refine=refine, cost_model=cost_model)
        work = open_work(model, target, chosen)
    with stage(told, "measure"):
        work = sharpened(work)
        answer = work.measure([work.model])[0] if measure else None
    return build_analysis(work, answer, command, timings)


def sharpened(work: Work) -> Work:
    """The same run with the input's most uncertain subgraphs priced by the oracle, where it can be asked."""
    learned = work.sharpen(work.model, work.before, work.cost_model)
    if not len(learned):
        return work
    return replace(work, before=assess(work.model, work.input_shapes, work.target, learned))


def find(work: Work, listeners: Listeners = ()) -> Found:
    """Canonicalises the model and collects what may change, or, for a replay, what the plan names."""
    planned = None if work.replayed is None else planned_folds(work.replayed)
    canonical = canonicalise(work.model, work.passes, work.target, planned, listeners)
    lossy = work.calibration is not None or work.replayed is not None
    risks = frozenset({Risk.EXACT, Risk.LOSSY}) if lossy else frozenset({Risk.EXACT})
    choices, skipped = find_choices(canonical.model, work.passes, work.target, risks, listeners)
    return Found(canonical.model, canonical.folds, tuple(choices), (*canonical.skipped, *skipped))


def price_choices(work: Work, found: Found, listeners: Listeners = ()) -> tuple[Problem, Data | None]:
    """The tables: latency, memory and size of every joint value, and with data also the damage.

    Where the oracle can be asked, what it says of the plans that the tables lead to replaces
    the predictions.
    """
    scene = make_scene(found.base, work.assess(found.base).shapes, work.target)
    drafts = draft(scene, found.choices, listeners)
    learned = Learned(work.cost_model)
    data = open_data(work, found)
    if work.replayed is not None:
        return drafts.problem(learned), data
    budget = first_budget(work, limits_of(work, OracleAnswer(None)), OracleAnswer(None))
    if data is None or work.limit is None:
        return refined(work, found.base, drafts, None, budget, learned, listeners), None
    damage = DamageTables(found.choices, data.harm.of_values, listeners)
    damage.measure_singles(drafts.problem(learned), work.settings.wanted)
    budget = replace(budget, damage=first_guess(work.limit))
    return refined(work, found.base, drafts, damage, budget, learned, listeners), data


def open_data(work: Work, found: Found) -> Data | None:
    """The calibration data, seen through the canonical model; None where there is none."""
    if work.calibration is None or work.limit is None:
        return None
    reference = Reference(found.base, work.calibration)
    if work.metric is not None:
        labels, some = work.calibration.labels, list(reference.judged[0])
        work.metric(reference.outputs(some), None if labels is None else labels[some])  # to fail now
    annotate(reference, work.settings.seed)
    return Data(reference, Harm(found.base, reference, work.limit, work.settings.seed, work.metric))


def choose(
    work: Work, found: Found, problem: Problem, data: Data | None, listeners: Listeners = ()
) -> Settled:
    """Searches for the plan, or takes the replayed one, and carries it out."""
    if work.replayed is not None:
        return replay(work, found, problem, data, listeners)
    if work.settings.latency is not None and work.before.unpriced and not work.settings.allow_unpriced:
        names = ", ".join(sorted(work.before.unpriced)[:5])
        raise BudgetNotMet(f"--max-latency cannot be held: {names} have no price; see --allow-unpriced")
    return settle(work, found.base, problem, data, listeners)


def replay(
    work: Work, found: Found, problem: Problem, data: Data | None, listeners: Listeners = ()
) -> Settled:
    """Carries out a plan from a file. Raises BadInput where it was made for something else."""
    plan = work.replayed
    assert plan is not None
    assignment = planned_assignment(plan, found.folds, found.choices)
    lossy = is_lossy(assignment, found.choices)
    fingerprint = None if work.calibration is None else work.calibration.fingerprint
    check_plan(plan, work.sha256, work.target, fingerprint, lossy)
    predicted = problem.total(assignment) or problem.fixed
    damage = None
    if lossy and data is not None:
        damage = data.harm.of_plan(found.choices, assignment)
    nothing = Outcome(assignment, "replay", 0, predicted.latency_us.value, 0.0)
    decision = Decision(assignment, predicted, nothing, damage, ())
    oracle = work.ask([work.model])[0]
    return carry_out(work, found.base, problem, decision, data, oracle, limits_of(work, oracle), listeners)


def verify(work: Work, found: Found, settled: Settled) -> tuple[Settled, tuple[Difference, ...] | str]:
    """Holds the result against the input; what is not better goes back to the input, unchanged.

    Raises RewriteFailed where an EXACT step changed the function, or the interface changed.
    """
    if work.replayed is None and not better(work, settled):
        return unchanged(work, settled), ()
    require_same_interface(work.model, settled.model)
    seed = work.settings.seed
    if is_lossy(settled.decision.assignment, found.choices):
        folded = differences(work.model, found.base, work.input_shapes, seed)
        require_exact(folded, "canonicalising")
        return settled, differences(work.model, settled.model, work.input_shapes, seed)
    changes = differences(work.model, settled.model, work.input_shapes, seed)
    require_exact(changes, "the plan")
    return settled, changes


def make_plan(work: Work, found: Found, settled: Settled) -> Plan:
    """The plan that gives this result when it is replayed."""
    kept = settled.model is work.model
    folds = () if kept else found.folds
    values = [*folds, *chosen_values(found.choices, settled.decision.assignment)]
    pin = work.target.cost_model
    return Plan(
        model_sha256=work.sha256,
        target=work.target.name,
        target_config=work.target.config_hash,
        cost_model_sha256=None if pin is None else pin.sha256,
        calibration=None if work.calibration is None else work.calibration.fingerprint,
        seed=work.settings.seed,
        steps=steps_of(values),
    )


__all__ = ["Result", "analyze", "optimize"]
