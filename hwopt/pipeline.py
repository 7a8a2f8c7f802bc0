"""The way of a model, top to bottom: `optimize` is the chain, everything else is its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Unpack

import onnx_ir as ir

from hwopt.assess import assess
from hwopt.debug.dumps.listener import Dumps, dumping
from hwopt.debug.faults.incident import Asked
from hwopt.debug.faults.keep_going import LeftOut, going_on, noted
from hwopt.debug.faults.reproducer import reproduced
from hwopt.deliver import check_written, disk_may_refuse, place_for, spare_input, write_model
from hwopt.errors import BadInput, BudgetNotMet, PassFailed, RewriteFailed
from hwopt.files.scratch import disk_may_be_full
from hwopt.finish import in_precision, judged, tuned
from hwopt.limits import DEFAULT_REFINE
from hwopt.partial import SoFar, save_plan, saved_when_interrupted
from hwopt.plan import Plan
from hwopt.potential import potential
from hwopt.pricing.price import tell_prices
from hwopt.report.analysis import Analysed, build_analysis
from hwopt.report.build import build_report
from hwopt.report.findings import Findings
from hwopt.report.passes import PassSums
from hwopt.report.schema import Report
from hwopt.report.write import Stage, refuse_to_overwrite
from hwopt.retrain import check_candidate, with_candidate
from hwopt.scope import Problem
from hwopt.search.problem import never
from hwopt.settings import Options, settings
from hwopt.settle import Settled
from hwopt.shortened import replaying, shortened, unmade
from hwopt.steps import Found, choose, find, make_plan, plan_of, price_choices, verify
from hwopt.stopping import Stop
from hwopt.target import Target
from hwopt.trace import Listeners, Timings, stage
from hwopt.verify import Difference
from hwopt.work import CalibrationLike, ModelLike, Work, open_work


@dataclass(frozen=True)
class Result:
    """What `optimize` gives back.

    files: what was written, the ONNX file first; () where nothing was. left_out: rewrites that broke the
    run, and that it went on without (`--keep-going`).
    """

    model: ir.Model
    plan: Plan
    report: Report
    files: tuple[Path, ...]
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class _Run:
    """What a run writes where, and who is told of it. out, plan_file: None where it is not wanted."""

    out: Path | None
    place: Stage
    plan_file: Path | None
    command: str
    timings: Timings
    passes: PassSums
    so_far: SoFar
    dumps: Dumps
    told: Listeners


@dataclass(frozen=True)
class _Proved:
    """What a run came to before anything is written."""

    found: Found
    problem: Problem
    settled: Settled
    changes: tuple[Difference, ...] | str


def optimize(
    model: ModelLike,
    *,
    target: str | Path | Target,
    output: str | Path | None = None,
    calib: CalibrationLike | None = None,
    labels: str | Path | None = None,
    preprocess: str | Path | None = None,
    write_plan: str | Path | None = None,
    dump_dir: str | Path | None = None,
    dump_each: bool = False,
    dry_run: bool = False,
    force: bool = False,
    command: str = "",
    listeners: Listeners = (),
    stop: Callable[[], bool] = never,
    **options: Unpack[Options],
) -> Result:
    """Rewrites a model for a target and proves the result.

    model: an ONNX file or an onnx_ir.Model, which is not edited. calib: an image folder, an .npz or .npy,
    or an iterable of arrays (`calibration_stream.calibration_of`). output: OUT.onnx; its siblings
    OUT.plan.json and OUT.report.json, .md and .html go beside it. Without `calib` only EXACT
    rewrites are made. write_plan: a file for the plan alone, written in a dry run, too: to be edited and
    replayed. dump_dir: a new folder for the model after each pass (`hwopt.debug.dumps`), or after each
    step (dump_each). stop: asked between the steps of the search; once it says True, the best plan so
    far is made, as at the end of a time limit. options: see `hwopt.settings.Options`.

    Raises BadInput for anything that cannot be used, before anything is written;
    BudgetNotMet, naming the closest plan, where the limits cannot be kept; and Interrupted on
    Ctrl-C, with the best plan so far in OUT.partial.plan.json. Where hwopt or a pass is at fault:
    PassFailed, RewriteFailed or InternalError, whose `folder` has what is needed to see it again.
    """
    chosen = settings(**options)
    ending = Stop(chosen.time_limit, stop)
    out = None if output is None or dry_run else Path(output)
    if out is not None and chosen.allow_retrain:
        check_candidate(out, force)
    plan_file = None if write_plan is None else Path(write_plan)
    if plan_file is not None:
        refuse_to_overwrite(plan_file, force)
        if not plan_file.absolute().parent.is_dir():
            raise BadInput(f"--write-plan {plan_file}: there is no folder {plan_file.parent}: make it first")
    dumped = None if dump_dir is None else Path(dump_dir)
    asked = Asked(command, model, target, calib, labels, preprocess, dumped, options)
    timings, passes = Timings(), PassSums()
    with (
        place_for(out, force) as place,
        saved_when_interrupted(out) as so_far,
        reproduced(asked, so_far),
        disk_may_be_full(),
        dumping(dump_dir, dump_each, force) as dumps,
    ):
        told: Listeners = (timings, passes, so_far, *dumps.listeners, *listeners)
        with stage(told, "load"):
            work = open_work(model, target, chosen, calib, labels, preprocess, ending)
            if out is not None:
                spare_input(work, out)
        run = _Run(out, place, plan_file, command, timings, passes, so_far, dumps, told)
        return going_on(work, asked, so_far, told, partial(_delivered, run))


def _delivered(run: _Run, work: Work, left: Sequence[LeftOut]) -> Result:
    """The result, proved and written. left: rewrites that the run goes on without."""
    work, notes = _asked_for(run, work)
    run.dumps.begin(work)
    proved = _proved(run, work)
    found, settled = proved.found, noted(proved.settled.noted(*notes), left)
    run.dumps.deliver(settled.delivered)
    skipped = (*found.skipped, *(one.skip() for one in left))
    plan = make_plan(work, found, settled)
    with stage(run.told, "write"), disk_may_refuse(run.place):
        checker = write_model(work, settled, run.place.onnx)
        check_written(work, settled, run.place.onnx)
        report = build_report(
            Findings(work, found.folds, found.orders, skipped, proved.problem, settled, proved.changes,
                     checker, run.command, run.timings, run.passes)
        )  # fmt: skip
        files = () if run.out is None else run.place.publish(plan.to_json(), report)
        if run.plan_file is not None:
            save_plan(plan, run.plan_file)
    return Result(settled.delivered, plan, report, files, tuple(left))


def _proved(run: _Run, work: Work) -> _Proved:
    """The plan and its model, proved."""
    told, so_far = run.told, run.so_far
    with stage(told, "find"):
        so_far.found = found = find(work, told)
    with stage(told, "price"):
        problem, data = price_choices(work, found, told)
        tell_prices(problem, told)
    with stage(told, "search"):
        try:
            settled = choose(work, found, problem, data, told)
        except BudgetNotMet as error:
            raise with_candidate(work, found, problem, data, run.out, error, told) from None
    with stage(told, "tune"):
        settled = tuned(work, found.choices, data, settled, told)
    with stage(told, "verify"):
        settled, changes = verify(work, found, settled, told)
    with stage(told, "judge"):
        settled = judged(work, found.choices, data, settled)
    with stage(told, "quantise"):
        settled = in_precision(work, settled, told)
    return _Proved(found, problem, settled, changes)


def _asked_for(run: _Run, work: Work) -> tuple[Work, Sequence[str]]:
    """The run, or the replay of those steps alone that were asked for, and what to say of that."""
    limit = work.settings.rewrite_limit
    if limit is not None and work.replayed is None:
        work = replaying(work, _whole_plan(run, work, limit))
    shorter, notes = shortened(work)
    if shorter is not run.so_far.work:
        run.so_far.begin(shorter)
    return shorter, notes


def _whole_plan(run: _Run, work: Work, limit: int) -> Plan:
    """The plan whose first `limit` steps are wanted; what breaks behind them does not matter."""
    so_far = run.so_far
    others = unmade([listener for listener in run.told if listener is not so_far])
    try:
        whole = _proved(replace(run, told=(so_far, *others)), work)
    except (PassFailed, RewriteFailed):
        if len(so_far.steps) < limit:
            raise
        return replace(plan_of(work, [], work.settings.tune), steps=tuple(so_far.steps))
    return make_plan(work, whole.found, whole.settled)


def analyze(
    model: ModelLike,
    *,
    target: str | Path | Target,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    measure: bool = False,
    gains: bool = False,
    refine: int = DEFAULT_REFINE,
    cost_model: str | Path | None = None,
    command: str = "",
    listeners: Listeners = (),
) -> Report:
    """Latency and memory of a model on a target, by subgraph; nothing is changed.

    measure: ask the target's oracle for the whole model too. gains: say what rewriting could gain at the
    most (`hwopt.potential`), which takes some seconds more. refine: how many subgraphs, the most
    uncertain ones, it is asked for where it is installed; 0: every figure is predicted.
    cost_model: as in `optimize`.
    """
    chosen = settings(input_shapes=input_shapes, refine=refine, cost_model=cost_model)
    timings, passes, so_far = Timings(), PassSums(), SoFar()
    told: Listeners = (timings, passes, so_far, *listeners)
    with reproduced(Asked(command, model, target), so_far):
        with stage(told, "load"):
            so_far.work = work = open_work(model, target, chosen)
        found = potential(work, told) if gains else None
        with stage(told, "measure"):
            work = sharpened(work)
            answer = work.measure([work.model])[0] if measure else None
        return build_analysis(Analysed(work, answer, found), command, timings, passes)


def sharpened(work: Work) -> Work:
    """The same run with the input's most uncertain subgraphs priced by the oracle, where it can be asked."""
    learned = work.sharpen(work.model, work.before, work.cost_model)
    if not len(learned):
        return work
    streamed = work.cost_model.header.streamed
    return replace(work, before=assess(work.model, work.input_shapes, work.target, learned, streamed))


__all__ = ["Result", "analyze", "optimize"]
