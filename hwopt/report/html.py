"""Report  -->  OUT.report.html: one page that opens from disk, asks the network for nothing, and prints.

Words are in `html_story`, tables in `html_tables`, pictures in `charts`; the page itself is
`templates/report.html.j2`. Every text of the report is escaped by the template; the page's own script is
named by its hash, so that a browser runs no other. The same report gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from hwopt.report import words
from hwopt.report.schema import Costs, Missing, Report, SubgraphRow

if TYPE_CHECKING:
    from jinja2 import Environment

    from hwopt.report.charts.canvas import Width

_TEMPLATES = "templates"
_OWN_ID = re.compile(r'\bid="([^"]+)"')
_REFERENCE = re.compile(r'url\(#([^)]+)\)|href="#([^"]+)"')
_MEASURED_ROUND = "measured round "  # notes that the table of rounds makes plain


@dataclass(frozen=True)
class Chart:
    """One picture, drawn for wide and for narrow screens; empty texts where there is nothing to draw."""

    wide: str
    narrow: str

    def __bool__(self) -> bool:
        return bool(self.wide)


def to_html(report: Report) -> str:
    """The whole report as one page, ending in a newline."""
    from hwopt.report import html_story, html_tables
    from hwopt.report.html_safe import harmless

    report = harmless(report)
    script = _text("report.js")
    decisions = html_tables.decisions(report)
    page = _environment().get_template("report.html.j2")
    return page.render(
        report=report,
        story=html_story,
        tables=html_tables,
        charts=_charts(report),
        style=_text("report.css"),
        script=script,
        script_hash=_hash(script),
        summary=words.summary(report),
        sides=_sides(report),
        gains=html_tables.top_gains(report),
        kept=html_tables.kept(report),
        decisions=decisions,
        changed=sum(item.changed for item in decisions),
        pair_rows=html_tables.pair_rows(report),
        bounds=html_tables.BOUND_NAMES,
        most=words.MOST_ROWS,
        model=PurePosixPath(report.model.path.replace("\\", "/")).name or "model",
        notes=[note for note in report.notes if not note.startswith(_MEASURED_ROUND)],
        rounds=[note for note in report.notes if note.startswith(_MEASURED_ROUND)],
    )


def _sides(report: Report) -> list[tuple[str, Costs, tuple[SubgraphRow, ...]]]:
    """The input, and the result where there is one: name, costs, subgraphs."""
    sides = [("before", report.before, report.subgraphs.before)]
    return (
        sides
        if isinstance(report.after, Missing)
        else [*sides, ("after", report.after, report.subgraphs.after)]
    )


@cache
def _environment() -> Environment:
    """One for all reports of a process: it keeps the template that it has read."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    made = Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters |= {
        "latency": words.latency,
        "time": words.microseconds,
        "size": words.size,
        "bytes": words.byte_count,
        "number": words.number,
        "unbroken": _unbroken,
        "beyond": words.beyond,
    }
    made.tests["missing"] = lambda value: isinstance(value, Missing)
    return made


def _unbroken(figure: str) -> str:
    """A figure stays on one line with its unit; a reason may break."""
    return figure.replace(" ", "\u00a0") if len(figure) < 12 else figure


def _text(name: str) -> str:
    return files("hwopt.report").joinpath(_TEMPLATES, name).read_text("utf-8")


def _hash(script: str) -> str:
    """As a Content-Security-Policy names a script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _charts(report: Report) -> Mapping[str, Chart]:
    from hwopt.report.charts.latency import latency_chart
    from hwopt.report.charts.memory import memory_chart
    from hwopt.report.charts.pareto import pareto_chart
    from hwopt.report.charts.roofline import roofline_chart

    drawn: dict[str, Callable[[Report, Width], str]] = {
        "latency": latency_chart,
        "memory": memory_chart,
        "pareto": pareto_chart,
        "roofline": roofline_chart,
    }
    return {name: _chart(name, draw, report) for name, draw in drawn.items()}


def _chart(name: str, draw: Callable[[Report, Width], str], report: Report) -> Chart:
    from hwopt.report.charts.canvas import Width

    wide, narrow = (
        _own_names(draw(report, width), f"{name}-{width}") for width in (Width.WIDE, Width.NARROW)
    )
    return Chart(wide, narrow)


def _own_names(svg: str, prefix: str) -> str:
    """Ids hold for a whole page, and a browser takes a hatching from no picture that it does not show."""
    known = set(_OWN_ID.findall(svg))

    def referred(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in known:
            return found[0]
        return f"url(#{prefix}-{name})" if found[1] else f'href="#{prefix}-{name}"'

    svg = _OWN_ID.sub(lambda found: f'id="{prefix}-{found[1]}"', svg)
    return _REFERENCE.sub(referred, svg)
