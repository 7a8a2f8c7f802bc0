"""`hwopt targets list | show | new`: the accelerators there are, and starting one of your own.

What is heavy to import is imported by the command that needs it, so that `hwopt --help` stays quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt.cli import show as cli_show
from hwopt.cli.common import print_object
from hwopt.cli.complete import target_names
from hwopt.cli.options import RESULTS
from hwopt.errors import HwoptError

if TYPE_CHECKING:
    from hwopt.oracles.protocol import Oracle
    from hwopt.target import Target

MEASURING = "How it is measured"  # headings in the help
SAMPLES = "What is measured"

TargetName = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FOLDER",
        help="A target: its name (hwopt targets list), or its folder.",
        show_default=False,
        autocompletion=target_names,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print the result, and nothing else, as JSON.", rich_help_panel=RESULTS),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress display.", rich_help_panel=RESULTS)]
OracleCommand = Annotated[
    str | None,
    typer.Option(
        metavar="'ssh board ./bench {model}'",
        help="What measures a model (oracle `command`).",
        rich_help_panel=MEASURING,
    ),
]
TableFile = Annotated[
    Path | None,
    typer.Option(
        "--table",
        metavar="FILE",
        help="Measurements there are (oracle `table`).",
        rich_help_panel=MEASURING,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Processes that measure at the same time.",
        show_default=False,
        rich_help_panel=MEASURING,
    ),
]


def targets_list(as_json: AsJson = False) -> None:
    """Every accelerator that can be named, and how good its cost model is.

    Those that ship with hwopt, those in your own targets folder and under $HWOPT_TARGETS, and those of
    other packages. A folder that is none of these is named with --target FOLDER.

    Examples:
        hwopt targets list
        hwopt targets list --json
    """
    from hwopt.registry import target_folders

    rows = [_listed(name, folder) for name, folder in sorted(target_folders().items())]
    if as_json:
        print_object({"targets": rows})
        return
    header = ["target", "precision", "oracle", "cost model", "size", "what it is"]
    cli_show.show_table(header, [[str(row[name]) for name in _COLUMNS] for row in rows])


_COLUMNS = ("name", "precision", "oracle", "cost_model", "size", "title")


def _listed(name: str, folder: Path) -> dict[str, object]:
    """One row; a target whose file is broken is listed with what is wrong."""
    from hwopt.report.words import byte_count
    from hwopt.target import read_target
    from hwopt.target.home import card_accuracy, folder_bytes

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
    """One accelerator: its hardware, its fusion rules, its cost model, its card.

    Examples:
        hwopt targets show edge-npu
        hwopt targets show edge-npu --json
    """
    from hwopt.registry import load_target
    from hwopt.target.home import CARD_FILE

    found = load_target(target)
    if as_json:
        print_object(_shown_json(found))
        return
    cli_show.show_table(["", found.name], _target_rows(found))
    card = found.folder / CARD_FILE
    if card.is_file():
        print(card.read_text("utf-8"), end="")


def _shown_json(target: Target) -> dict[str, object]:
    from hwopt.target.home import card_accuracy, folder_bytes

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
    from hwopt.target.home import card_accuracy, folder_bytes

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
        str | None,
        typer.Option(
            "--from",
            metavar="TARGET",
            help="Start from a target that exists.",
            autocompletion=target_names,
        ),
    ] = None,
    oracle: Annotated[
        str | None,
        typer.Option(metavar="vela|zigzag|onnxruntime|command|table", help="What will measure it: zigzag."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where NAME's folder is made.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start a target of your own: writes a commented target.toml to fill in.

    Without --out it goes into your own targets folder, and can then be named like any other. An existing
    folder is never written to.

    Examples:
        hwopt targets new my-npu
        hwopt targets new my-npu --from edge-npu
        hwopt targets new my-board --oracle command --out targets
    """
    from hwopt.errors import BadInput
    from hwopt.registry import config_folder, load_target
    from hwopt.target.new import DEFAULT_ORACLE, copy_target, new_target

    if source is not None and oracle is not None:
        raise BadInput("--from and --oracle: give one of them, a target that is copied has its oracle")
    folder = (config_folder() if out is None else out) / name
    if source is not None:
        files = copy_target(load_target(source).folder, folder)
    else:
        files = new_target(folder, oracle or DEFAULT_ORACLE)
    called = name if out is None else str(folder)
    if as_json:
        print_object({"target": called, "folder": str(folder), "files": [str(path) for path in files]})
        return
    for path in files:
        print(f"wrote {path}")
    print(f"fill it in, then: hwopt targets check {called}, hwopt targets measure {called}")


def closed_after(oracle: Oracle) -> AbstractContextManager[object]:
    """Ends the oracle's processes afterwards, where it has any."""
    return closing(oracle) if hasattr(oracle, "close") else nullcontext()  # type: ignore[type-var]
