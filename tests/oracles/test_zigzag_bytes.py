"""Operators priced by the bytes they move: counted by hand on small descriptions."""

from __future__ import annotations

from typing import Any

import pytest

from hwopt.oracles.zigzag_bytes import Transfer, move, transfer_of
from hwopt.shapes import infer_shapes
from tests.graphs import Weights, model_of


def port(kind: str, bits: int, *allocation: str) -> dict[str, Any]:
    return {"type": kind, "bandwidth_min": bits, "bandwidth_max": bits, "allocation": list(allocation)}


SRAM = {
    "size": 8 * 1000,
    "operands": ["I1", "O"],
    "served_dimensions": ["D1"],
    "ports": [
        port("read", 80, "I1, tl", "O, tl", "O, th"),
        port("write", 40, "I1, fh", "O, fh", "O, fl"),
    ],
}
REGISTER = {
    "size": 8,
    "operands": ["O"],
    "served_dimensions": [],
    "ports": [port("read_write", 8, "O, tl", "O, fl")],
}


def accelerator(dram: list[dict[str, Any]]) -> dict[str, Any]:
    outer = {"size": 10**9, "operands": ["I1", "I2", "O"], "served_dimensions": ["D1"], "ports": dram}
    array = {"dimensions": ["D1"], "sizes": [8]}
    return {"operational_array": array, "memories": {"reg": REGISTER, "sram": SRAM, "dram": outer}}


SHARED = accelerator([port("read_write", 16, "I1, fh", "I1, tl", "O, fl", "O, th")])
FAST = accelerator([port("read_write", 8000, "I1, fh", "I1, tl", "O, fl", "O, th")])
APART = accelerator([port("read", 16, "I1, tl"), port("write", 16, "O, fl")])


@pytest.mark.parametrize(
    ("described", "cycles", "bound"),
    [
        (SHARED, (400 + 200) / 2, "off_chip"),  # one port of 2 bytes a cycle for both
        (APART, max(400, 200) / 2, "off_chip"),  # a port each: the longer one decides
        (FAST, (400 + 200) / 5, "on_chip"),  # the write port takes inputs in and results: 5 bytes a cycle
    ],
)
def test_the_busiest_port_decides(described: dict[str, Any], cycles: float, bound: str) -> None:
    moved = move(Transfer(400, 200), described, stay=False)
    assert (moved.cycles, moved.bound, moved.off_chip_bytes) == (cycles, bound, 600)


def test_data_that_stay_on_chip_meet_no_outer_port() -> None:
    moved = move(Transfer(400, 200), SHARED, stay=True)
    # Read for the operator at 10 bytes a cycle, written by it at 5: no way in or out.
    assert (moved.cycles, moved.bound, moved.off_chip_bytes) == (max(400 / 10, 200 / 5), "on_chip", 0)
    assert move(Transfer(900, 200), SHARED, stay=True) == move(Transfer(900, 200), SHARED, stay=False)


def transfer(line: str, x: str, y: str, weights: Weights | None = None, size: int = 1) -> Transfer | None:
    text = f'<ir_version: 8, opset_import: ["" : 13]> g (float[{x}] x) => (float[{y}] y) {{ {line} }}'
    model = model_of(text, weights or {})
    node = next(node for node in model.graph if node.outputs[0].name == "y")
    inputs = [value for value in node.inputs if value is not None and value.const_value is None]
    return transfer_of(node, inputs, list(node.outputs), infer_shapes(model, {}), size)


@pytest.mark.parametrize(
    ("line", "x", "y", "weights", "expected"),
    [
        ("y = Sigmoid(x)", "1,8,4,4", "1,8,4,4", {}, Transfer(128, 128)),
        ("y = Mul(x, w)", "1,8,4,4", "1,8,4,4", {"w": (1, 8, 1, 1)}, Transfer(136, 128)),
        ("y = Concat<axis=1>(x, x)", "1,8,4,4", "1,16,4,4", {}, Transfer(256, 256)),
        ("y = Transpose<perm=[0,2,3,1]>(x)", "1,8,4,2", "1,4,2,8", {}, Transfer(64, 64)),
        ("y = Softmax(x)", "1,100", "1,100", {}, Transfer(100, 100)),
        ("y = ReduceMean<axes=[1]>(x)", "1,8,4,4", "1,1,4,4", {}, Transfer(128, 16)),
    ],
)
def test_every_input_is_read_and_every_result_written(
    line: str, x: str, y: str, weights: Weights, expected: Transfer
) -> None:
    assert transfer(line, x, y, weights) == expected
    assert transfer(line, x, y, weights, size=2) == Transfer(2 * expected.inputs, 2 * expected.outputs)


def test_a_slice_reads_what_it_keeps() -> None:
    line = """s = Constant<value_ints=[2]>()
    e = Constant<value_ints=[4]>()
    a = Constant<value_ints=[1]>()
    y = Slice(x, s, e, a)"""
    text = f'<ir_version: 8, opset_import: ["" : 13]> g (float[1,8,4,4] x) => (float[1,2,4,4] y) {{ {line} }}'
    model = model_of(text, {})
    node = next(node for node in model.graph if node.op_type == "Slice")
    assert transfer_of(node, list(model.graph.inputs), node.outputs, infer_shapes(model, {}), 1) == Transfer(
        32, 32
    )


@pytest.mark.parametrize("line", ["y = Conv(x, w)", "y = Identity(x)"])
def test_what_computes_and_what_is_a_view_moves_nothing(line: str) -> None:
    assert transfer(line, "1,8,4,4", "1,8,4,4", {"w": (8, 8, 1, 1)}) is None
