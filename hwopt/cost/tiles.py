"""Which tile of its output an operator is computed by, and what that makes it read again.

Accelerators compute an output tile by tile: a tile's partial sums fit the accumulators, and the
inputs that it needs fit a buffer. Of the tiles that fit, compilers take the one that fetches
least. The choice jumps with every dimension, so a model cannot guess it from shapes; searching
for it is cheap. How large the buffers are, no datasheet says in one way: a target's measurements
decide between usual sizes (see hwopt.cost.training).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwopt.cost.raw import Column
from hwopt.signature import KINDS
from hwopt.target import Target


@dataclass(frozen=True)
class Design:
    """How arrays of one line of accelerators hold tiles; sizes of buffers are per MAC of the array.

    largest: rows, columns and channels that no tile exceeds. buffers: pairs of partial sums and
    bytes of inputs; a tile has to fit one of them. alone: the same for operators that take channels
    one by one, where that differs. units: rows, columns
    and channels of the output that are computed at once, where the array can be arranged in several
    ways (the one that wastes least is taken); () for what target.toml says. taps: kernel taps that
    are computed at once where the array spends its input lanes on them; least: so many are computed
    for the rest of a kernel, 0 for all. sliced: the input buffer holds whole slices of channels, and
    the rows that come next; then operators that take channels one by one get tiles that cover the
    image, and as many channels as fit.
    """

    largest: tuple[int, int, int]
    buffers: tuple[tuple[float, float], ...]
    alone: tuple[tuple[float, float], ...] = ()
    units: tuple[tuple[int, int, int], ...] = ()
    taps: int = 4
    least: int = 0
    sliced: bool = False


DESIGNS: dict[str, Design] = {
    "shared": Design((32, 64, 128), ((8.0, 48.0), (16.0, 16.0))),
    "two-core": Design((32, 64, 128), ((4.0, 24.0), (8.0, 8.0)), (), ((2, 2, 8),)),
    "split": Design(
        (128, 128, 1024), ((8.0, 8.0),), ((16.0, 16.0),), ((2, 2, 32), (1, 4, 32), (2, 4, 16)), 5, 2, True
    ),
}
NAMES = (
    "tile_height", "tile_width", "tile_depth", "tiles", "tiled_macs", "tiled_inputs", "weight_passes",
    "tile_inputs", "by_taps", "depth_passes",
)  # fmt: skip

_REDUCING = ("conv", "grouped", "pointwise", "transposed", "gemm", "matmul")
_DEPTH_STEP = 16
_ASKEW = 0.3  # weight of proportions
_SMALL = 4  # rows and columns: tiles up to here are made as deep as they can be
_KEY = ("hi", "wi", "ci", "ho", "wo", "co", "kh", "kw", "sh", "sw", "dilation", "group")


@dataclass(frozen=True)
class _Unit:
    """What the array computes at once: rows, columns and channels of the output, channels of the input."""

    height: int
    width: int
    depth: int
    inputs: int


def tile_columns(rows: Mapping[str, Column], target: Target, design: str) -> dict[str, Column]:
    """One column per entry of NAMES; zeros without a design (one of DESIGNS, or "")."""
    count = len(rows["kind"])
    if not design or not count:
        return {name: np.zeros(count) for name in NAMES}
    reducing = np.isin(rows["kind"], [float(KINDS.index(kind)) for kind in _REDUCING])
    flags = (reducing, rows["weights"] > 0)
    keys = np.stack(
        [*(np.maximum(rows[name], 1.0) for name in _KEY), *(1.0 * flag for flag in flags)], axis=1
    )
    unique, inverse = np.unique(keys, axis=0, return_inverse=True)
    shapes = {name: unique[:, i] for i, name in enumerate((*_KEY, "reducing", "weighted"))}
    found = _search(shapes, target, DESIGNS[design])
    return {name: found[name][inverse.ravel()] for name in NAMES}


def _search(shapes: Mapping[str, Column], target: Target, design: Design) -> dict[str, Column]:
    """The best tile of every shape. Shapes with equally many steps up and across are searched together."""
    units = _units(shapes, target, design)
    result = {name: np.zeros(len(units)) for name in NAMES}
    up = np.ceil(np.minimum(shapes["ho"], design.largest[0]) / units[:, 0])
    across = np.ceil(np.minimum(shapes["wo"], design.largest[1]) / units[:, 1])
    keys = np.column_stack([units, up, across]).astype(np.int64)
    alike, member = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(member.ravel(), kind="stable")
    for key, group in zip(alike, np.split(order, np.cumsum(np.bincount(member.ravel()))[:-1]), strict=True):
        unit = _Unit(int(key[0]), int(key[1]), int(key[2]), target.array.get("in_channels", 8))
        room = (
            max(sums for sums, _ in (*design.buffers, *design.alone))
            * target.macs_per_cycle
            / min(unit.depth, 8)
        )
        heights, widths = unit.height * np.arange(1, key[3] + 1), unit.width * np.arange(1, key[4] + 1)
        grid = np.stack(np.meshgrid(heights, widths, indexing="ij")).reshape(2, 1, -1).astype(np.float64)
        grid = grid[:, :, grid[0, 0] * grid[1, 0] <= max(room, unit.height * unit.width)]
        own = {name: column[group, None] for name, column in shapes.items()}
        for name, column in _best(own, grid[0], grid[1], unit, target, design).items():
            result[name][group] = column
    return result


def _units(shapes: Mapping[str, Column], target: Target, design: Design) -> Column:
    """What is computed at once, [shapes, 3]; the last arrangement is that of channel-wise operators."""
    array = target.array
    plain = (array.get("out_height", 1), array.get("out_width", 1), array.get("out_channels", 8))
    choices = design.units or (plain,)
    volumes = [_up(shapes["ho"], h) * _up(shapes["wo"], w) * _up(shapes["co"], c) for h, w, c in choices]
    chosen = np.where(shapes["reducing"] > 0, np.argmin(np.stack(volumes), axis=0), len(choices) - 1)
    return np.array(choices)[chosen]


def _best(
    s: Mapping[str, Column], height: Column, width: Column, unit: _Unit, target: Target, design: Design
) -> dict[str, Column]:
    """The tile that fetches least, of all heights and widths, each at the depth that suits it best."""
    taps, own_inputs = s["kh"] * s["kw"], np.maximum(s["ci"] / s["group"], 1.0)
    reducing = s["reducing"] > 0
    spent = _taps(taps, design)
    by_taps = _use(own_inputs, unit.inputs) * taps / spent >= _use(own_inputs, 4 * unit.inputs)
    by_taps = by_taps & reducing
    slice_ = np.where(by_taps, 16.0, 4.0 * unit.inputs)
    in_height = (height - 1) * s["sh"] + (s["kh"] - 1) * s["dilation"] + 1
    in_width = (width - 1) * s["sw"] + (s["kw"] - 1) * s["dilation"] + 1
    if design.sliced:  # inputs are laid out by the slice
        wide = by_taps | ~reducing
        in_height = np.where(wide, _up(in_height, 2), in_height)
        in_width = np.where(wide, _up(in_width, 4), _up(in_width, 2))
    else:
        slice_ = np.minimum(_up(own_inputs, unit.inputs), slice_)
        in_height, in_width = _up(in_height, unit.height), _up(in_width, unit.width)
    small = (height <= _SMALL) & (width <= _SMALL)
    covering = (height >= s["ho"]) & (width >= s["wo"])
    alone = ~reducing & design.sliced
    deep = small | alone
    bytes_ = in_height * in_width * target.element_bytes
    ahead = _up((unit.height - 1) * s["sh"] + (s["kh"] - 1) * s["dilation"] + 1, unit.height) * in_width
    largest = max((inputs for _, inputs in design.alone), default=0.0) * target.macs_per_cycle
    once = covering & (bytes_ * _up(s["co"], _DEPTH_STEP) <= largest)
    bytes_ = bytes_ + np.where(alone & ~once, ahead * target.element_bytes, 0.0)
    depth = _depth(s, height * width, bytes_, slice_, deep, unit, target, design)
    passes = np.ceil(s["co"] / np.maximum(depth, 1.0))
    blocks = np.ceil(s["ho"] / height) * np.ceil(s["wo"] / width)
    fetched = in_height * in_width * s["ci"] * (s["ho"] / height) * (s["wo"] / width)
    fetched = fetched * np.where(reducing, passes, 1.0)
    whole = s["hi"] * s["wi"] * s["ci"] < 2 * in_height * in_width * np.where(reducing, slice_, depth)
    weights = taps * own_inputs * s["co"] * s["weighted"]
    cost = (fetched + weights * blocks) * np.where(whole, 0.5, 1.0)
    cost = cost * (1.0 + 1e-6 * np.where(small, -height * width, 0.01 * depth))  # of equal ones
    cost = np.where(alone, _uncovered(s, height, width, depth, unit), cost)
    chosen = np.argmin(np.where(depth > 0, cost, np.inf), axis=1)[:, None]

    def take(column: Column) -> Column:
        return np.asarray(np.take_along_axis(np.broadcast_to(column, cost.shape), chosen, 1)[:, 0])

    h, w, d = take(height), take(width), take(depth)
    flat = {name: column[:, 0] for name, column in s.items()}
    count = _count(flat["ho"], h) * _count(flat["wo"], w) * _count(flat["co"], np.maximum(d, 1.0))
    inner = np.where(
        reducing,
        np.where(by_taps, spent * _up(own_inputs, unit.inputs), taps * _up(own_inputs, 4 * unit.inputs)),
        _up(taps, 4) * unit.inputs,
    )[:, 0]
    area = _up(np.minimum(h, flat["ho"]), unit.height) * _up(np.minimum(w, flat["wo"]), unit.width)
    per_tile = area * _up(np.minimum(np.maximum(d, 1.0), flat["co"]), unit.depth) * inner
    touched = np.minimum(take(in_height), flat["hi"]) * np.minimum(take(in_width), flat["wi"])
    return {
        "tile_height": h,
        "tile_width": w,
        "tile_depth": d,
        "tiles": count,
        "tiled_macs": per_tile * count,
        "tiled_inputs": touched
        * _up(flat["ci"], 16)
        * take(blocks)
        * np.where(reducing[:, 0], take(passes), 1.0),
        "weight_passes": take(blocks),
        "tile_inputs": touched * np.where(reducing[:, 0], slice_[:, 0], d),
        "by_taps": by_taps[:, 0].astype(np.float64),
        "depth_passes": take(passes),
    }


def _uncovered(s: Mapping[str, Column], height: Column, width: Column, depth: Column, unit: _Unit) -> Column:
    """How far a tile is from the whole image, then from all channels, then from the image's proportions."""
    tall, wide = _up(s["ho"], unit.height), _up(s["wo"], unit.width)
    coverage = 1.0 + np.abs(1.0 - tall * wide / (height * width))
    channels = 1.0 + np.abs(1.0 - _up(s["co"], _DEPTH_STEP) / np.maximum(depth, 1.0)) / 10.0
    return np.asarray(coverage * channels * (1.0 + _ASKEW * np.abs(np.log(height / width * wide / tall))))


def _depth(
    s: Mapping[str, Column],
    area: Column,
    in_bytes: Column,
    slice_: Column,
    deep: npt.NDArray[np.bool_],
    unit: _Unit,
    target: Target,
    design: Design,
) -> Column:
    """Channels of each tile; 0 where no tile fits.

    Where channels of the input are read anew for every pass over those of the output: the
    smallest depth with the fewest passes. Where they are not: the smallest, or the one from
    which on the input is read once. Small tiles are as deep as they can be.
    """
    reducing = s["reducing"] > 0
    step = max(unit.depth, _DEPTH_STEP)
    deepest = np.zeros(np.broadcast_shapes(area.shape, in_bytes.shape))
    for i, pairs in enumerate((design.buffers, design.alone or design.buffers)):
        for sums, inputs in pairs:
            room, bytes_ = sums * target.macs_per_cycle, inputs * target.macs_per_cycle
            fits = np.where(in_bytes * slice_ <= bytes_, np.inf, 0.0) if i == 0 else bytes_ // in_bytes
            own = reducing if i == 0 else ~reducing
            deepest = np.maximum(deepest, np.where(own, np.minimum(room // area, fits), 0.0))
    deepest = np.minimum(deepest, design.largest[2]) // 8 * 8
    enough = _up(s["co"], unit.depth)
    deepest = np.where(deepest >= enough, enough, deepest // step * step)
    passes = np.ceil(s["co"] / np.maximum(deepest, 1.0))
    fewest = np.where(passes > 1, _up(s["co"] / passes, step), deepest)
    whole = _up(s["hi"] * s["wi"] * s["ci"] * target.element_bytes / (2 * in_bytes) + 1e-6, _DEPTH_STEP)
    least = np.where(whole <= deepest, whole, np.minimum(_DEPTH_STEP, deepest))
    found = np.where(deep, deepest, np.where(reducing, fewest, least))
    return np.where(deepest > 0, np.minimum(found, deepest), 0.0)


def _taps(taps: Column, design: Design) -> Column:
    """Taps with those that are computed in vain at the end of a kernel."""
    if not design.least:
        return _up(taps, design.taps)
    rest = np.mod(taps, design.taps)
    return np.asarray(taps - rest + np.maximum(rest, design.least))


def _count(size: Column, tile: Column) -> Column:
    return np.maximum(size / tile, 1.0)


def _use(size: Column, lanes: int) -> Column:
    return np.asarray(size / _up(size, lanes))


def _up(size: Column, multiple: int) -> Column:
    return np.asarray(np.ceil(np.maximum(size, 1.0) / multiple) * multiple)
