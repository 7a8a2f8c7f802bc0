"""Features of fused operator groups, built as whole columns: tens of thousands of rows a second.

What helps, in this order (measured on Vela): totals, padded dimensions, bounds, and leaving to
the model only the residual to the roofline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import xgboost

from hwopt.cost.rates import Rates, log_amounts, log_base
from hwopt.cost.raw import ACTIVATIONS, NEIGHBOURS, OPS, PATTERNS, Column, table
from hwopt.cost.roofline import Bounds, padded_macs, roofline, stored_weights
from hwopt.cost.stream import stored
from hwopt.cost.tiles import NAMES as TILES
from hwopt.cost.tiles import tile_columns
from hwopt.signature import KINDS, Signature
from hwopt.target import Target

FEATURE_VERSION = 2  # raise it with every change to what a column means

Matrix = npt.NDArray[np.float32]

_LANES = (4, 8, 16, 32, 64)
_DIMENSIONS = ("ci", "co", "ho", "wo")
_COUNTS = (
    "ci", "hi", "wi", "co", "ho", "wo", "inputs", "outputs", "kh", "kw", "sh", "sw",
    "pad_top", "pad_left", "pad_bottom", "pad_right", "dilation", "zeros", "distinct", "consumers", "shared",
    "mode",
)  # fmt: skip
_CONTEXT = ("producer", "producer2", "consumer", "consumer2", "consumers", "shared")
_LOGARITHMS = ("macs", "weights", "encoded", "in_elements", "in_second", "out_elements", "group")


@dataclass(frozen=True)
class View:
    """How signatures are looked at; decided once per target, by its measurements.

    streamed: activations go through the outermost memory between operators (see roofline).
    context: neighbours are features. Not so where the oracle measured operators one by one: then
        most rows have none, and a model would take their absence for a cause.
    rates: see hwopt.cost.rates. stream: see hwopt.cost.stream. tiling: a design of hwopt.cost.tiles.
    """

    streamed: bool = False
    context: bool = True
    rates: Rates = field(default_factory=dict)
    stream: xgboost.Booster | None = None
    tiling: str = ""


DEFAULT_VIEW = View()


def features(
    signatures: Sequence[Signature], target: Target, view: View = DEFAULT_VIEW
) -> tuple[Matrix, Column]:
    """The feature matrix [signatures, features], and the log cycles that a model starts from."""
    return features_of(table(signatures), target, view)


def features_of(
    rows: Mapping[str, Column], target: Target, view: View = DEFAULT_VIEW
) -> tuple[Matrix, Column]:
    """The features of rows of hwopt.cost.raw.table."""
    if not view.context:
        rows = {**rows, **{name: np.zeros_like(rows[name]) for name in _CONTEXT}}
    rows = {**rows, "stored": stored(rows, target, view.stream), **tile_columns(rows, target, view.tiling)}
    bounds = roofline(rows, target, view.streamed)
    base = log_base(rows, bounds, target, view.rates)
    columns = {
        **_words(rows),
        **{name: rows[name] for name in _COUNTS},
        **{f"log_{name}": _log(rows[name]) for name in _LOGARITHMS},
        **_padding(rows),
        **_times(rows, bounds, target),
        **_traffic(rows, target),
        **_tiles(rows, target),
        **_shares(rows, bounds, target, base),
    }
    return np.column_stack(list(columns.values())).astype(np.float32), base


def feature_names(target: Target) -> list[str]:
    """Names of the columns of `features`, in order."""
    empty = {**table([]), **{name: np.zeros(0) for name in ("stored", *TILES)}}
    bounds = roofline(empty, target)
    counts = [*_COUNTS, *(f"log_{name}" for name in _LOGARITHMS)]
    rest = [*_padding(empty), *_times(empty, bounds, target), *_traffic(empty, target)]
    rest += _tiles(empty, target)
    rest += _shares(empty, bounds, target, np.zeros(0))
    return [*_words(empty), *counts, *rest]


def _log(column: Column) -> Column:
    return np.log1p(column)


def _one_hot(name: str, column: Column, words: Sequence[str], start: int) -> dict[str, Column]:
    return {f"{name}={word}": (column == i + start).astype(np.float64) for i, word in enumerate(words)}


def _words(rows: Mapping[str, Column]) -> dict[str, Column]:
    """Kinds, activations and neighbours, one column per word."""
    columns = _one_hot("kind", rows["kind"], KINDS, 0)
    columns |= _one_hot("op", rows["op"], OPS, 1)
    columns |= _one_hot("activation", rows["activation"], ACTIVATIONS, 0)
    columns |= _one_hot("pattern", rows["pattern"], PATTERNS, 1)
    for side in ("producer", "consumer"):
        for i, word in enumerate(NEIGHBOURS):
            found = (rows[side] == i + 1) | (rows[f"{side}2"] == i + 1)
            columns[f"{side}={word}"] = found.astype(np.float64)
    return columns


def _padding(rows: Mapping[str, Column]) -> dict[str, Column]:
    """What is left over, and how full the lanes are, when dimensions are cut into 4 to 64."""
    columns = {}
    for name in _DIMENSIONS:
        size = np.maximum(rows[name], 1.0)
        for lanes in _LANES:
            columns[f"{name}%{lanes}"] = np.mod(size, lanes)
            columns[f"{name}/{lanes}"] = size / (np.ceil(size / lanes) * lanes)
    return columns


def _times(rows: Mapping[str, Column], bounds: Bounds, target: Target) -> dict[str, Column]:
    """Logarithms of the bounds, and which of them is how close to the largest."""
    plain = rows["macs"] / target.macs_per_cycle
    return {
        "log_mac_cycles": _log(bounds.mac),
        "log_plain_mac_cycles": _log(plain),
        "array_use": np.divide(plain, bounds.mac, out=np.ones_like(plain), where=bounds.mac > 0),
        "log_on_chip_cycles": _log(bounds.on_chip),
        "log_off_chip_cycles": _log(bounds.off_chip),
        "log_cycles": np.log(bounds.cycles),
        "mac_share": bounds.mac / bounds.cycles,
        "on_chip_share": bounds.on_chip / bounds.cycles,
        "off_chip_share": bounds.off_chip / bounds.cycles,
        "sum_share": (bounds.mac + bounds.on_chip + bounds.off_chip) / bounds.cycles,
    }


def _traffic(rows: Mapping[str, Column], target: Target) -> dict[str, Column]:
    """How much would have to be read again if only a part of the output fitted at a time."""
    pixels = rows["ho"] * rows["wo"]
    inputs = rows["in_elements"] * target.element_bytes
    weights = stored_weights(rows, target)
    capacity = target.memories[0].bytes
    return {
        "bits_per_weight": np.divide(
            8.0 * rows["encoded"], rows["weights"], out=np.zeros_like(pixels), where=rows["weights"] > 0
        ),
        "macs_per_output": _log(rows["macs"] / np.maximum(rows["out_elements"], 1.0)),
        "intensity": _log(rows["macs"] / np.maximum(inputs + weights, 1.0)),
        "fullness": (inputs + rows["out_elements"] * target.element_bytes) / capacity,
        **{f"reread_input/{n}": _log(inputs * np.ceil(rows["co"] / n)) for n in (16, 32, 64)},
        **{f"reread_weights/{n}": _log(weights * np.ceil(pixels / n)) for n in (64, 256, 1024)},
        "in_row": _log(rows["ci"] * rows["wi"]),
        "out_row": _log(rows["co"] * rows["wo"]),
        "pixels": _log(pixels),
        "taps": rows["kh"] * rows["kw"],
        "padded_share": _log(padded_macs(rows, target) / np.maximum(rows["macs"], 1.0)),
    }


def _tiles(rows: Mapping[str, Column], target: Target) -> dict[str, Column]:
    """The tile that the output is computed by, and the cycles of its parts."""
    outputs = np.ceil(rows["co"] / 16.0) * 16.0 * rows["ho"] * rows["wo"]
    moved = (rows["tiled_inputs"] + outputs) * target.element_bytes / target.memories[0].bytes_per_cycle
    macs = rows["tiled_macs"] / target.macs_per_cycle
    return {
        **{
            name: rows[name]
            for name in ("tile_height", "tile_width", "tile_depth", "by_taps", "depth_passes")
        },
        **{
            f"log_{name}": _log(rows[name])
            for name in ("tiles", "tiled_inputs", "weight_passes", "tile_inputs")
        },
        "log_tiled_cycles": _log(macs),
        "log_tile_cycles": _log(macs / np.maximum(rows["tiles"], 1.0)),
        "log_tiled_moves": _log(moved),
        "moves_to_macs": _log(moved) - _log(macs),
        "stored_to_macs": _log(rows["stored"]) - _log(macs),
        "stored_to_inputs": _log(rows["stored"]) - _log(rows["in_elements"]),
    }


def _shares(rows: Mapping[str, Column], bounds: Bounds, target: Target, base: Column) -> dict[str, Column]:
    """Which amounts of work are how close to what the model starts from, which itself is one."""
    amounts = log_amounts(rows, bounds, target)
    return {"base": base, **{f"share_{name}": amount - base for name, amount in amounts.items()}}
