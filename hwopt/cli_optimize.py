"""`hwopt optimize`: the main job."""

from __future__ import annotations

import sys

from hwopt import cli_show
from hwopt.cli_common import command_line, names_of, print_json, running, shapes_of
from hwopt.cli_options import (
    AllowUnpriced,
    AsJson,
    Augment,
    Calib,
    CostModelFile,
    Disable,
    DryRun,
    DumpDir,
    DumpEach,
    Evaluations,
    Force,
    HintsFile,
    InterfaceChange,
    InTheLoop,
    KeepGoing,
    Labels,
    MaxDivergence,
    MaxDrop,
    MaxFootprint,
    MaxLatency,
    MaxMemory,
    MaxSize,
    MetricName,
    Minimize,
    Model,
    Objective,
    OnlyChoice,
    Output,
    Passes,
    PlanFile,
    Preprocess,
    QuantizeTo,
    Quiet,
    RankBy,
    Ranking,
    Refine,
    Retrain,
    RewriteLimit,
    Search,
    Seed,
    Shapes,
    Store,
    TargetName,
    TimeLimit,
    Tune,
    WritePlan,
)
from hwopt.errors import BadInput
from hwopt.limits import DEFAULT_REFINE


def optimize(
    model: Model,
    target: TargetName,
    output: Output = None,
    calib: Calib = None,
    labels: Labels = None,
    preprocess: Preprocess = None,
    input_shape: Shapes = None,
    max_drop: MaxDrop = None,
    max_divergence: MaxDivergence = None,
    max_latency: MaxLatency = None,
    max_memory: MaxMemory = None,
    max_size: MaxSize = None,
    max_footprint: MaxFootprint = None,
    minimize: Objective = Minimize.LATENCY,
    passes: Passes = None,
    disable: Disable = None,
    plan: PlanFile = None,
    seed: Seed = 0,
    allow_unpriced: AllowUnpriced = False,
    refine: Refine = DEFAULT_REFINE,
    cost_model: CostModelFile = None,
    quantize: QuantizeTo = None,
    allow_interface_change: InterfaceChange = False,
    allow_retrain: Retrain = False,
    metric: MetricName = None,
    tune: Tune = 0,
    augment: Augment = 0,
    ranking: RankBy = Ranking.OBS,
    search: Search = "milp",
    evaluations: Evaluations = None,
    store: Store = None,
    in_the_loop: InTheLoop = False,
    time_limit: TimeLimit = None,
    hints: HintsFile = None,
    write_plan: WritePlan = None,
    rewrite_limit: RewriteLimit = None,
    only_choice: OnlyChoice = None,
    keep_going: KeepGoing = False,
    dump_dir: DumpDir = None,
    dump_each: DumpEach = False,
    dry_run: DryRun = False,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rewrite MODEL for a target; writes OUT.onnx, OUT.plan.json, OUT.report.json and OUT.report.md."""
    if output is None and not dry_run:
        raise BadInput("no output file: name one with -o OUT.onnx, or try with --dry-run")
    shapes = shapes_of(input_shape)
    if metric is not None:
        sys.path.append("")  # a metric may stand in the current folder; last, so that it shadows nothing
    with running(as_json, quiet) as listeners:
        from hwopt.pipeline import optimize as run

        result = run(
            model,
            target=target,
            output=output,
            calib=calib,
            labels=labels,
            preprocess=preprocess,
            input_shapes=shapes,
            max_drop=max_drop,
            max_divergence=max_divergence,
            max_latency=max_latency,
            max_memory=max_memory,
            max_size=max_size,
            max_footprint=max_footprint,
            minimize=minimize.value,
            passes=names_of(passes),
            disable=names_of(disable),
            plan=plan,
            seed=seed,
            allow_unpriced=allow_unpriced,
            refine=refine,
            cost_model=cost_model,
            quantize=None if quantize is None else quantize.value,
            allow_interface_change=allow_interface_change,
            allow_retrain=allow_retrain,
            metric=metric,
            tune=tune,
            augment=augment,
            ranking=ranking.value,
            search=search,
            evaluations=evaluations,
            store=store,
            in_the_loop=in_the_loop,
            time_limit=time_limit,
            hints=hints,
            write_plan=write_plan,
            rewrite_limit=rewrite_limit,
            only_choice=names_of(only_choice),
            keep_going=keep_going,
            dump_dir=dump_dir,
            dump_each=dump_each,
            dry_run=dry_run,
            force=force,
            command=command_line(),
            listeners=listeners,
        )
    if as_json:
        print_json(result.report)
    else:
        cli_show.show_result(result.report, result.files)
    for left_out in result.left_out:
        print(f"hwopt: warning: {left_out.text}", file=sys.stderr)
