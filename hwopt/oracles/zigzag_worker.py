"""The worker's side of the ZigZag oracle: costs one loop nest per call.

Runs in a process of its own (hwopt.oracles.workers); the only module that imports zigzag. The
stages are ZigZag's own, without those that write report files.
"""

from __future__ import annotations

import gc
import json
import logging
from functools import lru_cache
from typing import Any

from zigzag.cost_model.cost_model import CostModelEvaluation
from zigzag.hardware.architecture.accelerator import Accelerator
from zigzag.mapping.temporal_mapping import TemporalMappingType
from zigzag.opt.loma.engine import NoValidLoopOrderingFoundException
from zigzag.parser.accelerator_factory import AcceleratorFactory
from zigzag.parser.accelerator_validator import AcceleratorValidator
from zigzag.parser.mapping_validator import MappingValidator
from zigzag.parser.workload_factory import LayerNodeFactory
from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
from zigzag.stages.results.reduce_stages import MinimalLatencyStage
from zigzag.workload.layer_node import LayerNode

from hwopt.oracles.zigzag_speed import order_memories_once, speed_up
from hwopt.oracles.zigzag_symmetry import MirroredOrders, is_mirrored
from hwopt.wording import said

Table = dict[str, Any]

_STAGES: list[Any] = [  # zigzag's own type for them does not accept its stages
    SpatialMappingGeneratorStage,
    MinimalLatencyStage,
    TemporalMappingGeneratorStage,
    CostModelStage,
]
_LAYER_ID, _FIRST_INPUT, _SECOND_INPUT = 0, -1, -2

logging.disable(logging.CRITICAL)
gc.set_threshold(50_000, 20, 20)  # evaluations are many and free of cycles
speed_up()


def measure_layer(payload: bytes) -> bytes:
    """Costs one layer: JSON in (see zigzag_files.Description.request), JSON out.

    Answers {cycles, compute_cycles, energy_pj, off_chip_bytes}, or {error} where ZigZag finds no
    way to run the layer.
    """
    request: Table = json.loads(payload)
    accelerator = _accelerator(request["accelerator"])
    layer = _layer(request)
    try:
        best = _cheapest(accelerator, layer, int(request["lpf_limit"]))
    except (NoValidLoopOrderingFoundException, AssertionError) as error:
        return json.dumps({"error": f"ZigZag cannot map it: {said(error)}"}).encode()
    return json.dumps(_figures(best, request["outermost"]), sort_keys=True).encode()


def _cheapest(accelerator: Accelerator, layer: LayerNode, lpf_limit: int) -> CostModelEvaluation:
    stage = MinimalLatencyStage(
        _STAGES,
        accelerator=accelerator,
        layer=layer,
        loma_lpf_limit=lpf_limit,
        loma_show_progress_bar=False,
        nb_mappings_generated=3,
        access_same_data_considered_as_no_access=True,
        temporal_mapping_type=TemporalMappingType.UNEVEN,
        enable_mix_spatial_mapping_generation=False,
    )
    ((best, _),) = stage
    assert isinstance(best, CostModelEvaluation)
    return best


def _figures(best: CostModelEvaluation, outermost: dict[str, str]) -> dict[str, float]:
    return {
        "cycles": float(best.latency_total2),
        "compute_cycles": float(best.ideal_temporal_cycle),
        "energy_pj": float(best.energy_total),
        "off_chip_bytes": _outermost_traffic_bits(best, outermost) / 8,
    }


def _outermost_traffic_bits(best: CostModelEvaluation, outermost: dict[str, str]) -> float:
    """Bits read from and written to each operand's outermost memory, in words of its widest access.

    An operand whose outermost memory was cut off stays on chip: nothing of it is counted.
    """
    bits = 0.0
    for layer_op in best.layer.layer_operands:
        mem_op = best.memory_operand_links.layer_to_mem_op(layer_op)
        levels = best.memory_word_access[layer_op]
        last = best.accelerator.get_memory_level(mem_op, len(levels) - 1)
        if last.memory_instance.name != outermost[mem_op.name]:
            continue
        for direction, words in levels[-1].data.items():
            if words:
                bits += words * (last.get_max_bandwidth(mem_op, direction) or 0)
    return bits


@lru_cache(maxsize=32)
def _accelerator(text: str) -> Accelerator:
    """ZigZag's accelerator from its own tables, as JSON text."""
    validator = AcceleratorValidator(json.loads(text))
    if not validator.validate():
        raise ValueError(f"ZigZag refuses the accelerator: {validator.validator.errors}")
    accelerator = AcceleratorFactory(validator.normalized_data).create()
    order_memories_once(accelerator)
    return accelerator


@lru_cache(maxsize=4)
def _mapping(text: str) -> list[Table]:
    validator = MappingValidator(json.loads(text))
    if not validator.validate():
        raise ValueError(f"ZigZag refuses the mapping: {validator.validator.errors}")
    return list(validator.normalized_data)


def _layer(request: Table) -> LayerNode:
    """ZigZag's own layer, with half of the loop orders left out where they mirror the others."""
    table = request["layer"]
    operator = request["depthwise"] if table["operator"] == "DepthwiseConv" else table["operator"]
    weights = _LAYER_ID if table["constant_weights"] else _SECOND_INPUT
    data: Table = {
        "id": _LAYER_ID,
        "name": "layer",
        "operator_type": operator,
        "equation": table["equation"],
        "loop_dims": [name for name, _ in table["loops"]],
        "loop_sizes": [size for _, size in table["loops"]],
        "dimension_relations": table["relations"],
        "operand_precision": dict(table["bits"]),
        "operand_source": {"I": _FIRST_INPUT, "W": weights},
    }
    if table["inputs"]:
        data["pr_loop_dims"] = [name for name, _ in table["inputs"]]
        data["pr_loop_sizes"] = [size for _, size in table["inputs"]]
    layer: LayerNode = LayerNodeFactory(data, _mapping(request["mapping"])).create()
    if is_mirrored(_accelerator(request["accelerator"]), layer):
        layer.temporal_ordering = MirroredOrders()
    return layer
