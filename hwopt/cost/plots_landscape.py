"""The picture of a landscape: cost against channels, the curated numbers of channels marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwopt.cost.landscape import OPERATORS, SIZES, Point, marked
from hwopt.cost.plots import BLUE, GREY, in_style, new_figure, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHADES = ("#f2b880", "#d9822b", "#9a4f0b", "#5c2e05")  # the larger the multiple, the darker


@in_style
def landscape_plot(
    predicted: Sequence[Point], known: Sequence[Point], multiples: Sequence[int], word: str
) -> bytes:
    """One panel for each operator and size.

    multiples: the numbers of channels that the target lists; their points are filled. word: what
    the oracle's figures are called ("compiled", "measured").
    """
    figure = new_figure(7.2, 6.4)
    panels = figure.subplots(len(OPERATORS), len(SIZES), sharex=True, squeeze=False)
    for row, operator in zip(panels, OPERATORS, strict=True):
        for axes, size in zip(row, SIZES, strict=True):
            own = [p for p in predicted if (p.operator, p.size) == (operator, size)]
            axes.plot([p.channels for p in own], [p.latency_us for p in own], color=BLUE, label="predicted")
            _dots(axes, [p for p in known if (p.operator, p.size) == (operator, size)], multiples, word)
            axes.set_title(f"{operator}, {size} x {size}", fontsize=8)
            axes.set_ylim(bottom=0)
    panels[-1][len(SIZES) // 2].set_xlabel("channels in and out", fontsize=8)
    figure.supylabel("latency, µs", fontsize=8)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return svg(figure)


def _dots(axes: Axes, points: Sequence[Point], multiples: Sequence[int], word: str) -> None:
    """The oracle's points: open where no multiple divides the channels, darker for larger ones."""
    for number, multiple in enumerate((0, *sorted(multiples))):
        own = [p for p in points if marked(p.channels, multiples) == multiple]
        if not own and not multiple:
            continue  # the legend names every listed multiple, and others only where there are some
        colour = GREY if multiple == 0 else _SHADES[min(number, len(_SHADES)) - 1]
        axes.plot(
            [p.channels for p in own],
            [p.latency_us for p in own],
            "o",
            markersize=3,
            color=colour,
            markerfacecolor="white" if multiple == 0 else colour,
            markeredgewidth=0.7,
            label=f"{word}, multiple of {multiple}" if multiple else f"{word}, others",
        )
