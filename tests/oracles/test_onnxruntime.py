"""The oracle that measures this machine: what it answers, never how fast this machine is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hwopt.errors import BadInput
from hwopt.ir import model_bytes
from hwopt.oracles.onnxruntime import OnnxRuntimeOracle
from hwopt.oracles.onnxruntime_options import OrtOptions, options_of
from hwopt.oracles.onnxruntime_worker import chosen_cores, decode_chunk, encode_chunk
from hwopt.oracles.protocol import Job, Measurement, Unmeasured
from hwopt.partition import partition
from hwopt.registry import make_oracle
from hwopt.shapes import infer_shapes
from hwopt.target.file import OracleSpec, Target, read_target
from tests.graphs import Weights, model_of

CPU = read_target(Path(__file__).parents[2] / "targets" / "cpu")
QUICK = {"budget_ms": 1.0, "rounds": 4}

BLOCK = """<ir_version: 8, opset_import: ["" : 13]>
block (float[1,16,14,14] x) => (float[1,16,14,14] y) {
  e = Conv<kernel_shape=[1,1]>(x, we)
  er = Relu(e)
  d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=48>(er, wd)
  dr = Relu(d)
  p = Conv<kernel_shape=[1,1]>(dr, wp)
  y = Add(p, x)
}"""
WEIGHTS: Weights = {"we": (48, 16, 1, 1), "wd": (48, 1, 3, 3), "wp": (16, 48, 1, 1)}


def target(**options: str | float) -> Target:
    return replace(CPU, oracle=OracleSpec("onnxruntime", {**QUICK, **options}))


@pytest.fixture(scope="module")
def oracle() -> Iterator[OnnxRuntimeOracle]:
    with OnnxRuntimeOracle(target()) as found:
        yield found


def block(in_context: bool) -> Job:
    return Job(model_bytes(model_of(BLOCK, WEIGHTS)), in_context)


@pytest.mark.parametrize("in_context", [False, True])
def test_rows_are_those_of_the_fused_groups_and_add_up(oracle: OnnxRuntimeOracle, in_context: bool) -> None:
    (answer,) = oracle.measure([block(in_context)])
    assert isinstance(answer, Measurement), answer
    assert answer.latency_us > 0
    assert sum(row.latency_us for row in answer.rows) == pytest.approx(answer.latency_us)
    assert answer.details["noise"] >= 0
    assert answer.peak_bytes is None
    model = model_of(BLOCK, WEIGHTS)
    groups = partition(model, infer_shapes(model, {}), CPU).subgraphs
    assert [group.kind for group in groups] == ["pointwise", "depthwise", "pointwise"]
    for group in groups:
        inside = {value.name for node in group.nodes for value in node.outputs}
        assert sum(row.latency_us for row in answer.rows if row.output in inside) > 0


def test_a_part_does_not_pay_for_its_surroundings(oracle: OnnxRuntimeOracle) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
    g (float[1,64,56,56] a) => (float[1,64,56,56] y) { y = Sigmoid(a) }"""
    (answer,) = oracle.measure([Job(model_bytes(model_of(text, {})), in_context=True)])
    assert isinstance(answer, Measurement)
    assert [row.output for row in answer.rows] == ["y"]


def test_what_cannot_be_run_does_not_stop_the_others(oracle: OnnxRuntimeOracle) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "made.up" : 1]>
    g (float[1,4] a) => (float[1,4] y) { y = made.up.Nothing(a) }"""
    unknown = Job(model_bytes(model_of(text, {})), in_context=True)
    steps: list[tuple[int, int]] = []
    answers = oracle.measure([Job(b"\xff\xff"), unknown, block(True)], lambda *step: steps.append(step))
    assert [type(answer) for answer in answers] == [Unmeasured, Unmeasured, Measurement]
    assert not any(answer.transient for answer in answers if isinstance(answer, Unmeasured))
    assert steps == [(3, 3)]


def test_open_shapes_are_refused_with_the_input_named(oracle: OnnxRuntimeOracle) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
    g (float[N,4] a) => (float[N,4] y) { y = Relu(a) }"""
    (answer,) = oracle.measure([Job(model_bytes(model_of(text, {})))])
    assert isinstance(answer, Unmeasured)
    assert "'a'" in answer.reason


def test_int8_is_measured_too() -> None:
    with OnnxRuntimeOracle(replace(target(), precision="int8")) as found:
        part, whole = found.measure([block(True), block(False)])
    assert isinstance(part, Measurement), part
    assert isinstance(whole, Measurement), whole
    assert {row.output for row in part.rows} >= {"er", "dr"} or {row.output for row in part.rows} >= {
        "e",
        "d",
    }


def test_jobs_travel_unchanged() -> None:
    jobs = [block(True), Job(b"", False), block(False)]
    options = OrtOptions(threads=2, provider="Other")
    assert decode_chunk(encode_chunk(options, jobs)) == (options, jobs)


def test_identity_follows_options_and_precision_but_not_the_core() -> None:
    identities = {
        OnnxRuntimeOracle(t).identity
        for t in (target(), target(budget_ms=2), target(clock="wall"), replace(target(), precision="int8"))
    }
    assert len(identities) == 4
    assert OnnxRuntimeOracle(target(core=0)).identity == OnnxRuntimeOracle(target()).identity
    assert all("processor=" in identity for identity in identities)


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("core_number", 1, "there is provider"),
        ("threads", "two", "type int"),
        ("threads", 0, "at least 1"),
        ("threads", 100_000, "more than"),
        ("clock", "sun", "thread, wall"),
        ("provider", "Abacus", "CPUExecutionProvider"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(option: str, value: str | int, word: str) -> None:
    with pytest.raises(BadInput, match=word) as caught:
        OnnxRuntimeOracle(target(**{option: value}))
    assert "\n" not in str(caught.value)


def test_the_registry_knows_it() -> None:
    assert isinstance(make_oracle(CPU), OnnxRuntimeOracle)
    assert options_of(CPU).precision == "fp32"


def test_cores_are_the_last_ones_unless_told() -> None:
    assert chosen_cores(OrtOptions(), (0, 2, 5)) == {5}
    assert chosen_cores(OrtOptions(threads=2), (0, 2, 5)) == {2, 5}
    assert chosen_cores(OrtOptions(core=1, threads=2), (0, 2, 5)) == {1, 2}
