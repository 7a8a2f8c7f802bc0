"""A comparison of two runs in words: tables for a terminal and for Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from hwopt.estimate import Estimate
from hwopt.report import words
from hwopt.report.compare_choices import ChoiceChange, Decided
from hwopt.report.compare_inputs import InputChange
from hwopt.report.compare_runs import Comparison, ResultChange, Verdict
from hwopt.report.compare_subgraphs import SubgraphChange
from hwopt.report.markdown import table
from hwopt.report.schema import Figure, Missing, Report
from hwopt.report.schema_proof import AGREEMENT, EXPECTED

INPUT_HEADER = ("what went in", "A", "B")
RESULT_HEADER = ("what came out", "A", "B", "B - A", "the difference is")
SUBGRAPH_HEADER = ("nodes of the input", "A", "B", "latency A", "latency B", "B - A")
CHOICE_HEADER = ("choice", "nodes", "A", "B", "by itself, in A", "by itself, in B", "why in A", "why in B")
SHOWN = 12
_FOLD = "canonical"
_HASH, _SHOWN_HASH = 64, 12
_NAMES = 2


def head(name: str, path: str, report: Report) -> str:
    """Which run is A, and which is B."""
    return f"{name}: {path}: {report.model.path} on {report.target.name}, {report.outcome}, {report.created}"


def run(path: str, report: Report) -> dict[str, str]:
    """The same for programs."""
    return {
        "report": path,
        "model": report.model.path,
        "target": report.target.name,
        "outcome": report.outcome.value,
        "created": report.created,
    }


def input_row(row: InputChange) -> list[str]:
    """Hashes are cut; the JSON has them whole."""
    return [row.what, *(text[:_SHOWN_HASH] if len(text) == _HASH else text for text in (row.a, row.b))]


def result_row(row: ResultChange) -> list[str]:
    """A figure of both runs, their difference with its error, and what that is worth."""
    verdict = row.verdict.value
    if row.verdict == Verdict.MIXED:
        verdict += f": {_source(row.a)} and {_source(row.b)}"
    elif row.verdict == Verdict.UNKNOWN:
        verdict = "-" if isinstance(row.change, Missing) else "unknown: no error given"
    return [row.what, _figure(row.a, row.unit), _figure(row.b, row.unit), _difference(row), verdict]


def _source(figure: Figure) -> str:
    return "nothing" if isinstance(figure, Missing) else figure.source.value


def _figure(figure: Figure, unit: str) -> str:
    if isinstance(figure, Missing):
        return "-"
    if unit == "us":
        return words.latency(figure)
    if unit == "bytes":
        return words.byte_count(figure.value)
    return f"{100 * figure.value:.2f}%" if unit == "share" else _number(figure.value)


def _difference(row: ResultChange) -> str:
    if isinstance(row.change, Missing):
        return "-"
    if row.verdict == Verdict.SAME:
        return "0"
    if row.unit == "share":
        error = f" ± {100 * row.change.spread:.2g}" if row.change.spread else ""
        return f"{100 * row.change.value:+.3g}{error} points"
    relative = words.change(row.a, row.b)
    if row.unit == "us":
        return f"{words.change_us(row.change)} ({relative})"
    if row.unit == "bytes":
        return f"{words.change_bytes(row.change.value)} ({relative})"
    sign = "+" if row.change.value > 0 else ""
    return f"{sign}{_number(row.change.value)}" + ("" if relative == "-" else f" ({relative})")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:.4g}"


def shown_results(found: Comparison) -> list[ResultChange]:
    """What people want to see first: figures of both; of one alone, accuracy in its plainest form."""
    return [
        row
        for row in found.results
        if not isinstance(row.change, Missing) or not row.what.startswith((AGREEMENT, EXPECTED))
    ]


def result_notes(found: Comparison) -> Iterator[str]:
    """Why a figure is missing on one side alone."""
    lines = [
        (row.change.unavailable, row.what)
        for row in found.results
        if isinstance(row.change, Missing) and row.verdict == Verdict.UNKNOWN
    ]
    for why, rows in groupby(lines, key=lambda line: line[0]):
        names = [what for _, what in rows]
        yield f"{names[0]}{f' and {len(names) - 1} more' * (len(names) > 1)}: not in both; {why}"


def searched(found: Comparison) -> list[ChoiceChange]:
    """Choices without folds, which are exact and taken together."""
    return [row for row in found.choices if row.kind != _FOLD]


def folds_line(found: Comparison) -> str:
    """How many folds one run alone made; "" where none is."""
    folds = [row for row in found.choices if row.kind == _FOLD]
    made = [
        sum(isinstance(side, Decided) and side.value != "keep" for side in sides)
        for sides in ([row.a for row in folds], [row.b for row in folds])
    ]
    return f"folds that one run alone made: {made[0]} in A, {made[1]} in B" if folds else ""


def choice_lines(row: ChoiceChange) -> Iterator[str]:
    """The choice, and below it what each run made of it and why."""
    yield f"{row.id} ({some(row.nodes)})"
    for name, side in (("A", row.a), ("B", row.b)):
        yield f"  {name}  {_decided(side)}"


def _decided(side: Decided | Missing) -> str:
    if isinstance(side, Missing):
        return side.unavailable
    return f"{side.value}: {side.reason}"


def _saves(side: Decided | Missing) -> str:
    if isinstance(side, Missing) or isinstance(side.gain_us, Missing) or not side.gain_us.value:
        return "-"
    return f"{words.change_us(Estimate(-side.gain_us.value, 0.0, side.gain_us.source))}"


def choice_row(row: ChoiceChange) -> list[str]:
    """The same as one row of a table."""
    sides = (row.a, row.b)
    values = ["-" if isinstance(side, Missing) else side.value for side in sides]
    whys = [side.unavailable if isinstance(side, Missing) else side.reason for side in sides]
    return [f"{row.kind} `{row.id}`", some(row.nodes), *values, *(_saves(side) for side in sides), *whys]


def subgraph_row(row: SubgraphChange) -> list[str]:
    """What became of some nodes of the input in both runs."""
    times = [
        "-" if isinstance(figure, Missing) else words.microseconds(figure.value)
        for figure in (row.a_latency_us, row.b_latency_us)
    ]
    change = "-" if isinstance(row.change_us, Missing) else words.change_us(row.change_us)
    return [some(row.sources, 1), _kinds(row.a_kinds), _kinds(row.b_kinds), *times, change]


def _kinds(kinds: Sequence[str]) -> str:
    counts = Counter(kinds)
    return ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in counts.items()) or "-"


def some(names: Sequence[str], shown: int = _NAMES) -> str:
    """The first names, and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def to_markdown(found: Comparison, heads: Sequence[str]) -> str:
    """The whole comparison as Markdown, ending in a newline."""
    shown = searched(found)
    parts = [
        "# Two runs of hwopt",
        "\n".join(f"- {line}" for line in (*heads, *(f"note: {note}" for note in found.notes))),
        _section("What went in", INPUT_HEADER, map(input_row, found.inputs)),
        _section("What came out", RESULT_HEADER, map(result_row, found.results)),
        "\n".join(f"- {line}" for line in result_notes(found)),
        _section("Choices decided differently", CHOICE_HEADER, map(choice_row, shown)),
        folds_line(found),
        _section("Subgraphs that differ", SUBGRAPH_HEADER, map(subgraph_row, found.subgraphs)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    found = list(rows)
    return f"## {title}\n\n" + (table(header, found) if found else "The same in both.")
