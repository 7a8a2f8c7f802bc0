"""`hwopt targets measure`: what a target's cost model is fitted on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt.cli.common import print_object
from hwopt.cli.meter import meter
from hwopt.cli.targets import (
    AsJson,
    OracleCommand,
    Quiet,
    TableFile,
    TargetName,
    Workers,
    closed_after,
)
from hwopt.errors import BadInput, Interrupted
from hwopt.limits import input_shape as parse_shape

if TYPE_CHECKING:
    from hwopt.cost.campaign import CampaignPlan
    from hwopt.cost.dataset import Sample
    from hwopt.cost.measure import Measured
    from hwopt.oracles.protocol import Oracle
    from hwopt.target import Target

_SAMPLES, _WHOLE = 1000, 10  # of a campaign that says nothing else
_BATCH = 16  # samples between two looks at the progress
_UNITS = {False: "samples", True: "models"}
GO_ON = "interrupted; what was measured is remembered: the same command goes on from there"


def targets_measure(
    target: TargetName,
    samples: Annotated[
        int, typer.Option(min=0, help="Parts of networks and operators to draw, or variants with --around.")
    ] = _SAMPLES,
    whole: Annotated[
        int | None,
        typer.Option(
            min=0, help=f"Whole networks, held out by fits: {_WHOLE}, with --around 0.", show_default=False
        ),
    ] = None,
    whole_seeds: Annotated[
        int, typer.Option(min=1, help="Draw --whole networks for so many seeds in a row.")
    ] = 1,
    around: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Draw variants of this model's operators; adds to what is there."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="KIND,...", help="Draw operators of these kinds alone: softmax,grouped."),
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option("--input-shape", metavar="NAME:1,3,224,224", help="Shape of a dynamic input of MODEL."),
    ] = None,
    layers: Annotated[
        bool | None,
        typer.Option(
            "--layers/--parts",
            help="Each distinct layer alone, or parts of networks. Default: as the oracle needs.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same samples.")] = 1,
    append: Annotated[bool, typer.Option("--append", help="Add to what is measured already.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: in the target's folder.")] = None,
    oracle_command: OracleCommand = None,
    table: TableFile = None,
    workers: Workers = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is measured already.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure samples on a target; what its cost model is fitted on.

    Answers are remembered: an interrupted run goes on where it stopped when the same command is
    given again, and a larger one pays only for what is new.

    Examples:
        hwopt targets measure my-npu --samples 200
        hwopt targets measure my-npu --around model.onnx --samples 50
        hwopt targets measure ./my-board --oracle-command 'ssh board ./bench {model}' --append
    """
    from hwopt.cost.campaign import CampaignPlan
    from hwopt.ir import load_model
    from hwopt.oracles.options import layers_alone
    from hwopt.registry import load_target, make_oracle

    found = load_target(target)
    if found.oracle.name == "table":
        _import_table(found, table, _out_file(found, target, out, append, force), append, as_json)
        return
    adds = append or around is not None
    path = _out_file(found, target, out, adds, force)
    plan = CampaignPlan(
        samples=samples,
        whole=whole if whole is not None else 0 if around or only else _WHOLE,
        whole_seeds=whole_seeds,
        seed=seed,
        layers=layers_alone(found.oracle.name, found.oracle.options) if layers is None else layers,
        model=None if around is None else load_model(around),
        input_shapes=dict(parse_shape(text) for text in input_shape or ()),
        only=tuple(word.strip() for word in (only or "").split(",") if word.strip()),
    )
    oracle = make_oracle(found, command=oracle_command, table=table, workers=workers)
    with closed_after(oracle):
        measured = _measure(found, oracle, plan, quiet or as_json)
    _store(found, measured, path, adds, as_json)


def _import_table(target: Target, table: Path | None, path: Path, adds: bool, as_json: bool) -> None:
    """Measurements that exist already are read, none are made."""
    from hwopt.cost.table_samples import measured_in

    _store(target, measured_in(target, table), path, adds, as_json)


def _called(target: Target, path: Path) -> str:
    """What to call the target in the next command."""
    return target.name if path.parent.name == target.name else str(path.parent)


def _out_file(target: Target, given: str, out: Path | None, adds: bool, force: bool) -> Path:
    """Where measurements go. Raises BadInput where that would overwrite others."""
    from hwopt.cost.dataset import FILE_NAME
    from hwopt.target.home import own_folder

    path = out or own_folder(target, given, measurements=adds) / FILE_NAME
    if path.exists() and not adds and not force:
        raise BadInput(f"{path} exists: add to it with --append, or replace it with --force")
    if not path.parent.is_dir():
        raise BadInput(f"{path}: there is no folder {path.parent}")
    return path


def _measure(target: Target, oracle: Oracle, plan: CampaignPlan, quiet: bool) -> Measured:
    from hwopt.cost.campaign import draw
    from hwopt.cost.measure import measure_rows
    from hwopt.oracles.cache import Cache

    drawn = 0

    def count(models: int) -> None:
        nonlocal drawn
        drawn = models

    try:
        with Cache() as cache, meter(_UNITS[plan.layers], plan.drawn, quiet) as tell:

            def progress(done: int, rows: int) -> None:
                if plan.layers:  # nobody knows how many distinct layers the models to come have
                    tell(drawn, f"{done} layers, {rows} rows")
                else:
                    tell(done, f"{rows} rows")

            return measure_rows(target, oracle, draw(plan, target, count), cache, progress, _BATCH)
    except KeyboardInterrupt:
        raise Interrupted(GO_ON) from None


def _store(target: Target, measured: Measured, path: Path, adds: bool, as_json: bool) -> None:
    """Writes the file and tells what became of the campaign."""
    from hwopt.cost import dataset
    from hwopt.cost.campaign import merged

    if not measured.rows:
        reasons = "; ".join(f"{count} {reason}" for reason, count in measured.dropped.items())
        raise BadInput(f"target '{target.name}': nothing could be measured ({reasons}); nothing was written")
    old = dataset.read_samples(path) if adds and path.exists() else []
    rows: list[Sample] = merged(old, measured.rows) if adds else list(measured.rows)
    sha256 = dataset.write_samples(path, rows)
    kinds = dict(sorted(Counter(row.signature.kind for row in measured.rows).items()))
    if as_json:
        result = {
            "target": target.name,
            "file": str(path),
            "samples": measured.samples,
            "rows": kinds,
            "dropped": measured.dropped,
            "rows_in_file": len(rows),
            "data_sha256": sha256,
        }
        print_object(result)
        return
    print(f"{measured.samples} samples, {len(measured.rows)} rows: {_counts(kinds)}")
    for reason, count in measured.dropped.items():
        print(f"  dropped {count:6}  {reason}")
    print(f"wrote {path}: {len(rows)} rows")
    print(f"next: hwopt targets fit {_called(target, path)}")


def _counts(kinds: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())
