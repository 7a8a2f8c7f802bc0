"""Fused over plain inverted bottlenecks on edge-npu, under other mappings and with data locality.

    python -m bench.fusing_table

Prints the table of targets/edge-npu/card.md: latency of the block with expansion and depthwise
fused into one convolution, over that of the plain block (below 1: fusing wins), expansion 6,
K = 3 / K = 5. The accelerator stays the same; what changes is how depthwise convolutions are mapped
on the array, and whether activations stay on chip between the layers of the block.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Job, Measurement
from hwopt.oracles.zigzag import ZigZagOracle
from hwopt.registry import load_target
from hwopt.target.file import OracleSpec, Target

# height and width, input and output channels, stride
SHAPES = (
    (112, 16, 24, 2),
    (56, 24, 24, 1),
    (56, 24, 40, 2),
    (28, 40, 40, 1),
    (14, 80, 80, 1),
    (7, 192, 192, 1),
)
EXPANSION = 6
SETTINGS = (
    ("stock mapping", False, False),
    ("data locality", False, True),
    ("depthwise on groups", True, False),
    ("both", True, True),
)
ON_GROUPS = """
- name: Depthwise
  spatial_mapping:
    D1: ["G, 8"]
    D2: ["C, 1"]
    D3: ["OX, 4"]
    D4: ["OY, 4"]
"""

Layer = tuple[int, int, int, int]  # outputs, kernel, stride, groups


def main() -> None:
    """Measures every cell and prints the table."""
    jobs = [block(shape, kernel, fused) for shape in SHAPES for kernel in (3, 5) for fused in (False, True)]
    with tempfile.TemporaryDirectory() as folder, Cache() as cache:
        columns = [
            _ratios(variant(Path(folder), on_groups, locality), jobs, cache)
            for _, on_groups, locality in SETTINGS
        ]
    print("| shape (H², C) |", " | ".join(title for title, _, _ in SETTINGS), "|")
    print("|---" * (len(SETTINGS) + 1) + "|")
    for index, (size, inputs, outputs, stride) in enumerate(SHAPES):
        cells = [f"{column[2 * index]:.2f} / {column[2 * index + 1]:.2f}" for column in columns]
        step = f" stride {stride}" if stride > 1 else ""
        print(f"| {size}² {inputs}→{outputs}{step} |", " | ".join(cells), "|")


def variant(folder: Path, on_groups: bool, locality: bool) -> Target:
    """edge-npu under another mapping of depthwise convolutions, with or without data locality."""
    edge = load_target("edge-npu")
    options = {**edge.oracle.options, "data_locality": locality}
    if on_groups:
        stock = (files("zigzag") / "inputs" / "mapping" / "edge_tpu_like.yaml").read_text("utf-8")
        (folder / "mapping.yaml").write_text(stock + ON_GROUPS, "utf-8")
        options |= {"mapping": "mapping.yaml", "depthwise_mapping": "Depthwise"}
    hashed = f"{edge.config_hash} {on_groups} {locality}"
    return replace(edge, folder=folder, oracle=OracleSpec("zigzag", options), config_hash=hashed)


def block(shape: Sequence[int], kernel: int, fused: bool) -> Job:
    """An inverted bottleneck, or its fused form, as a network of its own."""
    size, inputs, outputs, stride = shape
    hidden = EXPANSION * inputs
    first: list[Layer] = [(hidden, 1, 1, 1), (hidden, kernel, stride, hidden)]
    return _chain(size, inputs, [*([(hidden, kernel, stride, 1)] if fused else first), (outputs, 1, 1, 1)])


def _chain(size: int, channels: int, layers: Sequence[Layer]) -> Job:
    nodes, weights = [], []
    shape = [1, channels, size, size]
    ends = [helper.make_tensor_value_info("v0", onnx.TensorProto.FLOAT, shape)]
    for index, (outputs, kernel, stride, group) in enumerate(layers):
        name, pads = f"w{index}", [kernel // 2] * 4
        values = np.zeros((outputs, shape[1] // group, kernel, kernel), np.float32)
        weights.append(numpy_helper.from_array(values, name))
        conv: dict[str, Any] = {
            "kernel_shape": [kernel] * 2,
            "strides": [stride] * 2,
            "pads": pads,
            "group": group,
        }
        nodes.append(helper.make_node("Conv", [f"v{index}", name], [f"c{index}"], **conv))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"v{index + 1}"]))
        shape = [1, outputs, -(-shape[2] // stride), -(-shape[3] // stride)]
    ends.append(helper.make_tensor_value_info(f"v{len(layers)}", onnx.TensorProto.FLOAT, shape))
    graph = helper.make_graph(nodes, "block", ends[:1], ends[1:], weights)
    opset = [helper.make_opsetid("", 13)]
    return Job(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


def _ratios(target: Target, jobs: Sequence[Job], cache: Cache) -> list[float]:
    """Fused over plain, for each pair of jobs."""
    oracle = ZigZagOracle(target, cache)
    answers = oracle.measure(jobs)
    oracle.close()
    found = [
        answer.latency_us for answer in answers if isinstance(answer, Measurement) and not answer.unpriced
    ]
    if len(found) != len(jobs):
        raise SystemExit(f"not everything was priced: {answers}")
    return [after / before for before, after in zip(found[::2], found[1::2], strict=True)]


if __name__ == "__main__":
    main()
