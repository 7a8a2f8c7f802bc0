"""How rows are cut into tiles, counted one tile at a time; and when channels can be blocked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest

from hwopt.cost.raw import table
from hwopt.cost.vector import lanes_of, vector_amounts
from hwopt.partition import partition
from hwopt.shapes import infer_shapes
from hwopt.target import read_target

CPU = read_target(Path(__file__).parents[2] / "targets" / "cpu")


def amounts(
    ci: int, co: int, size: int, k: int, stride: int = 1, group: int = 1, act: str = ""
) -> dict[str, float]:
    pad, out = k // 2, (size + 2 * (k // 2) - k) // stride + 1
    attributes = f"kernel_shape=[{k},{k}], pads=[{pad},{pad},{pad},{pad}], strides=[{stride},{stride}]"
    text = f"""<ir_version: 8, opset_import: ["" : 13]>
    g (float[1,{ci},{size},{size}] x) => (float[1,{co},{out},{out}] y)
      <float[{co},{ci // group},{k},{k}] w = {{{",".join(["1"] * (co * ci // group * k * k))}}}> {{
      {"y" if not act else "c"} = Conv<{attributes}, group={group}>(x, w)
      {f"y = {act}(c)" if act else ""}
    }}"""
    model = ir.from_onnx_text(text)
    (found,) = partition(model, infer_shapes(model, {}), CPU).subgraphs
    return {name: float(column[0]) for name, column in vector_amounts(table([found.signature]), 16).items()}


def counted(ci: int, co: int, size: int, k: int, stride: int) -> float:
    """Cycles of all tiles of a dense convolution with padding k // 2, walked through one by one."""
    pad, out = k // 2, (size + 2 * (k // 2) - k) // stride + 1
    cycles = 0.0
    for row in range(out):
        rows = sum(0 <= row * stride - pad + i < size for i in range(k))
        valid = [sum(0 <= col * stride - pad + i < size for i in range(k)) for col in range(out)]
        inner = sum(v == k for v in valid)
        tiles = [(6, k)] * (inner // 6) + [(3, k)] * (inner % 6 // 3) + [(1, k)] * (inner % 3)
        tiles += [(1, v) for v in valid if v < k]
        for block in range(0, -(-co // 16), 4):
            blocks = min(4, -(-co // 16) - block)
            cycles += sum(max(pixels * blocks / 2, 4) * taps for pixels, taps in tiles) * rows
    return cycles * -(-ci // 16) * 16


@pytest.mark.parametrize(
    ("ci", "co", "size", "k", "stride"),
    [(16, 64, 14, 3, 1), (24, 40, 13, 5, 1), (32, 96, 17, 3, 2), (16, 80, 7, 7, 2), (20, 16, 5, 5, 1)],
)
def test_cycles_are_those_of_the_tiles_counted_one_by_one(
    ci: int, co: int, size: int, k: int, stride: int
) -> None:
    assert amounts(ci, co, size, k, stride)["vector"] == counted(ci, co, size, k, stride)


def test_a_pointwise_convolution_takes_the_image_as_one_row() -> None:
    """7 x 7 pixels: 8 tiles of six and one of one, for 64 outputs of 32 inputs."""
    found = amounts(32, 64, 7, 1)
    assert found["vector"] == (8 * 12 + 4) * 32
    assert found["tiles_of_one"] == 4 * 32
    assert found["weight_loads"] == 9 * 64 * 32
    assert amounts(256, 16, 4, 1)["sums"] == 2 * 16 * 16


def test_a_depthwise_convolution_has_no_depth() -> None:
    """One row of 6 inner pixels and two at the edges; windows at the border have fewer taps."""
    found = amounts(32, 32, 8, 3, group=32)
    taps_of_rows = 8 * 3 - 2
    assert found["vector"] == 2 * taps_of_rows * (3 * 4 + 2 * 2 * 4)


@pytest.mark.parametrize(
    ("ci", "co", "group", "blocked"),
    [(18, 32, 1, False), (20, 30, 1, True), (3, 18, 1, True), (18, 18, 18, False), (24, 24, 24, True),
     (64, 64, 4, True), (64, 64, 8, False)],
)  # fmt: skip
def test_channels_that_do_not_fit_blocks_are_computed_plainly(
    ci: int, co: int, group: int, blocked: bool
) -> None:
    found = amounts(ci, co, 6, 3, group=group)
    assert (found["vector"] > 0) == blocked
    assert (found["plain"] > 0) != blocked
    assert found["patches"] == (0 if blocked else ci * 9 * 36)


def test_activations_that_do_not_fit_into_registers_take_another_pass() -> None:
    assert amounts(16, 16, 4, 1, act="Relu")["passes"] == 0
    assert amounts(16, 16, 4, 1, act="Sigmoid")["passes"] == 16 * 16


def test_only_an_array_of_output_channels_is_a_vector() -> None:
    assert lanes_of(CPU) == 16
    assert lanes_of(replace(CPU, array={"out_channels": 8, "in_channels": 8})) == 0
