"""Fused groups, engines, context and blocks: what the target's file says, and nothing else."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.descriptor import describe, describe_array
from hwopt.partition import Partition, partition
from hwopt.shapes import infer_shapes
from hwopt.signature import Signature, from_text, macs, params
from hwopt.target.file import Fusion, Target, read_target

TARGETS = Path(__file__).parents[1] / "targets"
ETHOS = read_target(TARGETS / "ethos-u55-256")
EDGE = read_target(TARGETS / "edge-npu")


def weights(*shape: int) -> str:
    return ",".join(f"{(7 * i) % 11 - 5}" for i in range(int(np.prod(shape))))


IBN = f"""
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4,8,8] x) => (float[N,4,8,8] y) <
  float[12,4,1,1] w1 = {{{weights(12, 4)}}}, float[12,1,3,3] w2 = {{{weights(12, 9)}}},
  float[4,12,1,1] w3 = {{{weights(4, 12)}}}, float lo = {{0}}, float hi = {{6}},
  float[12] b = {{{weights(12)}}}
> {{
  e = Conv(x, w1, b)
  er = Clip(e, lo, hi)
  d = Conv<pads=[1,1,1,1], group=12>(er, w2)
  dr = Relu(d)
  p = Conv(dr, w3)
  y = Add(p, x)
}}
"""


def cut(
    text: str, target: Target = ETHOS, input_shapes: dict[str, tuple[int, ...]] | None = None
) -> Partition:
    model = ir.from_onnx_text(text)
    return partition(model, infer_shapes(model, input_shapes or {}), target)


def test_an_inverted_bottleneck_is_four_groups_of_one_block() -> None:
    groups = cut(IBN).subgraphs
    assert [g.kind for g in groups] == ["pointwise", "depthwise", "pointwise", "add"]
    assert [g.signature.ops for g in groups] == [
        ("Conv", "Clip"),
        ("DepthwiseConv", "Relu"),
        ("Conv",),
        ("Add",),
    ]
    assert [g.signature.activation for g in groups] == ["relu6", "relu", "", ""]
    assert {g.block for g in groups} == {0}
    assert {g.engine for g in groups} == {"npu"}


def test_signatures_hold_shapes_context_and_counts() -> None:
    groups = cut(IBN).subgraphs
    expand, depthwise, project, add = (g.signature for g in groups)
    assert expand.inputs == ((1, 4, 8, 8),)
    assert expand.producers == ("graph_input",)
    assert expand.consumers == ("depthwise",)
    assert depthwise.pads == (1, 1, 1, 1)
    assert depthwise.group == 12
    assert add.producers == ("pointwise", "graph_input")
    assert add.consumers == ("graph_output",)
    # Counted by hand: pixels x inputs per output x outputs.
    assert [macs(g.signature) for g in groups] == [64 * 4 * 12, 64 * 9 * 12, 64 * 12 * 4, 0]
    assert [params(g.signature) for g in groups] == [4 * 12 + 12, 9 * 12, 12 * 4, 0]
    assert project.weight is not None
    assert project.weight.elements == 48


def test_signatures_do_not_depend_on_names_and_survive_json() -> None:
    renamed = IBN.replace("dr", "zz").replace("w2", "kernel")
    for one, other in zip(cut(IBN).subgraphs, cut(renamed).subgraphs, strict=True):
        assert one.signature == other.signature
        assert from_text(one.signature.text()) == one.signature
        assert from_text(one.signature.text()).key() == other.signature.key()
        assert "zz" not in other.signature.text()


def test_what_the_target_does_not_fuse_stands_alone() -> None:
    bare = replace(ETHOS, fusions=(Fusion(frozenset({"Conv"}), (frozenset({"Clip"}),)),))
    groups = cut(IBN, bare).subgraphs
    assert [g.signature.ops[0] for g in groups] == ["Conv", "DepthwiseConv", "Relu", "Conv", "Add"]
    assert groups[2].kind == "activation"


def test_an_output_that_somebody_else_reads_is_not_fused_away() -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
    g (float[1,1,4,4] x) => (float[1,1,4,4] y, float[1,1,4,4] z) <float[1,1,1,1] w = {2}> {
      z = Conv(x, w)
      y = Relu(z)
    }"""
    assert [g.signature.ops for g in cut(text).subgraphs] == [("Conv",), ("Relu",)]


HARDSWISH = """<ir_version: 8, opset_import: ["" : 13]>
g (float[1,2,4,4] x) => (float[1,2,4,4] y)
  <float[2,2,1,1] w = {1,2,3,4}, float three = {3}, float zero = {0}, float six = {6}> {
  a = Conv(x, w)
  b = Add(a, three)
  c = Clip(b, zero, six)
  d = Mul(a, c)
  y = Div(d, six)
}"""


def test_a_hard_swish_in_four_nodes_is_one_operator() -> None:
    bare = replace(ETHOS, fusions=())
    alone = cut(HARDSWISH, bare).subgraphs
    assert [(g.kind, g.signature.ops) for g in alone] == [
        ("pointwise", ("Conv",)),
        ("activation", ("HardSwish",)),
    ]
    assert [len(g.nodes) for g in alone] == [1, 4]
    fusing = replace(ETHOS, fusions=(Fusion(frozenset({"Conv"}), (frozenset({"HardSwish"}),)),))
    (group,) = cut(HARDSWISH, fusing).subgraphs
    assert group.signature.ops == ("Conv", "HardSwish")
    assert group.signature.activation == "hardswish"


def test_a_gelu_written_with_the_error_function_is_one_operator() -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
    g (float[1,2,4,4] x) => (float[1,2,4,4] y)
      <float root = {1.4142135}, float one = {1}, float half = {0.5}> {
      a = Div(x, root)
      b = Erf(a)
      c = Add(b, one)
      d = Mul(x, c)
      y = Mul(d, half)
    }"""
    (group,) = cut(text).subgraphs
    assert (group.kind, group.signature.ops) == ("activation", ("Gelu",))


def test_the_bias_of_a_linear_layer_belongs_to_its_product() -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 13]>
    g (float[1,4,8] x) => (float[1,4,3] y) <float[8,3] w = {{{weights(8, 3)}}}, float[3] b = {{1,2,3}}> {{
      p = MatMul(x, w)
      q = Add(p, b)
      y = Relu(q)
    }}"""
    (group,) = cut(text).subgraphs
    assert (group.kind, group.signature.ops) == ("gemm", ("MatMul", "Relu"))
    assert group.signature.bias == 3
    assert group.inputs[0].name == "x"
    other = text.replace("q = Add(p, b)", "q = Add(p, x)").replace("[8,3]", "[8,8]").replace("4,3]", "4,8]")
    other = other.replace(weights(8, 3), weights(8, 8))
    assert [g.kind for g in cut(other).subgraphs] == ["gemm", "add"]  # a shortcut is no bias


def test_shape_arithmetic_is_no_work_and_views_are_free() -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
    g (float[N,2,4,4] x) => (float[N,3] y)
      <int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {-1}, float[32,3] w> {
      s = Shape(x)
      n = Slice(s, zero, one, zero)
      t = Concat<axis=0>(n, rest)
      r = Softplus(x)
      f = Reshape(r, t)
      y = MatMul(f, w)
    }"""
    text = text.replace("w>", f"w = {{{weights(32, 3)}}}>")
    found = cut(text, EDGE)
    assert [g.kind for g in found.subgraphs] == ["activation", "view", "gemm"]
    assert [node.op_type for node in found.excluded] == ["Shape", "Slice", "Concat"]
    assert [g.label for g in found.unpriced] == ["r"]
    assert found.unpriced[0].reason == "no engine of edge-npu runs Softplus"
    assert found.subgraphs[2].signature.producers == ("activation",)  # looked through the view
    assert macs(found.subgraphs[2].signature) == 32 * 3


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Conv(x, x)", "weight is not a constant"),
        ("y = Erf(x)", "no engine of ethos-u55-256 runs Erf"),
        ("y = custom.Thing(x)", "operator custom::Thing is none of the standard operators"),
    ],
)
def test_what_cannot_be_priced_says_why(body: str, reason: str) -> None:
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 13, "custom" : 1]>\n'
        f"g (float[1,1,1,1] x) => (float[1,1,1,1] y) {{ {body} }}"
    )
    (group,) = partition(model, infer_shapes(model, {}), ETHOS).subgraphs
    assert group.engine is None
    assert reason in group.reason


def test_a_region_has_the_signatures_that_the_whole_graph_gives_it() -> None:
    model = ir.from_onnx_text(IBN)
    shapes = infer_shapes(model, {})
    whole = partition(model, shapes, ETHOS).subgraphs
    region = partition(model, shapes, ETHOS, [model.graph[2], model.graph[4]]).subgraphs
    assert [g.signature for g in region] == [whole[1].signature, whole[2].signature]


def test_the_values_of_weights_are_described_not_kept() -> None:
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(64, 32, 3, 3)).astype(np.float32)
    sparse = dense * (rng.random(dense.shape) < 0.4)
    diagonal = np.zeros((32, 32, 3, 3), np.float32)
    diagonal[np.arange(32), np.arange(32)] = 1.5
    pairs = dense.copy()
    pairs[:, 2::4] = pairs[:, 3::4] = 0
    found = {
        n: describe_array(w, 0, "int8")
        for n, w in (("d", dense), ("s", sparse), ("g", diagonal), ("p", pairs))
    }
    assert [found[n].pattern for n in "dsgp"] == ["dense", "random", "diagonal", "2:4"]
    assert found["s"].zeros == pytest.approx(0.6, abs=0.02)
    assert found["d"].encoded_bytes > found["s"].encoded_bytes > found["g"].encoded_bytes
    assert found["g"].distinct == 2
    # A normal sample has about 7 bits per weight once its largest value is 127.
    assert found["d"].encoded_bytes == pytest.approx(dense.size * 7 / 8, rel=0.1)


def test_empty_blocks_are_seen() -> None:
    rng = np.random.default_rng(1)
    kept = np.kron(rng.random((16, 8)) < 0.5, np.ones((4, 4)))[:, :, None, None]
    weight = (rng.normal(size=(64, 32, 1, 1)) * kept).astype(np.float32)
    assert describe_array(weight, 0, "int8").pattern == "block"


def test_targets_that_do_not_compress_do_not_read_weights() -> None:
    one, two = (describe(ir.tensor(np.full((4, 4), v, np.float32)), 0, EDGE) for v in (0.0, 1.0))
    assert one == two
    assert one.encoded_bytes == 16


def test_keys_are_the_same_in_every_process() -> None:
    script = (
        "from hwopt.signature import Signature;"
        "print(Signature('conv', ('Conv',), ((1,2,3,4),), ((1,2,3,4),), 'int8').key())"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(TARGETS.parent)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1")
    }
    assert keys == {Signature("conv", ("Conv",), ((1, 2, 3, 4),), ((1, 2, 3, 4),), "int8").key()}


def test_repeated_partition_is_cheap() -> None:
    model = ir.from_onnx_text(IBN)
    shapes = infer_shapes(model, {})
    partition(model, shapes, ETHOS)
    times = []
    for _ in range(20):
        start = perf_counter()
        partition(model, shapes, ETHOS)
        times.append(perf_counter() - start)
    assert min(times) < 0.005  # about 0.3 ms on an idle core
