"""`hwopt targets list | show | new | check`: the accelerators there are, and whether they can be trusted.

`measure` and `fit` are in hwopt.cli_measure. What is heavy to import is imported by the command
that needs it, so that `hwopt --help` stays quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt import cli_show
from hwopt.cli_meter import meter
from hwopt.errors import HwoptError, Interrupted
from hwopt.report.jsonable import encode, json_text

if TYPE_CHECKING:
    from hwopt.oracles.protocol import Oracle
    from hwopt.target import Target
    from hwopt.target_verdict import Finding, Spot

TargetName = Annotated[str, typer.Argument(metavar="NAME|FOLDER", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result, and nothing else, as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress display.")]
OracleCommand = Annotated[
    str | None,
    typer.Option(metavar="'ssh board ./bench {model}'", help="What measures a model (oracle `command`)."),
]
TableFile = Annotated[
    Path | None, typer.Option("--table", metavar="FILE", help="Measurements there are (oracle `table`).")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes that measure at the same time.", show_default=False)
]


def targets_list(as_json: AsJson = False) -> None:
    """Every accelerator that can be named, and how good its cost model is."""
    from hwopt.registry import target_folders

    rows = [_listed(name, folder) for name, folder in sorted(target_folders().items())]
    if as_json:
        print(json_text(encode(rows)), end="")
        return
    header = ["target", "precision", "oracle", "cost model", "size", "what it is"]
    cli_show.show_table(header, [[str(row[name]) for name in _COLUMNS] for row in rows])


_COLUMNS = ("name", "precision", "oracle", "cost_model", "size", "title")


def _listed(name: str, folder: Path) -> dict[str, object]:
    """One row; a target whose file is broken is listed with what is wrong."""
    from hwopt.report.words import byte_count
    from hwopt.target import read_target
    from hwopt.target_home import card_accuracy, folder_bytes

    row: dict[str, object] = {"name": name, "folder": str(folder), "size": byte_count(folder_bytes(folder))}
    try:
        target = read_target(folder)
    except HwoptError as error:
        return {**row, "precision": "-", "oracle": "-", "cost_model": "broken", "title": str(error)}
    accuracy = card_accuracy(folder) if target.cost_model is not None else None
    fitted = "not fitted" if target.cost_model is None else "fitted"
    return {
        **row,
        "precision": target.precision,
        "oracle": target.oracle.name,
        "cost_model": fitted if accuracy is None else f"{accuracy.mape:.2g}% off on {accuracy.unit}",
        "title": target.title,
        "accuracy": accuracy,
    }


def targets_show(target: TargetName, as_json: AsJson = False) -> None:
    """One accelerator: its hardware, its fusion rules, its cost model, its card."""
    from hwopt.registry import load_target
    from hwopt.target_home import CARD_FILE

    found = load_target(target)
    if as_json:
        print(json_text(encode(_shown_json(found))), end="")
        return
    cli_show.show_table(["", found.name], _target_rows(found))
    card = found.folder / CARD_FILE
    if card.is_file():
        print(card.read_text("utf-8"), end="")


def _shown_json(target: Target) -> dict[str, object]:
    from hwopt.target_home import card_accuracy, folder_bytes

    return {
        **{name: getattr(target, name) for name in ("name", "title", "precision", "clock_mhz")},
        "folder": str(target.folder),
        "macs_per_cycle": target.macs_per_cycle,
        "array": target.array,
        "channel_multiples": target.channel_multiples,
        "weights_compressed": target.weights_compressed,
        "skipped_sparsity": target.skipped_sparsity,
        "arena_memory": target.arena_memory.name,
        "memories": target.memories,
        "engines": [{"name": e.name, "host": e.host, "ops": sorted(e.ops)} for e in target.engines],
        "fusions": [
            {"anchors": sorted(f.anchors), "followers": [sorted(words) for words in f.followers]}
            for f in target.fusions
        ],
        "oracle": target.oracle,
        "cost_model": target.cost_model,
        "config": target.config_hash,
        "bytes": folder_bytes(target.folder),
        "accuracy": card_accuracy(target.folder),
    }


def _target_rows(target: Target) -> list[list[str]]:
    from hwopt.report.words import byte_count
    from hwopt.target_home import card_accuracy, folder_bytes

    array = ", ".join(f"{name} {size}" for name, size in target.array.items())
    accuracy = card_accuracy(target.folder)
    pin = target.cost_model
    memories = [
        [f"memory {item.name}", f"{byte_count(item.bytes)}, {item.bytes_per_cycle:g} bytes per cycle"]
        for item in target.memories
    ]
    engines = [
        [f"{'host' if item.host else 'engine'} {item.name}", ", ".join(sorted(item.ops))]
        for item in target.engines
    ]
    fusions = [
        ["fused", f"behind {', '.join(sorted(rule.anchors))}: {_followers(rule.followers)}"]
        for rule in target.fusions
    ]
    depthwise = target.depthwise_macs_per_cycle
    options = ", ".join(f"{name} = {value}" for name, value in target.oracle.options.items())
    return [
        ["title", target.title],
        ["folder", str(target.folder)],
        ["size", byte_count(folder_bytes(target.folder))],
        ["precision", target.precision],
        ["clock", f"{target.clock_mhz:g} MHz"],
        ["MACs per cycle", f"{target.macs_per_cycle}" + (f" ({array})" if array else "")],
        *([] if depthwise is None else [["MACs per cycle, depthwise", str(depthwise)]]),
        ["channel multiples", ", ".join(map(str, target.channel_multiples))],
        ["weights compressed", "yes" if target.weights_compressed else "no"],
        ["zeros skipped", ", ".join(target.skipped_sparsity) or "none"],
        *memories,
        ["activations lie in", target.arena_memory.name],
        *engines,
        *fusions,
        ["oracle", target.oracle.name + (f" ({options})" if options else "")],
        ["cost model", "none" if pin is None else f"{pin.file}, SHA-256 {pin.sha256}"],
        *([] if accuracy is None else [["accuracy", f"{accuracy.mape:g}% mean error on {accuracy.unit}"]]),
    ]


def _followers(stages: Sequence[frozenset[str]]) -> str:
    return ", then ".join(" or ".join(sorted(words)) for words in stages)


def targets_new(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    source: Annotated[
        str | None, typer.Option("--from", metavar="TARGET", help="Start from a target that exists.")
    ] = None,
    oracle: Annotated[
        str | None,
        typer.Option(metavar="vela|zigzag|onnxruntime|command|table", help="What will measure it: zigzag."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where NAME's folder is made.")] = None,
) -> None:
    """Start a target of your own: writes a commented target.toml to fill in."""
    from hwopt.errors import BadInput
    from hwopt.registry import config_folder, load_target
    from hwopt.targets_new import DEFAULT_ORACLE, copy_target, new_target

    if source is not None and oracle is not None:
        raise BadInput("--from and --oracle: give one of them, a target that is copied has its oracle")
    folder = (config_folder() if out is None else out) / name
    if source is not None:
        files = copy_target(load_target(source).folder, folder)
    else:
        files = new_target(folder, oracle or DEFAULT_ORACLE)
    for path in files:
        print(f"wrote {path}")
    called = name if out is None else str(folder)
    print(f"fill it in, then: hwopt targets check {called}, hwopt targets measure {called}")


def targets_check(
    target: TargetName,
    samples: Annotated[
        int, typer.Option(min=0, help="Fresh samples to measure and compare; 0 measures nothing.")
    ] = 20,
    oracle_command: OracleCommand = None,
    table: TableFile = None,
    workers: Workers = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Whether a target can be trusted: every problem of its file, its pins, its oracle, its accuracy today.

    Exit code 0: fine. 1: it works, but should not be trusted yet. 2: something is broken.
    """
    from hwopt.target_verdict import check_file, exit_code

    folder = find_folder(target)
    findings = check_file(folder)
    spots: list[Spot] = []
    if exit_code(findings) == 0:
        more, spots = _checked(folder, samples, quiet or as_json, oracle_command, table, workers)
        findings += more
    code = exit_code(findings)
    if as_json:
        whole = {"target": folder.name, "exit_code": code, "findings": findings, "samples": spots}
        print(json_text(encode(whole)), end="")
    else:
        _show_findings(findings, spots)
    raise typer.Exit(code)


def find_folder(given: str) -> Path:
    """The folder of a target, although its target.toml may be broken.

    Raises BadInput where there is no such target.
    """
    from hwopt.registry import load_target, target_folders
    from hwopt.target import FILE_NAME

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
    from hwopt.target_verdict import Finding, Verdict, check_folder, check_oracle

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
    from hwopt.target_verdict import judge

    return [*findings, judge(spots)], spots


def _spots(target: Target, oracle: Oracle, samples: int, quiet: bool) -> list[Spot]:
    from hwopt.oracles.cache import Cache
    from hwopt.target_verdict import spot_check

    try:
        with Cache() as cache, meter("fresh samples", samples, quiet) as tell:
            return spot_check(target, oracle, samples, cache, lambda done, _: tell(done, ""))
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what was measured is remembered, the next check goes on") from None


def closed_after(oracle: Oracle) -> AbstractContextManager[object]:
    """Ends the oracle's processes afterwards, where it has any."""
    return closing(oracle) if hasattr(oracle, "close") else nullcontext()  # type: ignore[type-var]


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
