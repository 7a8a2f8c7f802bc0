"""Amounts of work of a convolution on a vector processor that keeps channels in blocks.

Libraries such as MLAS, oneDNN or XNNPACK compute a tile at a time: a few neighbouring pixels of
one output row times a few blocks of output channels, all held in registers. What is left over at
the end of a row, and each pixel whose window reaches into the padding, is a tile of its own, for
which the weights are loaded as for a full one. So the cost of a layer follows from how its rows
are cut into tiles. Sizes of tiles: those of ONNX Runtime's AVX-512 kernels (6, 3 and 1 pixels,
4 blocks of channels; onnxruntime/core/mlas/lib, snchwc.cpp and x86_64/SconvKernel*).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from hwopt.cost.raw import ACTIVATIONS, Column
from hwopt.signature import KINDS
from hwopt.target import Target

Mask = npt.NDArray[np.bool_]

_TILES = (6, 3, 1)
_BLOCKS = 4  # of output channels in a tile
_LATENCY = 4.0  # cycles from one multiply-add into a register to the next
_PER_CYCLE = 2.0  # multiply-adds of vectors
_ALIGNED = 4  # channels that are no multiple of it are not blocked
_IN_REGISTER = ("", "relu")  # done while the tile is in registers; others go through the output again
_POINTWISE_DEPTH = 128  # input channels that a tile of a 1x1 convolution is summed over at a time


def lanes_of(target: Target) -> int:
    """Channels in a vector where the target's array is one (it unrolls output channels alone), else 0."""
    return target.array["out_channels"] if set(target.array) == {"out_channels"} else 0


def vector_amounts(rows: Mapping[str, Column], lanes: int) -> dict[str, Column]:
    """Amounts of work for each row of hwopt.cost.raw.table, in cycles or elements at a rate of one.

    vector: cycles of the arithmetic units. weight_loads: weights as often as tiles load them.
    sums: outputs as often as partial sums go through memory. tiles_of_one: cycles of tiles that are
    a single pixel. plain: multiply-adds of convolutions whose channels do not allow blocks, and
    patches: elements copied for them. passes: outputs of activations that take another pass.
    repacked: elements brought from blocks into another layout. All are 0 for other operators.
    """
    kind = rows["kind"].astype(int)
    is_kind = {word: kind == KINDS.index(word) for word in ("conv", "depthwise", "pointwise", "grouped")}
    depthwise = is_kind["depthwise"]
    convolution = np.logical_or.reduce(list(is_kind.values()))
    ci, co, taps = rows["ci"], rows["co"], np.maximum(rows["kh"] * rows["kw"], 1.0)
    groups = np.where(depthwise, ci, np.maximum(rows["group"], 1.0))
    depth = ci / np.maximum(groups, 1.0)
    narrow = (groups == 1) & (ci < lanes)  # reads plain pixels, one channel after the other
    blocked = convolution & _can_be_blocked(ci, co, groups, depthwise, narrow, lanes)
    plain = convolution & ~blocked
    flat_kernel = is_kind["pointwise"] & ~narrow
    depth = np.where(depthwise | narrow | plain, depth, np.ceil(depth / lanes) * lanes)
    at_once = np.where(flat_kernel, _POINTWISE_DEPTH, np.where(narrow, 1, lanes))
    rounds = np.where(depthwise, 1.0, np.ceil(depth / at_once))
    blocks = np.ceil(co / lanes)
    arithmetic, loads, single = _tiles(rows, flat_kernel, depthwise, blocks)
    slow = ~np.isin(rows["activation"], [float(ACTIVATIONS.index(word)) for word in _IN_REGISTER])
    return {
        "vector": blocked * arithmetic * depth,
        "weight_loads": blocked * loads * blocks * lanes * depth,
        "sums": blocked * rows["out_elements"] * rounds,
        "tiles_of_one": blocked * single * depth,
        "plain": plain * rows["macs"],
        "patches": plain * (taps > 1) * ci * taps * rows["ho"] * rows["wo"],
        "passes": convolution * slow * rows["out_elements"],
        "repacked": blocked * (co % lanes > 0) * rows["out_elements"],
    }


def _can_be_blocked(
    ci: Column, co: Column, groups: Column, depthwise: Mask, narrow: Mask, lanes: int
) -> Mask:
    grouped = (groups > 1) & ~depthwise
    whole_groups = ((ci / groups) % lanes == 0) & ((co / groups) % lanes == 0)
    dense = narrow | (ci % _ALIGNED == 0)
    fits = np.where(depthwise, co % _ALIGNED == 0, np.where(grouped, whole_groups, dense))
    return np.asarray(fits, np.bool_)


def _tiles(
    rows: Mapping[str, Column], flat_kernel: Mask, depthwise: Mask, blocks: Column
) -> tuple[Column, Column, Column]:
    """Per input channel: cycles of all tiles, how many tiles load weights, cycles of single pixels."""
    ho, wo, kw = rows["ho"], rows["wo"], np.maximum(rows["kw"], 1.0)
    left, right, edge = _edges(rows, "w", "left")
    top, bottom, _ = _edges(rows, "h", "top")
    one_line = flat_kernel & (rows["sh"] == 1) & (rows["sw"] == 1)
    inner = np.where(one_line, ho * wo, np.where(flat_kernel, wo, np.maximum(wo - edge, 0.0)))
    lines = np.where(
        one_line,
        1.0,
        np.where(flat_kernel, ho, np.maximum(ho * np.maximum(rows["kh"], 1.0) - top - bottom, 1.0)),
    )
    columns = np.where(flat_kernel, 1.0, kw)
    at_edges = np.where(flat_kernel, 0.0, np.maximum(edge * kw - left - right, 0.0))
    cycles, count, rest = np.zeros_like(ho), np.zeros_like(ho), inner
    for pixels in _TILES:
        tiles, rest = np.floor(rest / pixels), np.mod(rest, pixels)
        cycles += tiles * columns * _tile_cycles(pixels, blocks, depthwise)
        count += tiles * columns
        ones = tiles * columns + at_edges
    single = ones * _tile_cycles(1, blocks, depthwise)
    cycles += at_edges * _tile_cycles(1, blocks, depthwise)
    return lines * cycles, lines * (count + at_edges), lines * single


def _tile_cycles(pixels: int, blocks: Column, depthwise: Mask) -> Column:
    """Cycles of one tile for all blocks of output channels: arithmetic, or waiting for it."""
    whole, left = np.floor(blocks / _BLOCKS), np.mod(blocks, _BLOCKS)
    rest = np.where(left > 0, np.maximum(left * pixels / _PER_CYCLE, _LATENCY), 0.0)
    dense = whole * max(_BLOCKS * pixels / _PER_CYCLE, _LATENCY) + rest
    return np.asarray(np.where(depthwise, blocks * max(pixels / _PER_CYCLE, _LATENCY), dense))


def _edges(rows: Mapping[str, Column], axis: str, before: str) -> tuple[Column, Column, Column]:
    """Along one axis: taps that fall into the padding before and after, and how many outputs touch it."""
    stride = np.maximum(rows[f"s{axis}"], 1.0)
    size = rows[f"{axis}o"]
    first = np.maximum(rows[f"pad_{before}"], 0.0)
    reach = (size - 1) * stride + (rows[f"k{axis}"] - 1) * np.maximum(rows["dilation"], 1.0) + 1
    last = np.maximum(reach - first - rows[f"{axis}i"], 0.0)
    touched = np.minimum(np.ceil(first / stride), size)
    after = np.clip(np.ceil(last / stride), 0.0, size - touched)
    return _missing(first, stride), _missing(last, stride), touched + after


def _missing(pad: Column, stride: Column) -> Column:
    """Sum of pad, pad - stride, pad - 2 stride ... as long as they are positive."""
    count = np.ceil(pad / stride)
    return np.asarray(count * pad - stride * count * (count - 1) / 2)
