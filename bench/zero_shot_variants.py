"""Networks that values of our passes make of the shipped model: mild to harsh, and mixtures of them.

A recipe names values, not choices: `("hidden", "least")` is the narrowest width of every group of hidden
channels. Ids of choices come from the model, so that the list survives a re-export.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import onnx_ir as ir

from hwopt.choice import Choice, Kind, Risk
from hwopt.errors import RewriteFailed
from hwopt.find import canonicalise, find_choices
from hwopt.rewrite import chosen_values, rewrite
from hwopt.settings import settings
from hwopt.work import Work, open_work
from models.figures.evaluate import SHIPPED

HIDDEN: Final = range(100, 600)  # widths of hidden channels in the shipped model
STREAM: Final = range(20, 90)  # of the maps between blocks
HEAD: Final = range(600, 700)
RANDOM_VARIANTS: Final = 6
MOST_MACS: Final = 25e6  # of a mixture; the shipped model takes 80 million
TARGET: Final = "edge-npu"
SEED: Final = 5

Assignment = Mapping[str, str]
Pick = Callable[[Sequence[Choice]], dict[str, str]]


@dataclass(frozen=True)
class Variant:
    """A network by name, and the values that make it."""

    name: str
    assignment: Assignment


@dataclass(frozen=True)
class Lab:
    """The shipped model, opened for one target, with everything that any pass offers, whatever its risk."""

    work: Work
    base: ir.Model
    choices: Sequence[Choice]

    def written(self, variant: Variant) -> ir.Model:
        """The variant's structure; weights as the rewrite left them. Raises KeyError for a strange id."""
        if unknown := set(variant.assignment) - {choice.id for choice in self.choices}:
            raise KeyError(f"{variant.name}: the model has no choice {min(unknown)}")
        return rewrite(self.base, chosen_values(self.choices, variant.assignment))


def open_lab(calibration: Path | None = None) -> Lab:
    """calibration: images, needed to repair."""
    options = settings(allow_interface_change=True, max_drop=None if calibration is None else 0.03)
    work = open_work(SHIPPED, TARGET, options, calibration)
    base = canonicalise(work.model, work.passes, work.target).model
    return Lab(work, base, find_choices(base, work.passes, work.target, frozenset(Risk))[0])


def variants(lab: Lab) -> list[Variant]:
    """The list, in the order of training: the cheapest first."""
    found = [Variant(name, _joined(lab.choices, picks)) for name, picks in _RECIPES.items()]
    return sorted([*found, *_random(lab)], key=lambda variant: _macs(lab, variant))


def _model(name: str) -> Pick:
    return lambda choices: {c.id: name for c in choices if c.kind == Kind.MODEL}


def _input(name: str) -> Pick:
    return lambda choices: {c.id: name for c in choices if c.kind == Kind.INPUT}


def _form(name: str, blocks: Sequence[int]) -> Pick:
    """The blocks by their number in the model's table; those without the value are left out."""

    def pick(choices: Sequence[Choice]) -> dict[str, str]:
        forms = [c for c in choices if c.kind == Kind.FORM]
        numbers = [1, *range(3, 12)]  # block2 has no depthwise convolution
        return {
            c.id: name for number, c in zip(numbers, forms, strict=True)
            if number in blocks and any(v.name == name for v in c.values)
        }  # fmt: skip

    return pick


def _narrow(widths: range, first: int = 0, last: int = 99) -> Pick:
    """The least width of the groups that are that wide; of those, the first to the last."""

    def pick(choices: Sequence[Choice]) -> dict[str, str]:
        groups = [c for c in choices if c.kind == Kind.WIDTH and _old_width(c) in widths]
        return {c.id: _least(c) for c in groups[first:last]}

    return pick


def _old_width(choice: Choice) -> int:
    old = choice.values[0].parameters["from"]
    assert isinstance(old, int)
    return old


def _least(choice: Choice) -> str:
    return min(choice.values, key=lambda value: int(str(value.parameters["to"]))).name


def _joined(choices: Sequence[Choice], picks: Sequence[Pick]) -> dict[str, str]:
    return {choice: value for pick in picks for choice, value in pick(choices).items()}


def _random(lab: Lab) -> Iterator[Variant]:
    """Mixtures that can be written and trained: each choice kept or given one of its values."""
    dice, found = Random(SEED), 0
    while found < RANDOM_VARIANTS:
        whole = dice.random() < 0.5  # widths of all groups at once, or of single ones
        eager = dice.uniform(0.2, 0.9)
        picked = {
            c.id: dice.choice(changing).name
            for c in lab.choices
            if (c.kind == Kind.MODEL) <= whole and (c.kind == Kind.WIDTH) <= (not whole)
            if (changing := [v for v in c.values if v.risk != Risk.EXACT]) and dice.random() < eager
        }
        variant = Variant(f"mixture {found + 1}", picked)
        if _affordable(lab, variant):
            found += 1
            yield variant


def _affordable(lab: Lab, variant: Variant) -> bool:
    """Whether it can be written, and trained within half a minute."""
    try:
        return _macs(lab, variant) < MOST_MACS
    except RewriteFailed:
        return False


def _macs(lab: Lab, variant: Variant) -> int:
    return lab.work.assess(lab.written(variant)).macs


def parameters(model: ir.Model) -> int:
    """Numbers in floating-point constants."""
    tensors = [value.const_value for value in model.graph.initializers.values()]
    return sum(
        int(np.prod(t.shape.numpy())) for t in tensors if t is not None and t.dtype == ir.DataType.FLOAT
    )


_EARLY: Final = (3, 4, 5)
_KERNELS: Final = (4, 5, 6, 9)
_K3: Final = _form("k3", _KERNELS)
_RECIPES: Final[Mapping[str, Sequence[Pick]]] = {
    "r32": (_input("r32"),),
    "r32, x0.25": (_input("r32"), _model("x0.25")),
    "x0.35": (_model("x0.35"),),
    "r32, hidden": (_input("r32"), _narrow(HIDDEN)),
    "r40, x0.5": (_input("r40"), _model("x0.5")),
    "x0.25, fused_k3": (_model("x0.25"), _form("fused_k3", _KERNELS)),
    "r32, streams": (_input("r32"), _narrow(STREAM)),
    "r48, x0.25": (_input("r48"), _model("x0.25")),
    "r32, x0.5": (_input("r32"), _model("x0.5")),
    "x0.5, k3": (_model("x0.5"), _K3),
    "r32, hidden, streams, k3": (_input("r32"), _narrow(HIDDEN), _narrow(STREAM), _K3),
    "r40, x0.35": (_input("r40"), _model("x0.35")),
    "x0.25": (_model("x0.25"),),
    "r32, x0.75": (_input("r32"), _model("x0.75")),
    "r48, x0.35, fused all": (_input("r48"), _model("x0.35"), _form("fused", range(3, 12))),
    "r32, x0.35": (_input("r32"), _model("x0.35")),
    "r40, streams": (_input("r40"), _narrow(STREAM)),
    "x0.35, k3": (_model("x0.35"), _K3),
    "r32, k3": (_input("r32"), _K3),
    "r48, x0.5": (_input("r48"), _model("x0.5")),
    "r40, x0.25": (_input("r40"), _model("x0.25")),
    "r32, hidden late": (_input("r32"), _narrow(HIDDEN, 4)),
    "r32, x0.5, fused early": (_input("r32"), _model("x0.5"), _form("fused", _EARLY)),
    "x0.5": (_model("x0.5"),),
    "r32, hidden early, head": (_input("r32"), _narrow(HIDDEN, 0, 4), _narrow(HEAD)),
    "x0.25, k3": (_model("x0.25"), _K3),
    "r40, hidden, streams": (_input("r40"), _narrow(HIDDEN), _narrow(STREAM)),
    "r48, x0.35": (_input("r48"), _model("x0.35")),
}
