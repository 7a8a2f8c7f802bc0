"""The way of a model, top to bottom: `optimize` is the chain, everything else is its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from hwopt.accuracy import Metric
from hwopt.assess import assess
from hwopt.deliver import check_written, place_for, write_model
from hwopt.errors import BudgetNotMet
from hwopt.finish import in_precision, judged, tuned
from hwopt.limits import DEFAULT_REFINE, Bound
from hwopt.plan import Plan
from hwopt.report.analysis import build_analysis
from hwopt.report.build import build_report
from hwopt.report.findings import Findings
from hwopt.report.schema import Report
from hwopt.report.write import check_output
from hwopt.retrain import check_candidate, with_candidate
from hwopt.settings import DEFAULT_RANKING, DEFAULT_SEARCH, settings
from hwopt.steps import choose, find, make_plan, price_choices, verify
from hwopt.target import Target
from hwopt.trace import Listeners, Timings, stage
from hwopt.work import CalibrationLike, ModelLike, Work, open_work

Limit = str | float | Bound | None


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
    search: str = DEFAULT_SEARCH,
    evaluations: int | None = None,
    time_limit: str | float | None = None,
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
        augment=augment, ranking=ranking, search=search, evaluations=evaluations, time_limit=time_limit,
    )  # fmt: skip
    out = None if output is None or dry_run else Path(output)
    if out is not None:
        check_output(out, force)
        if allow_retrain:
            check_candidate(out, force)
    timings = Timings()
    told = (timings, *listeners)
    with stage(told, "load"):
        work = open_work(model, target, chosen, calib, labels, preprocess)
    with stage(told, "find"):
        found = find(work, told)
    with stage(told, "price"):
        problem, data = price_choices(work, found, told)
    with stage(told, "search"):
        try:
            settled = choose(work, found, problem, data, told)
        except BudgetNotMet as error:
            raise with_candidate(work, found, problem, data, out, error, told) from None
    with stage(told, "tune"):
        settled = tuned(work, found.choices, data, settled)
    with stage(told, "verify"):
        settled, changes = verify(work, found, settled)
    with stage(told, "judge"):
        settled = judged(work, found.choices, data, settled)
    with stage(told, "quantise"):
        settled = in_precision(work, settled)
    result_plan = make_plan(work, found, settled)
    with place_for(out, force) as place:
        checker = write_model(work, settled, place.onnx)
        check_written(work, settled, place.onnx)
        report = build_report(
            Findings(work, found.folds, found.choices, found.skipped, problem, settled, changes, checker,
                     command, timings)
        )  # fmt: skip
        files = () if out is None else place.publish(result_plan.to_json(), report)
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
