"""`hwopt targets check`: whether a target can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt.cli import show as cli_show
from hwopt.cli.common import print_object
from hwopt.cli.meter import meter
from hwopt.cli.targets import AsJson, OracleCommand, Quiet, TableFile, TargetName, Workers, closed_after
from hwopt.errors import HwoptError, Interrupted

if TYPE_CHECKING:
    from hwopt.oracles.protocol import Oracle
    from hwopt.target import Target
    from hwopt.target.verdict import Finding, Spot


def targets_check(
    target: TargetName,
    samples: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Fresh samples to measure and compare; 0 measures nothing."),
    ] = 20,
    oracle_command: OracleCommand = None,
    table: TableFile = None,
    workers: Workers = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Whether a target can be trusted: every problem of its file, its pins, its oracle, its accuracy today.

    Draws fresh samples, has them measured, and holds the cost model against them.

    Examples:
        hwopt targets check edge-npu
        hwopt targets check edge-npu --samples 0
        hwopt targets check ./my-board --oracle-command 'ssh board ./bench {model}'

    Exit codes:
        0    fine
        1    it works, but should not be trusted yet
        2    something in it is broken, or bad usage
        3    a bug in hwopt
        130  interrupted; what was measured is remembered
    """
    from hwopt.target.verdict import check_file, exit_code

    folder = find_folder(target)
    findings = check_file(folder)
    spots: list[Spot] = []
    if exit_code(findings) == 0:
        more, spots = _checked(folder, samples, quiet or as_json, oracle_command, table, workers)
        findings += more
    code = exit_code(findings)
    if as_json:
        whole = {"target": folder.name, "exit_code": code, "findings": findings, "samples": spots}
        print_object(whole)
    else:
        _show_findings(findings, spots)
    raise typer.Exit(code)


def find_folder(given: str) -> Path:
    """The folder of a target, although its target.toml may be broken.

    Raises BadInput where there is no such target.
    """
    from hwopt.registry import load_target, target_folders
    from hwopt.target.file import FILE_NAME

    folders = target_folders()
    path = Path(given)
    if given in folders:
        return folders[given]
    if path.name == FILE_NAME and path.is_file():
        return path.parent
    return path if (path / FILE_NAME).is_file() else load_target(given).folder


def _checked(
    folder: Path, samples: int, quiet: bool, command: str | None, table: Path | None, workers: int | None
) -> tuple[list[Finding], list[Spot]]:
    """What is checked once the file can be read."""
    from hwopt.registry import make_oracle
    from hwopt.target import read_target
    from hwopt.target.verdict import Finding, Verdict, check_folder, check_oracle

    target = read_target(folder)
    findings = list(check_folder(target))
    if target.oracle.name == "command" and command is None:
        findings.append(Finding("oracle", Verdict.OPEN, "give --oracle-command to measure"))
        return findings, []
    try:
        oracle = make_oracle(target, command=command, table=table, workers=workers)
    except HwoptError as error:
        return [*findings, Finding("oracle", Verdict.BROKEN, str(error))], []
    with closed_after(oracle):
        findings.append(check_oracle(oracle))
        usable = findings[-1].verdict is Verdict.FINE and target.cost_model is not None
        broken = any(item.topic == "cost model" and item.verdict is not Verdict.FINE for item in findings)
        if not samples or not usable or broken:
            return findings, []
        spots = _spots(target, oracle, samples, quiet)
    from hwopt.target.verdict import judge

    return [*findings, judge(spots)], spots


def _spots(target: Target, oracle: Oracle, samples: int, quiet: bool) -> list[Spot]:
    from hwopt.oracles.cache import Cache
    from hwopt.target.verdict import spot_check

    try:
        with Cache() as cache, meter("fresh samples", samples, quiet) as tell:
            return spot_check(target, oracle, samples, cache, lambda done, _: tell(done, ""))
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what was measured is remembered, the next check goes on") from None


def _show_findings(findings: Sequence[Finding], spots: Sequence[Spot]) -> None:
    from hwopt.report.words import microseconds

    if spots:
        rows = [
            [
                spot.sample,
                spot.kinds,
                microseconds(spot.measured_us),
                f"{microseconds(spot.predicted_us)} ± {microseconds(spot.spread_us, 2)}",
                f"{100 * spot.error:+.1f}%",
                "" if spot.covered else "beyond two spreads",
            ]
            for spot in spots
        ]
        cli_show.show_table(["sample", "operators", "measured", "predicted", "error", ""], rows)
    cli_show.show_table(
        ["checked", "", "found"], [[item.topic, item.verdict.value, item.text] for item in findings]
    )
