"""`hwopt optimize`: the main job."""

from __future__ import annotations

import sys

from hwopt.cli import show as cli_show
from hwopt.cli.common import command_line, print_json, running
from hwopt.cli.config import ConfigFile
from hwopt.cli.flat import flat
from hwopt.cli.options import (
    AsJson,
    DryRun,
    DumpDir,
    DumpEach,
    Force,
    Model,
    Output,
    Quiet,
    Shapes,
    TargetName,
    WritePlan,
)
from hwopt.cli.run_options import (
    AccuracyOptions,
    ChangeOptions,
    DataOptions,
    LimitOptions,
    MakingOptions,
    PassOptions,
    SearchOptions,
    StepOptions,
    engine_options,
)
from hwopt.errors import BadInput


@flat
def optimize(
    *,
    model: Model,
    target: TargetName,
    output: Output = None,
    input_shape: Shapes = None,
    limits: LimitOptions,
    accuracy: AccuracyOptions,
    data: DataOptions,
    passes: PassOptions,
    changes: ChangeOptions,
    making: MakingOptions,
    search: SearchOptions,
    dry_run: DryRun = False,
    write_plan: WritePlan = None,
    config: ConfigFile = None,
    force: Force = False,
    steps: StepOptions,
    dump_dir: DumpDir = None,
    dump_each: DumpEach = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rewrite MODEL for a target, and prove the result.

    Writes OUT.onnx, OUT.plan.json, OUT.report.json, OUT.report.md and OUT.report.html. Without calibration
    data only rewrites are made that leave the model's function as it is; with data also those that change
    it a little, within --max-drop or --max-divergence. Where nothing better is found, the model comes back
    unchanged.

    Examples:
        hwopt optimize model.onnx --target edge-npu -o fast.onnx
        hwopt optimize model.onnx --target edge-npu --calib calib.npz --max-divergence 0.05 -o fast.onnx
        hwopt optimize model.onnx --target edge-npu --max-latency -1% --minimize memory --dry-run
        hwopt optimize model.onnx --config hwopt.toml -o fast.onnx

    Exit codes:
        0    done; also: unchanged, or the time limit was reached
        1    a limit cannot be met; the closest plan is named, nothing is written
        2    bad input or usage; nothing is written
        3    a bug in hwopt or in a pass; the line names a folder with what is needed to see it again
        130  interrupted (Ctrl-C, SIGTERM); the best plan is in OUT.partial.plan.json, the same command
             goes on from there, as it does after kill -9
    """
    if output is None and not dry_run:
        raise BadInput("no output file: name one with -o OUT.onnx, or try with --dry-run")
    if output is not None and output.exists() and model.exists() and output.samefile(model):
        raise BadInput(
            f"{output} is the input: choose another name for the result, or nobody can compare them"
        )
    options = engine_options(input_shape, limits, accuracy, passes, changes, making, search, steps)
    with running(as_json, quiet) as listeners:
        from hwopt.pipeline import optimize as run

        result = run(
            model,
            target=target,
            output=output,
            calib=data.calib,
            labels=data.labels,
            preprocess=data.preprocess,
            write_plan=write_plan,
            dump_dir=dump_dir,
            dump_each=dump_each,
            dry_run=dry_run,
            force=force,
            command=command_line(),
            listeners=listeners,
            **options,
        )
    if as_json:
        print_json(result.report)
    else:
        cli_show.show_result(result.report, result.files)
    for left_out in result.left_out:
        print(f"hwopt: warning: {left_out.text}", file=sys.stderr)
