"""Drawing with matplotlib for a page with two themes and two widths.

A chart is drawn with placeholder colours, one per role. In the SVG they become CSS variables of the page, so
one picture serves the light theme, the dark one, and print. Marks may carry a text that a reader sees
when pointing at them, and a screen reader speaks. The same data give the same bytes.
"""

from __future__ import annotations

import html
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from io import StringIO
from itertools import count
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure


class Width(StrEnum):
    """For which screens a chart is drawn: the page shows the one that fits."""

    WIDE = "wide"
    NARROW = "narrow"


class Ink(StrEnum):
    """Roles of colours; the values are placeholders that no chart uses otherwise."""

    TEXT = "#010101"
    MUTED = "#020202"
    GRID = "#030303"
    BEFORE = "#040404"
    AFTER = "#050505"
    COMPUTE = "#060606"
    ON_CHIP = "#070707"
    OFF_CHIP = "#080808"
    ACCENT = "#090909"
    PAPER = "#0a0a0a"

    @property
    def variable(self) -> str:
        """The CSS variable that holds the colour."""
        return f"--ink-{self.name.lower().replace('_', '-')}"


_MARK = re.compile(r'<g id="(mark-\d+)">')
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_STYLES = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>\s*", re.DOTALL)
_NAMES = re.compile(
    r' id="(?:figure|axes|patch|matplotlib|xtick|ytick|line2d|text|legend)[^"]*"'
)  # several charts
_FONTS = re.compile(r" font-family: [^;]*;")  # the page's own
_SIZE = re.compile(r' (?:width|height)="[^"]*pt"')
PIXELS_PER_INCH = 72  # an SVG of matplotlib counts points; one of them is shown as one CSS pixel
_SIZES = {Width.WIDE: 880, Width.NARROW: 340}
_STYLE: dict[Any, object] = {
    "svg.fonttype": "none",  # text stays text: searchable, and in the page's font
    "svg.hashsalt": "hwopt",
    "font.family": "sans-serif",
    "font.size": 12,
    "text.color": Ink.TEXT.value,
    "text.parse_math": False,  # a dollar in a node's name is a dollar
    "axes.edgecolor": Ink.GRID.value,
    "axes.labelcolor": Ink.MUTED.value,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "grid.color": Ink.GRID.value,
    "grid.linewidth": 0.8,
    "xtick.color": Ink.MUTED.value,
    "ytick.color": Ink.MUTED.value,
    "legend.frameon": False,
}


@dataclass
class Canvas:
    """A figure being drawn. tips: texts by the id of the mark that they belong to."""

    figure: Figure
    axes: Axes
    width: Width
    panels: tuple[Axes, ...]
    tips: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    def tip(self, mark: Artist, text: str) -> None:
        """What a reader sees when pointing at the mark."""
        name = f"mark-{next(self._numbers)}"
        mark.set_gid(name)
        self.tips[name] = text

    def on(self, axes: Axes) -> Canvas:
        """The same figure, drawn on in another of its panels."""
        return replace(self, axes=axes)

    def legend(self, handles: Sequence[Artist] | None = None) -> None:
        """A legend above the chart, in as many columns as there is room for."""
        found = self.axes.get_legend_handles_labels()[0] if handles is None else handles
        columns = min(len(found), 5 if self.width == Width.WIDE else 2)
        self.figure.legend(handles=list(found), loc="outside upper left", ncols=columns, fontsize=11)

    def svg(self, title: str) -> str:
        """The finished picture. title: what it shows, for those who cannot see it."""
        text = StringIO()
        with warnings.catch_warnings():  # of letters that its own font lacks: the page has others
            warnings.filterwarnings("ignore", r"Glyph .* missing from font")
            self.figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        return _for_page(text.getvalue(), title, self.tips, self.width)


@contextmanager
def canvas(width: Width, height: float, panels: int = 1) -> Iterator[Canvas]:
    """An empty chart of that height in pixels, with so many panels, one above the other."""
    with mpl.rc_context(_STYLE):
        size = (_SIZES[width] / PIXELS_PER_INCH, height / PIXELS_PER_INCH)
        figure = Figure(figsize=size, dpi=PIXELS_PER_INCH, layout="constrained")
        axes = tuple(figure.add_subplot(panels, 1, number + 1) for number in range(panels))
        yield Canvas(figure, axes[0], width, axes)


def unit_of(microseconds: float) -> tuple[float, str]:
    """A unit for times up to this one: how many microseconds it has, and its name."""
    return (1e3, "ms") if microseconds >= 1e3 else (1.0, "us")


def shortened(name: str, letters: int) -> str:
    """A long name with its middle left out: both ends tell more."""
    if len(name) <= letters:
        return name
    head = (letters - 1) // 2
    return f"{name[:head]}…{name[len(name) - (letters - 1 - head) :]}"


def _mark(tip: str) -> str:
    """The beginning of a group that has a text."""
    said = html.escape(tip)
    return f'<g class="mark" role="img" aria-label="{said}"><title>{said}</title>'


def _for_page(svg: str, title: str, tips: Mapping[str, str], width: Width) -> str:
    """The `svg` element alone: variables for colours, tips on marks, no size and no style of its own."""
    text = svg[svg.index("<svg") :]
    for ink in Ink:
        text = text.replace(ink.value, f"var({ink.variable})")
    text = _MARK.sub(lambda found: _mark(tips[found[1]]) if found[1] in tips else found[0], text)
    for pattern in (_METADATA, _STYLES, _NAMES, _FONTS):
        text = pattern.sub("", text)
    text = _SIZE.sub("", text, count=2)
    head = f'<svg class="chart {width}" role="group" aria-label="{html.escape(title)}"'
    return text.replace("<svg", head, 1)
