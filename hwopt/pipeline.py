"""The way of a model, top to bottom: `optimize` is the chain, everything else is its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import onnx_ir as ir

from hwopt.assess import assess
from hwopt.debug.dumps import dumping
from hwopt.deliver import check_written, place_for, write_model
from hwopt.errors import BudgetNotMet
from hwopt.finish import in_precision, judged, tuned
from hwopt.limits import DEFAULT_REFINE
from hwopt.partial import save_plan, saved_when_interrupted
from hwopt.plan import Plan
from hwopt.price import tell_prices
from hwopt.report.analysis import build_analysis
from hwopt.report.build import build_report
from hwopt.report.findings import Findings
from hwopt.report.schema import Report
from hwopt.report.write import check_output, refuse_to_overwrite
from hwopt.retrain import check_candidate, with_candidate
from hwopt.search.problem import never
from hwopt.settings import Options, settings
from hwopt.steps import choose, find, make_plan, price_choices, verify
from hwopt.stopping import Stop
from hwopt.target import Target
from hwopt.trace import Listeners, Timings, stage
from hwopt.work import CalibrationLike, ModelLike, Work, open_work


@dataclass(frozen=True)
class Result:
    """What `optimize` gives back. files: what was written, the ONNX file first; () where nothing was."""

    model: ir.Model
    plan: Plan
    report: Report
    files: tuple[Path, ...]


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
    OUT.plan.json, OUT.report.json and OUT.report.md go beside it. Without `calib` only EXACT
    rewrites are made. write_plan: a file for the plan alone, written in a dry run, too: to be edited and
    replayed. dump_dir: a new folder for the model after each pass (`hwopt.debug.dumps`), or after each
    step (dump_each). stop: asked between the steps of the search; once it says True, the best plan so
    far is made, as at the end of a time limit. options: see `hwopt.settings.Options`.

    Raises BadInput for anything that cannot be used, before anything is written;
    BudgetNotMet, naming the closest plan, where the limits cannot be kept; and Interrupted on
    Ctrl-C, with the best plan so far in OUT.partial.plan.json.
    """
    chosen = settings(**options)
    ending = Stop(chosen.time_limit, stop)
    out = None if output is None or dry_run else Path(output)
    if out is not None:
        check_output(out, force)
        if chosen.allow_retrain:
            check_candidate(out, force)
    plan_file = None if write_plan is None else Path(write_plan)
    if plan_file is not None:
        refuse_to_overwrite(plan_file, force)
    timings = Timings()
    with saved_when_interrupted(out) as so_far, dumping(dump_dir, dump_each, force) as dumps:
        told: Listeners = (timings, so_far, *dumps.listeners, *listeners)
        with stage(told, "load"):
            so_far.work = work = open_work(model, target, chosen, calib, labels, preprocess, ending)
            dumps.begin(work)
        with stage(told, "find"):
            so_far.found = found = find(work, told)
        with stage(told, "price"):
            problem, data = price_choices(work, found, told)
            tell_prices(problem, told)
        with stage(told, "search"):
            try:
                settled = choose(work, found, problem, data, told)
            except BudgetNotMet as error:
                raise with_candidate(work, found, problem, data, out, error, told) from None
        with stage(told, "tune"):
            settled = tuned(work, found.choices, data, settled, told)
        with stage(told, "verify"):
            settled, changes = verify(work, found, settled, told)
        with stage(told, "judge"):
            settled = judged(work, found.choices, data, settled)
        with stage(told, "quantise"):
            settled = in_precision(work, settled, told)
        dumps.deliver(settled.delivered)
        result_plan = make_plan(work, found, settled)
        with place_for(out, force) as place:
            checker = write_model(work, settled, place.onnx)
            check_written(work, settled, place.onnx)
            report = build_report(
                Findings(work, found.folds, found.orders, found.skipped, problem, settled, changes, checker,
                         command, timings)
            )  # fmt: skip
            files = () if out is None else place.publish(result_plan.to_json(), report)
            if plan_file is not None:
                save_plan(result_plan, plan_file)
        return Result(settled.delivered, result_plan, report, files)


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


__all__ = ["Result", "analyze", "optimize"]
