"""The command line: a thin skin over `hwopt.optimize` and `hwopt.pipeline.analyze`.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 a
negative verdict, 2 bad input or usage (one line, nothing written), 3 a bug in hwopt (one line
that names a folder with the traceback), 130 interrupted.
"""

from __future__ import annotations

import atexit
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.main import get_command

from hwopt import __version__, cli_bisect, cli_compare, cli_show
from hwopt.cli_common import command_line, names_of, print_json, running, shapes_of
from hwopt.cli_fit import targets_app
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
    Measure,
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
from hwopt.errors import REPRODUCER, BadInput, HwoptError, InternalError, Interrupted, PassFailed
from hwopt.limits import DEFAULT_REFINE
from hwopt.report.jsonable import encode, json_text

_INTERRUPTED = 130
_BUG = 3

app = typer.Typer(
    help="Rewrites a trained ONNX model so that it runs faster, or in less memory, on one accelerator.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
passes_app = typer.Typer(help="The rewrites there are.", rich_markup_mode=None)
app.add_typer(passes_app, name="passes")
app.add_typer(targets_app, name="targets")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Shows the version, or the help where no command was given."""
    if version:
        print(f"hwopt {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
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


@app.command()
def analyze(
    model: Model,
    target: TargetName,
    input_shape: Shapes = None,
    measure: Measure = False,
    refine: Refine = DEFAULT_REFINE,
    cost_model: CostModelFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show MODEL's latency and memory on a target, subgraph by subgraph. Nothing is changed."""
    shapes = shapes_of(input_shape)
    with running(as_json, quiet) as listeners:
        from hwopt.pipeline import analyze as run

        report = run(
            model,
            target=target,
            input_shapes=shapes,
            measure=measure,
            refine=refine,
            cost_model=cost_model,
            command=command_line(),
            listeners=listeners,
        )
    if as_json:
        print_json(report)
    else:
        cli_show.show_analysis(report)


app.command("compare")(cli_compare.compare)
app.command("bisect")(cli_bisect.bisect)


@passes_app.command("list")
def passes_list() -> None:
    """Every rewrite: its risk, and what it does."""
    from hwopt.registry import all_passes

    rows = [[item.name, item.risk.value, item.summary] for item in all_passes()]
    cli_show.show_table(["pass", "risk", "before --> after"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; every failure is one line on standard error.

    With --json it is an object on standard output besides, with what a program wants to know of it.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = get_command(app).main(args=given, prog_name="hwopt", standalone_mode=False)
        if code == _INTERRUPTED:  # newer releases of typer make an exit code of Ctrl-C, older ones an Abort
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        failure: HwoptError = Interrupted("interrupted, nothing was written")
    except HwoptError as error:
        failure = _bug(error, given) if error.exit_code == _BUG else error
    except Exception as error:
        # Usage errors are classes of click, or of the copy of it inside newer releases of typer.
        describe = getattr(error, "format_message", None)
        failure = _bug(error, given) if describe is None else BadInput(_usage(describe(), given))
    if failure.exit_code == _INTERRUPTED and arguments is None:
        _leave(failure, "--json" in given)
    return _complain(failure, "--json" in given)


def _leave(failure: HwoptError, as_json: bool) -> NoReturn:
    """Ends the process where it stands: who is in a hurry shall not wait for other threads.

    Another Ctrl-C must not meet an interpreter that is half taken down. Temporary files go.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = _complain(failure, as_json)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _usage(text: str, arguments: Sequence[str]) -> str:
    """A usage error, and where the options of that command are explained."""
    given = arguments[: 2 if arguments[:1] in (["targets"], ["passes"]) else 1]
    words = [word for word in given if not word.startswith("-") and "No such command" not in text]
    return f"{text.rstrip('.')} (see {shlex.join(['hwopt', *words, '--help'])})"


def _complain(failure: HwoptError, as_json: bool) -> int:
    """One line, whatever the text holds."""
    text = " ".join(str(failure).split())
    if as_json:
        print(json_text(encode({"error": text, **failure.details, "exit_code": failure.exit_code})), end="")
    print(f"hwopt: {text}", file=sys.stderr)
    return failure.exit_code


def _bug(error: Exception, arguments: Sequence[str]) -> HwoptError:
    """The error as one line that names its folder; a run that has more to show has written one already."""
    failure = error if isinstance(error, HwoptError) else InternalError(error)
    if REPRODUCER not in failure.details:
        try:
            from hwopt.debug.incident import Asked, Incident
            from hwopt.debug.reproducer import with_folder

            with_folder(failure, Incident(error, Asked(shlex.join(["hwopt", *arguments]))))
        except Exception:  # what cannot even be imported may be the very bug
            failure.details = {**failure.details, REPRODUCER: None}
    kept = f"what is needed to see it again is in {failure.folder}" if failure.folder else _not_kept(failure)
    whose = "" if isinstance(failure, PassFailed) else "a bug in hwopt: "
    return HwoptError(f"{whose}{failure}; {kept}", failure.details)


def _not_kept(failure: HwoptError) -> str:
    return "; ".join(getattr(failure, "__notes__", ())) or "nothing could be kept of it"


if __name__ == "__main__":
    sys.exit(main())
