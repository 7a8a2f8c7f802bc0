"""How a target's signatures are looked at: decided once per fit, by its measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hwopt.cost.dataset import Sample
from hwopt.cost.features import View
from hwopt.cost.rates import Rates, fit_rates, log_base
from hwopt.cost.raw import Column, table
from hwopt.cost.roofline import roofline
from hwopt.cost.stream import fit_stream, stored
from hwopt.cost.tiles import DESIGNS, tile_columns
from hwopt.signature import GRAPH_INPUT, GRAPH_OUTPUT
from hwopt.target import Target

_TRIED_ROWS = 4000  # of which designs are told apart
_CLEARLY = 0.8  # between operators data stays on chip, unless measurements clearly say otherwise
_BETTER = 0.98  # share of the error that a design has to leave at most, or none is assumed


def choose_view(rows: Sequence[Sample], target: Target) -> View:
    """The roofline and the tiles that leave least to explain, with fitted rates; rows took time."""
    numbers = table([row.signature for row in rows])
    stream = fit_stream(numbers, np.array([row.weight_bytes for row in rows], np.float64), target)
    numbers["stored"] = stored(numbers, target, stream)
    log_cycles = np.log([row.latency_us * target.clock_mhz for row in rows])
    left = [_spread(log_cycles - np.log(roofline(numbers, target, s).cycles)) for s in (False, True)]
    streamed = left[1] < _CLEARLY * left[0]
    tiling = _tiling(numbers, log_cycles, target, streamed)
    numbers |= tile_columns(numbers, target, tiling)
    rates = fit_rates(numbers, roofline(numbers, target, streamed), target, log_cycles)
    return View(streamed, _has_context(rows), rates, stream, tiling)


def _spread(errors: Column) -> float:
    return float(np.abs(errors - np.median(errors)).mean())


def _has_context(rows: Sequence[Sample]) -> bool:
    """Whether most rows were measured between neighbours rather than alone."""
    ends = (GRAPH_INPUT, GRAPH_OUTPUT)
    alone = sum(set(row.signature.producers + row.signature.consumers) <= set(ends) for row in rows)
    return alone < len(rows) / 2


def _tiling(numbers: Mapping[str, Column], log_cycles: Column, target: Target, streamed: bool) -> str:
    """The design whose tiles explain a part of the rows best; "" where none does."""
    if "in_channels" not in target.array:
        return ""
    chosen = np.random.default_rng(0).permutation(len(log_cycles))[:_TRIED_ROWS]
    own = {name: column[chosen] for name, column in numbers.items()}
    bounds = roofline(own, target, streamed)
    errors = {}
    for design in ("", *DESIGNS):
        rows = {**own, **tile_columns(own, target, design)}
        rates: Rates = fit_rates(rows, bounds, target, log_cycles[chosen])
        errors[design] = float(np.abs(log_cycles[chosen] - log_base(rows, bounds, target, rates)).mean())
    best = min(DESIGNS, key=errors.__getitem__)
    return best if errors[best] < _BETTER * errors[""] else ""
