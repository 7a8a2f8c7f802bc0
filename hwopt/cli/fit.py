"""`hwopt targets fit`: from measurements to a cost model, and to the fusion rules of an unknown device."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt.cli import show as cli_show
from hwopt.cli.common import print_object
from hwopt.cli.measure import GO_ON
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
from hwopt.errors import Interrupted
from hwopt.report.words import byte_count

if TYPE_CHECKING:
    from hwopt.cost.accuracy import Accuracy, Evaluation
    from hwopt.cost.fit import Fitted
    from hwopt.cost.fusion_rules import FusionFindings
    from hwopt.cost.incremental import Refitted
    from hwopt.oracles.protocol import Oracle
    from hwopt.target import Target


_AS_IT_WAS = "interrupted; the cost model is the one that it was"
_SAME_EVERYWHERE = ("vela", "zigzag")  # what these say does not depend on the machine


def targets_fit(
    target: TargetName,
    find_fusions: Annotated[
        bool, typer.Option("--find-fusions", help="Measure which operators run as one; print the rules.")
    ] = False,
    write_fusions: Annotated[
        bool, typer.Option("--write-fusions", help="Find them, and write them into target.toml.")
    ] = False,
    depth: Annotated[
        int | None, typer.Option(min=1, max=16, help="Of the trees: deeper is sharper and larger.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Trees per member.")] = None,
    members: Annotated[int | None, typer.Option(min=2, max=9, help="Of the ensemble.")] = None,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Learn what was added since the last fit, in seconds.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not judge the fit: a fifth of the time, no accuracy.")
    ] = False,
    oracle_command: OracleCommand = None,
    table: TableFile = None,
    workers: Workers = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit a target's cost model on its measurements, pin it in target.toml, and say how good it is.

    A target that ships with hwopt and is asked for by its name is fitted in a copy in your own
    targets folder; one that is asked for by its folder, right there.

    Examples:
        hwopt targets fit my-npu
        hwopt targets fit my-npu --incremental
        hwopt targets fit ./my-board --find-fusions --oracle-command 'ssh board ./bench {model}'
    """
    from hwopt.registry import load_target, make_oracle
    from hwopt.target.home import own_folder

    found = load_target(target)
    if find_fusions or write_fusions:
        oracle = make_oracle(found, command=oracle_command, table=table, workers=workers)
        with closed_after(oracle):
            findings = _find_fusions(found, oracle, quiet or as_json)
        _tell_fusions(findings, found, target if write_fusions else None, as_json)
        return
    folder = own_folder(found, target)
    if folder != found.folder:
        print(f"fitting a copy in {folder}", file=sys.stderr)
        if found.oracle.name not in _SAME_EVERYWHERE:
            note = (
                f"on the measurements that it came with: hwopt targets measure {target} --force takes yours"
            )
            print(note, file=sys.stderr)
    chosen = {"depth": depth, "rounds": rounds, "members": members}
    sizes = {name: value for name, value in chosen.items() if value is not None}
    silent = quiet or as_json
    fitted = _refit(folder, silent) if incremental else _fit(folder, sizes, quick, silent)
    if as_json:
        told = {**vars(fitted), "path": str(fitted.path)}
        print_object({"target": found.name, "folder": str(folder), "fitted": told})
    else:
        _show_fitted(fitted, folder)


def _refit(folder: Path, quiet: bool) -> Refitted:
    from hwopt.cost.incremental import refit_folder

    try:
        with meter("fitting", 0, quiet):
            return refit_folder(folder)
    except KeyboardInterrupt:
        raise Interrupted(_AS_IT_WAS) from None


def _fit(folder: Path, sizes: dict[str, int], quick: bool, quiet: bool) -> Fitted:
    from hwopt.cost.fit import FOLDS, fit
    from hwopt.cost.training import Settings

    settings = replace(Settings(), **sizes) if sizes else None
    try:
        with meter("trainings", 1 if quick else FOLDS + 1, quiet) as tell:
            return fit(folder, settings, 0 if quick else FOLDS, lambda done: tell(done, ""))
    except KeyboardInterrupt:
        raise Interrupted(_AS_IT_WAS) from None


def _show_fitted(fitted: Fitted | Refitted, folder: Path) -> None:
    from hwopt.cost.incremental import Refitted

    print(f"wrote {fitted.path}: {byte_count(fitted.bytes)}, pinned in {folder / 'target.toml'}")
    if isinstance(fitted, Refitted):
        print(f"{fitted.new} new rows were learned; the card still tells of the last fit from the start")
        return
    found = fitted.evaluation
    if found is None:
        print("not judged: without --quick the accuracy on what was left out is told")
        return
    header = ["left out", "number", "mean error", "within 5%", "within 10%", "within 2 spreads"]
    cli_show.show_table(header, list(_accuracy_rows(found)))
    print(f"left out: {found.how}, and every operator of the same shape; more in {folder / 'card.md'}")


def _accuracy_rows(found: Evaluation) -> list[list[str]]:
    units: list[tuple[str, Accuracy | None]] = [
        ("fused operator groups", found.groups),
        ("measured subgraphs", found.subgraphs),
        ("whole networks", found.networks),
    ]
    return [
        [name, str(a.units), f"{a.mape:.2f}%", *(f"{x:.1f}%" for x in (a.within_5, a.within_10, a.covered))]
        for name, a in units
        if a is not None
    ]


def _find_fusions(target: Target, oracle: Oracle, quiet: bool) -> FusionFindings:
    from hwopt.cost.fusion_rules import find_fusions
    from hwopt.oracles.cache import Cache

    try:
        with Cache() as cache, meter("pairs of operators", 0, quiet) as tell:
            return find_fusions(target, oracle, cache, lambda done, jobs: tell(done, f"of {jobs} so far"))
    except KeyboardInterrupt:
        raise Interrupted(GO_ON) from None


def _tell_fusions(found: FusionFindings, target: Target, written_to: str | None, as_json: bool) -> None:
    """Tells the rules as they would stand in target.toml; writes them where that was asked for."""
    written = None if written_to is None else _write_fusions(found, target, written_to)
    if as_json:
        rules = [
            {"anchors": sorted(rule.anchors), "followers": [sorted(words) for words in rule.followers]}
            for rule in found.rules
        ]
        print_object({"target": target.name, "fusions": rules, "unclear": found.unclear, "file": written})
        return
    print(found.toml(), end="")
    for anchor, follower in found.unclear:
        print(f"# left apart, because nothing was decided: {anchor}, {follower}")
    if written is not None:
        done = f"wrote {written}: measure again with --force (answers are remembered), then fit"
        print(done, file=sys.stderr)


def _write_fusions(found: FusionFindings, target: Target, written_to: str) -> str:
    from hwopt.target.home import own_folder
    from hwopt.target.new import write_fusions

    folder = own_folder(target, written_to)
    write_fusions(folder, found.toml())
    return str(folder / "target.toml")
