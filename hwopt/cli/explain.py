"""`hwopt explain MODEL --target T --choice ID`: all values of one choice, priced, and what decided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt.cli import show as cli_show
from hwopt.cli.common import print_json, running
from hwopt.cli.config import ConfigFile
from hwopt.cli.flat import flat
from hwopt.cli.options import TASK, AsJson, Model, Quiet, Shapes, TargetName
from hwopt.cli.run_options import (
    AccuracyOptions,
    ChangeOptions,
    DataOptions,
    LimitOptions,
    PassOptions,
    SearchOptions,
    engine_options,
)
from hwopt.report import words
from hwopt.report.schema import Missing

if TYPE_CHECKING:
    from hwopt.debug.explain.answer import Explanation
    from hwopt.debug.explain.choice import ChoiceExplained
    from hwopt.debug.explain.nodes import NodesExplained
    from hwopt.debug.explain.quotes import Change
    from hwopt.debug.explain.values import ValueExplained

_FOLD = "canonical"
_SHOWN = 6  # nodes, or choices, in one line

ChoiceName = Annotated[
    str,
    typer.Option(
        "--choice",
        metavar="ID",
        help="A choice: its id, the beginning of one, or the name of a node. Without it: a list of all.",
        rich_help_panel=TASK,
    ),
]


@flat
def explain(
    *,
    model: Model,
    target: TargetName,
    choice: ChoiceName = "",
    input_shape: Shapes = None,
    limits: LimitOptions,
    accuracy: AccuracyOptions,
    data: DataOptions,
    passes: PassOptions,
    changes: ChangeOptions,
    search: SearchOptions,
    config: ConfigFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show all values of one choice of MODEL, priced, and what decided. Nothing is written.

    A choice is one decision about one place: the form of a block, the width of a group of channels. The
    options are those of `hwopt optimize`, and mean the same. Limits that cannot be met are part of the
    answer: the exit code is 0.

    Examples:
        hwopt explain model.onnx --target edge-npu
        hwopt explain model.onnx --target edge-npu --choice form
        hwopt explain model.onnx --target edge-npu --max-latency -1% --json
    """
    options = engine_options(input_shape, limits, accuracy, passes, changes, search)
    with running(as_json, quiet) as listeners:
        from hwopt.debug.explain.answer import explain as run

        found = run(
            model,
            target=target,
            choice=choice,
            calib=data.calib,
            labels=data.labels,
            preprocess=data.preprocess,
            listeners=listeners,
            **options,
        )
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: Explanation) -> None:
    for line in _head(found):
        print(line)
    if not found.asked:
        header = ["choice", "nodes", "values", "chosen", "fastest", "by itself"]
        cli_show.show_table(header, _list_rows(found))
        folds = sum(line.kind == _FOLD for line in found.listed)
        if any(line.kind != _FOLD and not line.best for line in found.listed):
            print("-: none of its values can be used in this run; name the choice to see their prices")
        print(f"and {folds} folds, exact and made before anything is decided (--json lists them)")
    for choice in found.choices:
        if choice.kind != _FOLD or len(found.choices) == 1:
            _show_choice(choice)
    for choice in found.choices:
        if choice.kind == _FOLD and len(found.choices) > 1:
            print(f"\n{choice.id} (fold) = {choice.chosen}: {_some(choice.nodes, _SHOWN)}: {choice.reason}")
    if found.nodes is not None:
        for line in _node_lines(found.nodes, nothing=not found.choices):
            print(line)


def _head(found: Explanation) -> Iterator[str]:
    outcome = found.outcome
    if outcome not in ("changed", "unchanged"):
        yield f"no plan keeps the limits: {outcome}"
        outcome = "what follows is said of the closest plan"
    if found.unproved:
        outcome += f": no rewrite could be proved: {found.unproved}; give --calib or --allow-unverified"
    yield f"{found.model} on {found.target.name}: {outcome}"


def _list_rows(found: Explanation) -> list[list[str]]:
    return [
        [
            line.id,
            _some(line.nodes, 2),
            _some(line.values, _SHOWN),
            line.chosen,
            line.best or "-",
            "-" if isinstance(line.change_us, Missing) else words.change_us(line.change_us),
        ]
        for line in found.listed
        if line.kind != _FOLD
    ]


def _show_choice(choice: ChoiceExplained) -> None:
    print(f"\n{choice.id} ({choice.kind}): {_some(choice.nodes, _SHOWN)}")
    print(f"chosen: {choice.chosen}: {choice.reason}")
    header = ["value", "risk", "latency", "peak memory", "weights", "MACs", "damage", "in the plan", "became"]
    cli_show.show_table(header, [_value_row(value) for value in choice.values])
    for line in (*_fates(choice), *_edits(choice)):
        print(line)
    if choice.priced_with:
        print(f"priced together with: {_some([f'{n.id} ({n.chosen})' for n in choice.priced_with], _SHOWN)}")


def _value_row(value: ValueExplained) -> list[str]:
    """*keep* as it is, the others compared to it."""
    figures = _absolute(value) if not value.passes else _changes(value.alone)
    damage = "-" if isinstance(value.damage, Missing) else words.number(value.damage.value)
    return [value.name, value.risk, *figures, damage, _changes(value.on_top)[0], value.fate.value]


def _absolute(value: ValueExplained) -> list[str]:
    sizes = [
        "-" if isinstance(size, Missing) else words.size(size)
        for size in (value.peak_bytes, value.weight_bytes)
    ]
    latency = "-" if isinstance(value.latency_us, Missing) else words.latency(value.latency_us)
    return [latency, *sizes, "-" if isinstance(value.macs, Missing) else f"{value.macs:,.0f}"]


def _changes(found: Change | Missing) -> list[str]:
    if isinstance(found, Missing):
        return ["-"] * 4
    latency = words.change_us(found.latency_us)
    return [
        latency,
        words.change_bytes(found.peak_bytes),
        words.change_bytes(found.weight_bytes),
        f"{found.macs:+,}",
    ]


def _fates(choice: ChoiceExplained) -> Iterator[str]:
    """Why each value was not chosen; those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for value in choice.values:
        told = [value.reason] if value.name != choice.chosen else []
        if value.name != choice.chosen and isinstance(value.on_top, Missing):
            told.append(f"in the plan: {value.on_top.unavailable}")
        for reason in (*told, *([value.note] if value.note else [])):
            reasons.setdefault(reason, []).append(value.name)
    for reason, names in reasons.items():
        yield f"{', '.join(names)}: {reason}"


def _edits(choice: ChoiceExplained) -> Iterator[str]:
    """What values make of which nodes; those of one pass and the same nodes together."""
    made: dict[str, list[str]] = {}
    for value in choice.values:
        if value.passes:
            what = f"{', '.join(value.passes)}: {value.summary} ({_some(value.edits, _SHOWN)})"
            made.setdefault(what, []).append(value.name)
    for what, names in made.items():
        yield f"{', '.join(names)} by {what}"


def _node_lines(found: NodesExplained, nothing: bool) -> Iterator[str]:
    yield ""
    if nothing:
        yield f"{_some(found.nodes, _SHOWN)}: no pass offers anything here"
    if found.skipped or found.everywhere:
        yield "passed over:"
    for row in found.skipped:
        yield f"  {row.pass_} at {row.node}: {row.reason}"
    for row in found.everywhere:
        yield f"  {row.pass_}, {row.node}: {row.reason}"
    if found.silent:
        yield f"no business of: {', '.join(found.silent)}"
    if found.left_out:
        yield f"did not run: {', '.join(found.left_out)}"


def _some(names: list[str] | tuple[str, ...], shown: int) -> str:
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
