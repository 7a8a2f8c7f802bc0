"""Constant expressions out of a hostile file: nothing is computed that grows beyond what it is made of."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.canonical.engine import canonicalise
from hwopt.canonical.growth import largest_result, most_bytes, room
from hwopt.nodes import Array
from tests.graphs import model_of

_BOMBS = {
    "ConstantOfShape": "k = ConstantOfShape(wide)",
    "Expand": "k = Expand(one, wide)",
    "Tile": "k = Tile(square, wide)",
    "Range": "k = Range(none, billion, step)",
    "broadcast": "k = Add(column, row)",
    "Gather": "k = Gather(rows, where)",
    "Concat": "k = Concat<axis=0>(" + ", ".join(["row"] * 500) + ")",
}


def _bomb(line: str) -> ir.Model:
    text = f"""
    <ir_version: 8, opset_import: ["" : 13]>
    bomb (float[1] x) => (float[M,N] y) {{
      {line}
      y = Add(x, k)
    }}"""
    model = model_of(text, {})
    for name, array in {
        "wide": np.array([60000, 60000]), "one": np.ones((1, 1), np.float32),
        "square": np.ones((4, 4), np.float32), "none": np.float32(0), "billion": np.float32(1e7),
        "step": np.float32(1), "column": np.ones((60000, 1), np.float32),
        "row": np.ones((1, 60000), np.float32), "rows": np.ones((64, 4096), np.float32),
        "where": np.zeros(200_000, np.int64),
    }.items():  # fmt: skip
        if name in line:
            model.graph.register_initializer(
                ir.Value(name=name, const_value=ir.tensor(np.asarray(array), name=name))
            )
            reader = [
                node for node in model.graph if any(v is not None and v.name == name for v in node.inputs)
            ]
            for node in reader:
                for index, value in enumerate(node.inputs):
                    if value is not None and value.name == name:
                        node.replace_input_with(index, model.graph.initializers[name])
    return model


@pytest.mark.parametrize("line", _BOMBS.values(), ids=_BOMBS)
def test_a_constant_expression_that_would_fill_the_memory_is_left_alone(line: str) -> None:
    model = _bomb(line)
    tracemalloc.start()
    canonicalise(model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32e6
    assert [node.op_type for node in model.graph][-1] == "Add"
    assert len(model.graph) == 2


def test_the_ways_through_a_chain_of_sums_are_not_counted_one_by_one() -> None:
    lines = "\n".join(f"k{n + 1} = Add(k{n}, k{n})" for n in range(60))
    model = model_of(
        f"""<ir_version: 8, opset_import: ["" : 13]>
        chain (float[2] x) => (float[2] y) {{
          k0 = Constant<value = float[2] {{1.0, 2.0}}>()
          {lines}
          y = Add(x, k60)
        }}""",
        {},
    )
    started = time.process_time()
    canonicalise(model)
    assert time.process_time() - started < 5
    (node,) = [node for node in model.graph if node.op_type == "Add"]
    assert node.inputs[1] is not None
    tensor = node.inputs[1].const_value
    assert tensor is not None
    assert tensor.numpy().tolist() == [2.0**60, 2.0**61]


def test_doubling_stops_though_each_step_is_small() -> None:
    """Every Concat makes twice what it reads and is read outside, too: a fold of its own, round by round."""
    steps = "\n".join(
        f"k{n + 1} = Concat<axis=0>(k{n}, k{n})\n r{n + 1} = Mul(k{n + 1}, x)" for n in range(20)
    )
    model = model_of(
        f"""<ir_version: 8, opset_import: ["" : 13]>
        double (float[1,1] x) => (float[M,N] y) {{
          {steps}
          y = Concat<axis=0>({", ".join(f"r{n + 1}" for n in range(20))})
        }}""",
        {"k0": (1, 1024)},
    )
    canonicalise(model)
    stored = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    assert stored < 100e6


def test_the_bound_is_never_below_what_comes_out() -> None:
    arrays: list[list[Array]] = [
        [np.ones((3, 1), np.float32), np.ones((1, 5), np.float32)],
        [np.ones((3, 0), np.float32), np.ones((3, 1), np.float32)],
    ]
    for operands in arrays:
        node = ir.node("Add", [ir.Value(name="a"), ir.Value(name="b")])
        assert largest_result(node, operands) == np.add(*operands).size


def test_small_results_and_those_no_larger_than_their_operands_are_welcome() -> None:
    assert most_bytes([np.zeros(1, np.int8)]) == 4096
    assert most_bytes([np.zeros(10_000, np.int8)]) == 20_000
    assert most_bytes([np.zeros(40 << 20, np.int8)]) == 40 << 20


def test_what_was_there_before_the_first_fold_is_remembered() -> None:
    model = _bomb("k = Identity(row)")
    first = room(model)
    model.graph.register_initializer(ir.Value(name="new", const_value=ir.tensor(np.zeros(1000, np.float32))))
    assert room(model) == first - 4000
    assert room(model.clone()) == first - 4000
