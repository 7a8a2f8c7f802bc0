"""How `hwopt analyze` shows a report on standard output. Called by `hwopt.cli.show` alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwopt.report import analysis_table as tables
from hwopt.report import analysis_text as text
from hwopt.report.schema import Missing, Report, ShareRow
from hwopt.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 15
_BAR = 6  # characters of a bar, which stands for the longest share
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_WIDE = 96  # columns from which bars and multiply-adds find room
_SHORTEST = 12  # of a name that has to make room for figures
_WIDEST_GAP = 2  # between two columns
_SMALL = 0.005  # of the time: kinds below that share a line


@dataclass(frozen=True)
class Wanted:
    """What of the subgraphs is shown. most: None for all; sort: a key of `analysis_table.SORTS`."""

    most: int | None = SHOWN
    sort: str = "latency"


DEFAULT = Wanted()


def show(report: Report, console: Console, wanted: Wanted) -> None:
    """The whole analysis: a sentence, the subgraphs, totals, memory, and what there is to gain."""
    title = f"{report.model.path or 'the model'} on {report.target.name} ({report.target.precision})"
    _say(console, title, "bold")
    _say(console, text.whole(report))
    goes = report.where_time_goes
    if not isinstance(goes, Missing):
        _say(console, f"{goes.bottleneck}.", "bold yellow")
    console.print()
    _show_subgraphs(report, console, wanted)
    if not isinstance(goes, Missing) and not isinstance(report.before.latency_us, Missing):
        _show_totals("kind", [row for row in goes.kinds if _counts(row)], console)
        if len(goes.engines) > 1:
            _show_totals("engine", goes.engines, console)
    console.print()
    for line in (text.bounds(report), text.memory(report), text.weights(report), *text.unpriced(report)):
        if line:
            _say(console, line)
    for note in report.notes:
        _say(console, f"note: {note}")
    _show_potential(report, console)


def _say(console: Console, line: str, style: str = "") -> None:
    """One fact: wrapped at words on a terminal, one line of a file else."""
    console.print(visible(line), style=style or None, markup=False, soft_wrap=not console.is_terminal)


def _counts(row: ShareRow) -> bool:
    """Whether a kind takes time worth a line, or nobody knows."""
    return isinstance(row.share, Missing) or row.share >= _SMALL


def _show_subgraphs(report: Report, console: Console, wanted: Wanted) -> None:
    found = tables.subgraph_table(report.subgraphs.before, wanted.sort, wanted.most)
    engine = [("engine", False, [line.engine for line in found.lines])]
    kind = ("kind", False, [_short_kind(line.kind) for line in found.lines])
    about = [kind, *(engine if tables.engines_used(report) > 1 else [])]
    _show_table(console, "subgraph", about, found.lines, found.units, "alive")
    if found.legend:
        _say(console, found.legend, "dim")


def _short_kind(kind: str) -> str:
    return kind if len(kind) <= _SHORTEST else f"{kind[: _SHORTEST - 2]}.."


def _show_totals(what: str, shares: Sequence[ShareRow], console: Console) -> None:
    units = tables.total_units(shares)
    lines = list(tables.totals(shares, units))
    console.print()
    count = ("subgraphs", True, [line.kind for line in lines])
    _show_table(console, what, [count], lines, units, "weights")


Column = tuple[str, bool, Sequence[str]]  # its header, whether it holds numbers, its cells


def _show_table(
    console: Console,
    what: str,
    about: Sequence[Column],
    lines: Sequence[tables.Line],
    units: tables.Units,
    last: str,
) -> None:
    """One table: what a line is about, and its figures in one unit per column; names make room."""
    columns = [*about, *_figures(lines, units, last, console.width >= _WIDE)]
    bars = _bars(lines) if console.width >= _WIDE and _draws(console) else []
    gap = _WIDEST_GAP
    while gap > 1 and _taken(columns, bars, gap) + max(len(line.name) for line in lines) > console.width:
        gap -= 1
    room = max(console.width - _taken(columns, bars, gap), _SHORTEST)
    names = [_shortened(line.name, room, console) for line in lines]
    at = next(number for number, column in enumerate(columns) if column[0] == "share") + 1
    drawn: list[Column] = [("", False, bars)] if bars else []
    _print(console, [(what, False, names), *columns[:at], *drawn, *columns[at:]], gap)


def _taken(columns: Sequence[Column], bars: Sequence[str], gap: int) -> int:
    """The characters of a line that are not the name's."""
    wide = [max(map(len, [*header.split("\n"), *cells])) for header, _, cells in columns]
    return sum(wide) + gap * len(wide) + (_BAR + gap if bars else 0)


def _figures(lines: Sequence[tables.Line], units: tables.Units, last: str, wide: bool) -> Iterator[Column]:
    """The columns of figures that have something to say."""
    size = units.size.name
    yield f"latency\n{units.time.name}", True, [line.latency for line in lines]
    if any(line.spread or line.flag for line in lines):
        yield f"\u00b1\n{units.time.name}", True, [f"{line.spread}{line.flag}" for line in lines]
    yield "share", True, [f"{100 * line.share:.1f}%" if line.share else tables.NONE for line in lines]
    if any(line.bound for line in lines):
        yield "bound", False, [line.bound for line in lines]
    yield "MAC\narray", True, [line.array for line in lines]
    if wide:
        yield f"MACs\n{units.count.name}", True, [line.macs for line in lines]
    if any(line.on_chip != line.off_chip for line in lines):
        yield f"on-chip\n{size}", True, [line.on_chip for line in lines]
        yield f"off-chip\n{size}", True, [line.off_chip for line in lines]
    else:
        yield f"moved\n{size}", True, [line.off_chip for line in lines]
    yield f"{last}\n{size}", True, [line.alive for line in lines]


def _print(console: Console, columns: Sequence[Column], gap: int = _WIDEST_GAP) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, gap - 1, 0, 0))
    for header, numbers, _ in columns:
        style = "cyan" if not header else None
        table.add_column(header, no_wrap=True, justify="right" if numbers else "left", style=style)
    for row in zip(*(cells for _, _, cells in columns), strict=True):
        table.add_row(*(Text(visible(cell)) for cell in row))
    console.print(table, soft_wrap=False, crop=False)


def _shortened(name: str, room: int, console: Console) -> str:
    """The end of a name tells more than its beginning, which all names of a network share."""
    if len(name) <= room:
        return name
    mark = "\u2026" if _writes(console, "\u2026") else ".."
    return mark + name[len(mark) - room :]


def _draws(console: Console) -> bool:
    return console.is_terminal and not console.legacy_windows and _writes(console, _EIGHTHS)


def _writes(console: Console, characters: str) -> bool:
    try:
        characters.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _bars(lines: Sequence[tables.Line]) -> list[str]:
    """Against the longest; a line for all the others has none."""
    shares = [line.share if line.kind else 0.0 for line in lines]
    longest = max(shares, default=0.0)
    return [bar(share / longest if longest else 0.0) for share in shares]


def bar(share: float) -> str:
    """A bar of at most `_BAR` characters; what is there at all is never invisible."""
    eighths = min(max(round(share * 8 * _BAR), 1 if share > 0 else 0), 8 * _BAR)
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _show_potential(report: Report, console: Console) -> None:
    found = report.potential
    if isinstance(found, Missing):
        return
    console.print()
    for number, line in enumerate(text.bound_lines(found)):
        _say(console, line, "" if number else "bold")
    if isinstance(found.exact.change, Missing):
        return
    for header, rows, numbers in (
        (text.PASSES_HEADER, text.pass_rows(found), (2, 3, 4)),
        (text.GAINS_HEADER, text.gain_rows(report), (3,)),
    ):
        if rows:
            console.print()
            cells = list(zip(*rows, strict=True))
            columns = [(name, n in numbers, cells[n]) for n, name in enumerate(header)]
            room = max(console.width - _taken(columns[1:], (), _WIDEST_GAP), _SHORTEST)
            names = [_shortened(name, room, console) for name in cells[0]]
            _print(console, [(header[0], False, names), *columns[1:]])
