"""The ZigZag oracle against ZigZag's own ONNX path, against published ratios, and on its own terms."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from hwopt.ir import model_bytes
from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Job, Measurement, Unmeasured
from hwopt.oracles.workers import OnResult, Result
from hwopt.target import read_target
from tests.graphs import Weights, model_of

pytest.importorskip("zigzag", reason="needs the extra 'zigzag'")

from bench.fusing_table import block, variant
from hwopt.oracles.zigzag import ZigZagOracle
from tests.oracles.test_zigzag_generate import TOML

EDGE = read_target(Path(__file__).parents[2] / "targets" / "edge-npu")

NET = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[1,3,16,16] x) => (float[1,10] y) {
  s = Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(x, ws)
  sa = Relu(s)
  d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=12>(sa, wd)
  da = Clip(d, zero, six)
  p = Conv<kernel_shape=[1,1]>(da, wp)
  pa = Add(p, sa)
  g = GlobalAveragePool(pa)
  f = Flatten<axis=1>(g)
  y = Gemm<transB=1>(f, wg)
}
"""
NET_WEIGHTS: Weights = {"ws": (12, 3, 3, 3), "wd": (12, 1, 3, 3), "wp": (12, 12, 1, 1), "wg": (10, 12)}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZigZagOracle]:
    with Cache(tmp_path_factory.mktemp("cache")) as cache:
        found = ZigZagOracle(EDGE, cache)
        yield found
        found.close()


def job(text: str, weights: Weights) -> Job:
    return Job(model_bytes(model_of(text, weights)))


def measured(oracle: ZigZagOracle, *jobs: Job) -> list[Measurement]:
    answers = oracle.measure(jobs)
    assert all(isinstance(answer, Measurement) for answer in answers), answers
    return [answer for answer in answers if isinstance(answer, Measurement)]


def convs(channels: int, size: int, *layers: tuple[int, int, int]) -> Job:
    """A chain of (outputs, kernel, group) convolutions with ReLU, stride 1, on one square map."""
    lines: list[str] = []
    weights: dict[str, tuple[int, ...]] = {}
    inputs = channels
    for i, (outputs, k, group) in enumerate(layers):
        x, y, pad = f"v{i}", f"v{i + 1}", k // 2
        conv = f"Conv<kernel_shape=[{k},{k}], pads=[{pad},{pad},{pad},{pad}], group={group}>({x}, w{i})"
        lines.append(f"{y}_ = {conv}\n{y} = Relu({y}_)")
        weights[f"w{i}"] = (outputs, inputs // group, k, k)
        inputs = outputs
    ends = f"(float[1,{channels},{size},{size}] v0) => (float[1,{inputs},{size},{size}] v{len(layers)})"
    return job(f'<ir_version: 8, opset_import: ["" : 13]>\nnet {ends} {{ {chr(10).join(lines)} }}', weights)


def zigzag_by_itself(model: ir.Model) -> tuple[dict[str, float], float]:
    """Cycles of every layer, and the energy of all, as plain ZigZag reads and costs the whole network."""
    from zigzag.mapping.temporal_mapping import TemporalMappingType
    from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
    from zigzag.stages.main import MainStage
    from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
    from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
    from zigzag.stages.parser.accelerator_parser import AcceleratorParserStage
    from zigzag.stages.parser.onnx_model_parser import ONNXModelParserStage
    from zigzag.stages.results.reduce_stages import MinimalLatencyStage, SumStage
    from zigzag.stages.workload_iterator import WorkloadStage

    inputs = files("zigzag") / "inputs"
    stages: list[Any] = [
        ONNXModelParserStage, AcceleratorParserStage, SumStage, WorkloadStage, MinimalLatencyStage,
        SpatialMappingGeneratorStage, MinimalLatencyStage, TemporalMappingGeneratorStage, CostModelStage,
    ]  # fmt: skip
    proto = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model_bytes(model)))
    for node in proto.graph.node:
        node.name = node.output[0]
    arguments: dict[str, Any] = {
        "accelerator": str(inputs / "hardware" / "edge_tpu_like.yaml"),
        "mapping": str(inputs / "mapping" / "edge_tpu_like.yaml"),
        "workload": proto,
        "loma_lpf_limit": EDGE.oracle.options["lpf_limit"],
        "loma_show_progress_bar": False,
        "nb_mappings_generated": 3,
        "access_same_data_considered_as_no_access": True,
        "temporal_mapping_type": TemporalMappingType.UNEVEN,
    }
    ((total, layers),) = MainStage(stages, **arguments).run()  # type: ignore[no-untyped-call]
    cycles = {layer.name: float(cost.latency_total2) for cost, (layer, _) in layers}
    return cycles, float(total.energy_total)


def test_layers_alone_cost_what_plain_zigzag_finds_in_the_network(oracle: ZigZagOracle) -> None:
    """Even and uneven unrollings, depthwise and dense, with all loop orders and nothing sped up."""
    assert "hwopt.oracles.zigzag_worker" not in sys.modules, "the comparison must be with plain ZigZag"
    text = """<ir_version: 8, opset_import: ["" : 13]>
    net (float[1,8,20,20] x) => (float[1,24,10,10] y) {
      a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, wa)
      r = Relu(a)
      b = Conv<kernel_shape=[5,5], pads=[2,2,2,2], strides=[2,2], group=20>(r, wb)
      y = Conv<kernel_shape=[1,1]>(b, wy)
    }"""
    model = model_of(text, {"wa": (20, 8, 3, 3), "wb": (20, 1, 5, 5), "wy": (24, 20, 1, 1)})
    cycles, energy = zigzag_by_itself(model)
    (answer,) = measured(oracle, Job(model_bytes(model)))
    ours = {row.output: row.latency_us * EDGE.clock_mhz for row in answer.rows}
    assert ours == pytest.approx(cycles)
    assert answer.details["energy_pj"] == pytest.approx(energy, rel=1e-12)


def test_a_network_is_the_sum_of_its_layers(oracle: ZigZagOracle) -> None:
    (answer,) = measured(oracle, job(NET, NET_WEIGHTS))
    assert [row.output for row in answer.rows] == ["s", "d", "p", "pa", "g", "y"]
    assert answer.latency_us == pytest.approx(sum(row.latency_us for row in answer.rows))
    assert answer.details["cycles"] == pytest.approx(answer.latency_us * EDGE.clock_mhz)
    assert answer.weight_bytes == 12 * 3 * 9 + 12 * 9 + 12 * 12 + 10 * 12
    assert answer.unpriced == ()


def test_a_residual_addition_is_bound_by_three_transfers(oracle: ZigZagOracle) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
    net (float[1,24,28,28] a, float[1,24,28,28] b) => (float[1,24,28,28] y) { y = Add(a, b) }"""
    (answer,) = measured(oracle, job(text, {}))
    elements = 24 * 28 * 28
    assert answer.rows[0].off_chip_bytes == 3 * elements
    assert answer.details["cycles"] == pytest.approx(3 * elements / 8, rel=0.01)  # 8 bytes a cycle
    assert (answer.rows[0].bound, answer.rows[0].macs) == ("off_chip", 0)


def test_a_dense_kernel_pays_where_depthwise_starves_the_array(oracle: ZigZagOracle) -> None:
    """EfficientNet-Lite0's block 0, depthwise and projection: 351,235 cycles, dense 32% fewer."""
    depthwise, dense = measured(
        oracle, convs(32, 112, (32, 3, 32), (16, 1, 1)), convs(32, 112, (32, 3, 1), (16, 1, 1))
    )
    assert depthwise.details["cycles"] == 351_235
    assert dense.latency_us / depthwise.latency_us == pytest.approx(0.68, abs=0.005)


@pytest.mark.parametrize(("channels", "size", "ratio"), [(24, 56, 0.39), (192, 7, 2.50)])
def test_fused_over_plain_bottleneck(oracle: ZigZagOracle, channels: int, size: int, ratio: float) -> None:
    hidden = 6 * channels
    plain = convs(channels, size, (hidden, 1, 1), (hidden, 3, hidden), (channels, 1, 1))
    fused = convs(channels, size, (hidden, 3, 1), (channels, 1, 1))
    before, after = measured(oracle, plain, fused)
    assert after.latency_us / before.latency_us == pytest.approx(ratio, abs=0.005)


def test_a_layer_is_costed_once_whatever_network_it_stands_in(
    oracle: ZigZagOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    run = oracle._pool.run

    def counted(payloads: Sequence[bytes], on_result: OnResult) -> list[Result]:
        asked.append(len(payloads))
        return run(payloads, on_result=on_result)

    monkeypatch.setattr(oracle._pool, "run", counted)
    first, second = convs(8, 9, (8, 1, 1), (8, 1, 1), (16, 1, 1)), convs(8, 9, (16, 1, 1))
    answers = measured(oracle, first, second)
    assert asked == [2]  # three convolutions and one more, of two shapes
    assert measured(oracle, first, second) == answers
    assert asked == [2, 0]


def test_progress_is_told_in_jobs(oracle: ZigZagOracle) -> None:
    steps: list[tuple[int, int]] = []
    oracle.measure([convs(8, 10, (8, 1, 1)), convs(8, 11, (8, 1, 1))], lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]


def test_what_has_no_figure_is_named_and_the_rest_is_priced(oracle: ZigZagOracle) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
    net (float[1,8,9,9] x) => (float[1,16,9,9] y) {
      c = Conv(x, w)
      gate = Sigmoid(c)
      swish = Mul(c, gate)
      m = Mul(swish, swish)
      i = CumSum(m, axis)
      y = Concat<axis=1>(i, m)
    }"""
    model = model_of(text, {"w": (8, 8, 1, 1)})
    axis = next(node for node in model.graph if node.op_type == "CumSum").inputs[1]
    assert axis is not None
    axis.const_value = ir.tensor([1], name="axis")
    model.graph.initializers.add(axis)
    (answer,) = measured(oracle, Job(model_bytes(model)))
    assert [row.output for row in answer.rows] == ["c", "m", "y"]
    assert answer.unpriced == ("i",)
    assert answer.details["cycles_by_bytes"] == 2 * 16 * 81 / 8  # both maps in, one out, 8 bytes a cycle
    assert [row.bound for row in answer.rows[1:]] == ["off_chip", "off_chip"]
    assert answer.rows[2].off_chip_bytes == 2 * 16 * 81


def test_a_job_that_cannot_be_read_does_not_stop_the_others(oracle: ZigZagOracle) -> None:
    broken, whole = oracle.measure([Job(b"\xff\xff"), convs(8, 9, (8, 1, 1))])
    assert isinstance(broken, Unmeasured)
    assert not broken.transient
    assert isinstance(whole, Measurement)


@pytest.mark.parametrize(("locality", "ratio"), [(False, 0.70), (True, 2.00)])
def test_the_answer_hangs_on_mapping_and_locality(tmp_path: Path, locality: bool, ratio: float) -> None:
    """56 x 56 x 24, K3 (0.39 as it ships); the cycles are what plain ZigZag finds for the plain block."""
    with Cache(tmp_path) as cache:
        oracle = ZigZagOracle(variant(tmp_path, True, locality), cache)
        before, after = measured(oracle, *(block((56, 24, 24, 1), 3, fused) for fused in (False, True)))
        oracle.close()
    assert before.details["cycles"] == (52_926 if locality else 245_788)
    assert after.latency_us / before.latency_us == pytest.approx(ratio, abs=0.005)


def test_an_accelerator_of_target_toml_alone(tmp_path: Path) -> None:
    """A 16 x 16 array: as fast as its units where it is fed, one row of it in a depthwise convolution."""
    (tmp_path / "target.toml").write_text(
        TOML.replace("out_width = 8", "in_channels = 16").replace("128", "256")
    )
    text = (tmp_path / "target.toml").read_text().replace("groups, out_width", "groups, -")
    (tmp_path / "target.toml").write_text(text)
    with Cache(tmp_path) as cache:
        oracle = ZigZagOracle(read_target(tmp_path), cache)
        dense, depthwise = measured(oracle, convs(64, 14, (64, 3, 1)), convs(64, 14, (64, 3, 64)))
        oracle.close()
    assert dense.details["compute_cycles"] == 64 * 64 * 9 * 14 * 14 / 256
    assert depthwise.details["compute_cycles"] == 64 * 9 * 14 * 14 / 16
    assert 1.0 <= dense.details["cycles"] / dense.details["compute_cycles"] < 1.5
    assert "energy_pj" not in dense.details  # target.toml knows none


def test_identity_follows_the_fusion_rules_and_layers_do_not() -> None:
    other = ZigZagOracle(replace(EDGE, config_hash="other"))
    assert other.identity != ZigZagOracle(EDGE).identity
    assert other.layer_identity == ZigZagOracle(EDGE).layer_identity
