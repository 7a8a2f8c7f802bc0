"""Plots of a card, as small SVG files that are the same bytes for the same figures."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from hwopt.cost.judging import Judged, JudgedNetwork, JudgedRewrite, KindScores, counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Column = npt.NDArray[np.float64]
P = ParamSpec("P")

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "hwopt",
    "svg.fonttype": "none",
    "font.size": 8.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
BLUE, ORANGE, GREY = "#2a6fbb", "#d9822b", "#888888"
_GRID = np.linspace(0.05, 0.99, 40)


def in_style(draw: Callable[P, bytes]) -> Callable[P, bytes]:
    """Draws in the cards' style; whatever matplotlib was set to before comes back."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> bytes:
        import matplotlib  # half a second, and most runs draw nothing

        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


@in_style
def networks_plot(judged: Sequence[JudgedNetwork], what: str) -> bytes:
    """Predicted against held-out latency of whole networks; the band is 10% either way.

    what: the word for the oracle's figures ("measured", "compiled").
    """
    figure, axes = _figure(3.6, 3.4)
    measured = np.array([item.network.latency_us for item in judged]) / 1e3
    predicted = np.array([item.predicted.value for item in judged]) / 1e3
    spread = np.array([item.predicted.spread for item in judged]) / 1e3
    ends = np.array([0.8 * measured.min(), 1.25 * measured.max()])
    axes.fill_between(ends, 0.9 * ends, 1.1 * ends, color=GREY, alpha=0.2, linewidth=0)
    axes.plot(ends, ends, color=GREY, linewidth=0.7)
    real = np.array([item.network.name.startswith("real-") for item in judged])
    for own, colour, label in ((~real, BLUE, "drawn"), (real, ORANGE, "real, trained weights")):
        if own.any():
            axes.errorbar(
                measured[own], predicted[own], 2 * spread[own], fmt="o", markersize=3, color=colour,
                linewidth=0.6, label=label,
            )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel=f"{what}, ms", ylabel="predicted, ms (bars: two spreads)")
    for axis in (axes.xaxis, axes.yaxis):
        plain_log(axis)
    axes.legend()
    return svg(figure)


@in_style
def rewrites_plot(judged: Sequence[JudgedRewrite], what: str) -> bytes:
    """Predicted against held-out effect of single rewrites, in percent of the model."""
    figure, axes = _figure(3.6, 3.4)
    before = np.array([item.rewrite.before_us for item in judged])
    measured = 100 * np.array([item.rewrite.effect_us for item in judged]) / before
    predicted = 100 * np.array([item.effect.value for item in judged]) / before
    moving = np.array([counts(item.rewrite) for item in judged])
    for own, colour, label in ((~moving, GREY, "too small to count"), (moving, BLUE, "counted")):
        if own.any():
            axes.plot(measured[own], predicted[own], ".", markersize=3, color=colour, label=label)
    ends = [min(measured.min(), predicted.min()), max(measured.max(), predicted.max())]
    axes.plot(ends, ends, color=GREY, linewidth=0.7)
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_yscale("symlog", linthresh=1.0)
    ticks = [t for t in (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100, 300) if ends[0] < t < ends[1]]
    axes.set_xticks(ticks, [f"{tick}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick}" for tick in ticks])
    axes.set(xlabel=f"effect {what}, % of the model", ylabel="effect predicted, % of the model")
    axes.legend()
    return svg(figure)


@in_style
def kinds_plot(kinds: Sequence[KindScores]) -> bytes:
    """Mean absolute error of fused operator groups inside held-out networks, kind by kind."""
    figure, axes = _figure(3.6, 0.8 + 0.18 * len(kinds))
    ordered = sorted(kinds, key=lambda item: item.mape)
    names = [f"{item.kind} ({item.number})" for item in ordered]
    axes.barh(names, [item.mape for item in ordered], color=BLUE)
    axes.set(xlabel="mean absolute error, % (number of groups)")
    return svg(figure)


@in_style
def calibration_plot(judged: Judged) -> bytes:
    """Share of errors inside an interval against the share that the stated spread promises."""
    figure, axes = _figure(3.6, 3.4)
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.7)
    series = {
        "operator groups": [
            (g.group.latency_us, g.predicted) for g in judged.groups if g.group.latency_us > 0
        ],
        "whole networks": [(n.network.latency_us, n.predicted) for n in judged.networks],
        "effects of rewrites": [(r.rewrite.effect_us, r.effect) for r in judged.rewrites],
    }
    for (label, pairs), colour in zip(series.items(), (BLUE, ORANGE, "#3d9a50"), strict=True):
        spread = np.array([max(estimate.spread, 1e-12) for _, estimate in pairs])
        error = np.array([abs(estimate.value - truth) for truth, estimate in pairs])
        if len(error):
            axes.plot(100 * _GRID, _covered(error / spread), color=colour, linewidth=1.2, label=label)
    axes.set(xlabel="promised, %", ylabel="inside, %", xlim=(0, 100), ylim=(0, 100))
    axes.legend(loc="lower right")
    return svg(figure)


def plain_log(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def _covered(deviations: Column) -> Column:
    """Percent of the errors inside the central interval of each probability of the grid."""
    return np.array([100 * np.mean(deviations <= norm.ppf(0.5 + share / 2)) for share in _GRID])


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """One set of axes of this size in inches, without any global state of matplotlib."""
    figure = new_figure(width, height)
    return figure, figure.subplots()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def svg(figure: Figure) -> bytes:
    """The figure as SVG, without date or version, to a hundredth of a point."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(rb"(\.\d\d)\d+", rb"\1", buffer.getvalue())
