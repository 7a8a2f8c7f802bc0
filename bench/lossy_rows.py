"""The rows of bench.lossy: which values each is made of, and the marks that it is held against.

Blocks are numbered as on paper: 1 is the first that expands, 3x3 and stride 2, 16 -> 96 -> 24 at 112x112.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from bench.lossy_lab import Lab, listed
from hwopt.choice import Choice, Kind
from hwopt.scope import Price

Picks = Mapping[str, str]


@dataclass(frozen=True)
class Mark:
    """What was found by hand on other images of the same kind, or asked for: None where nothing was.

    kl: at most; agreement: at least, a share.
    """

    kl: float | None = None
    agreement: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table. picks: the values, chosen on calibration data alone."""

    name: str
    title: str
    mark: Mark
    picks: Callable[[Lab], Picks]


def forms(lab: Lab, blocks: Sequence[int], value: str) -> Picks:
    """The same value for the form of every one of these blocks."""
    found: dict[str, str] = {}
    for block in blocks:
        found |= lab.form(block, value)
    return found


def narrower(lab: Lab, share: float, figure: Callable[[Price], float]) -> Picks:
    """Widths that leave this share of a figure of the whole model, at the least damage."""
    problem = lab.widths()
    whole = problem.total({})
    assert whole is not None
    return lab.cheapest(problem, figure, share * figure(whole))


def parameters(price: Price) -> float:
    """Weights at a byte each, as an int8 target counts them without compression."""
    return float(price.weight_bytes)


def multiply_adds(price: Price) -> float:
    """Multiply-adds."""
    return float(price.macs)


def everywhere(lab: Lab, value: str) -> Picks:
    """One value for the weights of every 1x1 convolution that it is offered for."""
    found = {choice.id: value for choice in _pointwise(lab) if value in _names(choice)}
    if not found:
        raise KeyError(value)
    return found


def allocated_zeros(lab: Lab, share: float) -> Picks:
    """Shares of zeros per 1x1 convolution that together are this share of all their weights."""
    names = [f"zeros_{percent}" for percent in (25, 40, 50, 60, 75)]
    choices = [c for c in (_only(choice, names) for choice in _pointwise(lab)) if c.values]
    sizes = {c.id: conv.weight.size for conv in lab.pointwise if (c := lab.weight_choice(conv))}
    amounts = {c.id: _left(c, sizes[c.id]) for c in choices}
    covered = sum(row["keep"] for row in amounts.values())
    whole = sum(conv.weight.size for conv in lab.pointwise)
    return lab.cheapest(listed(choices, amounts), parameters, covered - share * whole)


def _left(choice: Choice, size: int) -> dict[str, int]:
    """Weights that are not zero under each value."""
    left = {"keep": size}
    for value in choice.values:
        zeros = value.parameters["share_of_zeros"]
        assert isinstance(zeros, float)
        left[value.name] = round(size * (1 - zeros))
    return left


def _only(choice: Choice, names: Collection[str]) -> Choice:
    """The choice with the values of these names."""
    return Choice(choice.id, choice.kind, tuple(v for v in choice.values if v.name in names))


def _pointwise(lab: Lab) -> list[Choice]:
    found = [lab.weight_choice(conv) for conv in lab.pointwise]
    return [choice for choice in found if choice is not None and choice.kind == Kind.WEIGHTS]


def _names(choice: Choice) -> list[str]:
    return [value.name for value in choice.values]


def _fused(last: int, kl: float) -> Row:
    blocks = range(1, last + 1)
    return Row(
        f"fused_1_{last}",
        f"blocks 1 to {last} fused",
        Mark(kl=kl),
        partial(forms, blocks=blocks, value="fused"),
    )


def _shrunk(name: str, blocks: Sequence[int], agreement: float) -> Row:
    title = f"5x5 to 3x3 in blocks {', '.join(map(str, blocks))}"
    return Row(name, title, Mark(agreement=agreement), partial(forms, blocks=blocks, value="k3"))


def _fewer(name: str, title: str, share: float, figure: Callable[[Price], float], agreement: float) -> Row:
    return Row(name, title, Mark(agreement=agreement), partial(narrower, share=share, figure=figure))


def _even(name: str, title: str, value: str, agreement: float | None = None) -> Row:
    return Row(name, title, Mark(agreement=agreement), partial(everywhere, value=value))


ROWS = (
    _fused(2, 0.017),
    _fused(4, 0.046),
    _fused(5, 0.073),
    _fewer("params_10", "parameters -10%", 0.9, parameters, 0.944),
    _fewer("params_20", "parameters -20%", 0.8, parameters, 0.904),
    _fewer("macs_10", "MACs -10%", 0.9, multiply_adds, 0.937),
    _shrunk("k3_2", (9, 10), 0.973),
    _shrunk("k3_6", (8, 9, 10, 12, 13, 14), 0.90),
    Row(
        "zeros_50",
        "half of all 1x1 weights zero",
        Mark(agreement=0.88),
        partial(allocated_zeros, share=0.5),
    ),
    _even("zeros_50_even", "half of each 1x1 convolution's weights zero", "zeros_50", 0.88),
    _even("2of4", "2:4 zeros in all 1x1 convolutions", "zeros_2_of_4", 0.75),
    _even("cluster_32", "32 values per 1x1 convolution", "codebook_32"),
    _even("cluster_16", "16 values per 1x1 convolution", "codebook_16"),
)


def row_named(name: str) -> Row:
    """The row of that name. Raises KeyError where there is none."""
    return {row.name: row for row in ROWS}[name]
