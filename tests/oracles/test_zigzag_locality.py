"""Data locality against ZigZag's own stages, level by level and in cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwopt.oracles.options import layers_alone
from hwopt.oracles.zigzag_files import read_description
from hwopt.oracles.zigzag_layers import Layer, layer_of
from hwopt.oracles.zigzag_locality import Levels, cut, levels_of
from hwopt.shapes import infer_shapes
from hwopt.target.file import OracleSpec, Target, read_target
from tests.graphs import Weights, model_of

pytest.importorskip("zigzag", reason="needs the extra 'zigzag'")

EDGE = read_target(Path(__file__).parents[2] / "targets" / "edge-npu")
DRAM, SRAM, WEIGHTS = 4, 3, 2  # positions in edge_tpu_like


def with_locality(**options: str | bool) -> Target:
    return replace(
        EDGE, oracle=OracleSpec("zigzag", {**EDGE.oracle.options, "data_locality": True, **options})
    )


def layers_of(body: str, weights: Weights, x: str) -> tuple[list[Layer], list[list[int]]]:
    """The layers of a network in ONNX text, and for each the layers that feed it."""
    text = f'<ir_version: 8, opset_import: ["" : 13]> net (float[{x}] x) => (y) {{ {body} }}'
    model = model_of(text, weights)
    shapes = infer_shapes(model, {})
    layers: list[Layer] = []
    sources: list[list[int]] = []
    number: dict[str | None, int] = {}
    for node in model.graph:
        layer = layer_of(node, shapes, 1)
        assert layer is not None
        sources.append([number[v.name] for v in node.inputs if v is not None and v.name in number])
        number[node.outputs[0].name] = len(layers)
        layers.append(layer)
    return layers, sources


CHAIN = """a = Conv(x, w1)
b = Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(a, w2)
c = MaxPool<kernel_shape=[2,2], strides=[2,2]>(b)
y = Conv(c, w3)"""
RESIDUAL = """a = Conv(x, w1)
b = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(a, w2)
c = Conv(b, w3)
d = Add(c, a)
y = Conv(d, w4)"""
CASES = {
    "all on chip": (CHAIN, {"w1": (16, 8, 1, 1), "w2": (16, 16, 3, 3), "w3": (8, 16, 1, 1)}, "1,8,32,32"),
    "weights too large": (
        CHAIN,
        {"w1": (64, 64, 1, 1), "w2": (64, 64, 3, 3), "w3": (8, 64, 1, 1)},
        "1,64,16,16",
    ),
    "maps too large": (
        CHAIN,
        {"w1": (48, 8, 1, 1), "w2": (16, 48, 3, 3), "w3": (8, 16, 1, 1)},
        "1,8,192,192",
    ),
    "branches": (
        RESIDUAL,
        {"w1": (16, 8, 1, 1), "w2": (16, 16, 3, 3), "w3": (16, 16, 1, 1), "w4": (8, 16, 1, 1)},
        "1,8,32,32",
    ),
}


def zigzag_levels(layers: Sequence[Layer], sources: Sequence[Sequence[int]]) -> list[Levels]:
    """What ZigZag's own stage finds for the same network."""
    from zigzag.datatypes import MemoryOperand
    from zigzag.parser.accelerator_factory import AcceleratorFactory
    from zigzag.parser.accelerator_validator import AcceleratorValidator
    from zigzag.parser.mapping_validator import MappingValidator
    from zigzag.parser.workload_factory import LayerNodeFactory
    from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
    from zigzag.stages.exploit_data_locality_stages import SearchInterLayerDataLocalityStage
    from zigzag.workload.dnn_workload import DNNWorkload

    described = read_description(EDGE)
    mapping = MappingValidator([dict(entry) for entry in described.mapping]).normalized_data
    nodes: list[Any] = []
    workload: Any = DNNWorkload([])
    for index, layer in enumerate(layers):
        data = {
            "id": index,
            "name": f"layer{index}",
            "operator_type": layer.operator,
            "equation": layer.equation,
            "loop_dims": [name for name, _ in layer.loops],
            "loop_sizes": [size for _, size in layer.loops],
            "dimension_relations": layer.relations,
            "operand_precision": dict(layer.bits),
            "operand_source": {"I": -1, "W": index if layer.constant_weights else -2},
            "pr_loop_dims": [name for name, _ in layer.inputs] or None,
            "pr_loop_sizes": [size for _, size in layer.inputs] or None,
        }
        nodes.append(LayerNodeFactory(data, mapping).create())
        workload.add_node(nodes[-1])
        workload.add_edges_from([(nodes[source], nodes[-1]) for source in sources[index]])
    accelerator = AcceleratorFactory(
        AcceleratorValidator(dict(described.accelerator)).normalized_data
    ).create()
    following: list[Any] = [CostModelStage]
    stage: Any = SearchInterLayerDataLocalityStage(following, accelerator=accelerator, workload=workload)
    stage.update_top_mem_level()
    found = []
    for index, layer in enumerate(layers):
        levels = stage.mem_update_list[index]
        inputs = levels[MemoryOperand("I1")]
        weights = stage.mem_update_weight if layer.constant_weights else inputs
        found.append(Levels(inputs, weights, levels[MemoryOperand("O")]))
    return found


@pytest.mark.parametrize("name", CASES)
def test_levels_are_those_of_zigzags_own_stage(name: str) -> None:
    layers, sources = layers_of(*CASES[name])
    ours = levels_of(layers, sources, read_description(EDGE).accelerator, part=False)
    assert ours == zigzag_levels(layers, sources)


def test_small_networks_stay_on_chip_and_branches_leave_it() -> None:
    accelerator = read_description(EDGE).accelerator
    layers, sources = layers_of(*CASES["all on chip"])
    assert set(levels_of(layers, sources, accelerator, part=False)) == {Levels(SRAM, WEIGHTS, SRAM)}
    layers, sources = layers_of(*CASES["branches"])
    outputs = [levels.outputs for levels in levels_of(layers, sources, accelerator, part=False)]
    assert outputs == [DRAM, SRAM, DRAM, SRAM, SRAM]


def test_weights_of_a_part_come_from_outside() -> None:
    layers, sources = layers_of(*CASES["all on chip"])
    found = levels_of(layers, sources, read_description(EDGE).accelerator, part=True)
    assert {levels.weights for levels in found} == {DRAM}
    assert {levels.outputs for levels in found} == {SRAM}


def test_several_entries_and_exits_are_read() -> None:
    layers, _ = layers_of(*CASES["all on chip"])
    found = levels_of(layers[:2], [[], []], read_description(EDGE).accelerator, part=False)
    assert {levels.inputs for levels in found} == {SRAM}


def test_what_is_cut_off_holds_nothing_any_more() -> None:
    accelerator = read_description(EDGE).accelerator
    memories = cut(accelerator, Levels(SRAM, DRAM, SRAM))["memories"]
    assert memories["dram"]["operands"] == ["I2"]
    assert memories["dram"]["ports"][0]["allocation"] == ["I2, fh", "I2, tl"]
    assert memories["sram_2MB"] == accelerator["memories"]["sram_2MB"]
    assert "dram" not in cut(accelerator, Levels(SRAM, WEIGHTS, SRAM))["memories"]


def test_with_locality_a_layer_is_no_longer_measured_alone() -> None:
    assert layers_alone("zigzag", EDGE.oracle.options)
    assert not layers_alone("zigzag", with_locality().oracle.options)
