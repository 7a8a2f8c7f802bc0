"""Fusion rules by measurement: against devices whose rules are known, and against Vela."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.cost.fusion_pairs import ANCHORS, CASES, FOLLOWERS, alone, chain, reference
from hwopt.cost.fusion_rules import FusionFindings, find_fusions, summary
from hwopt.cost.fusion_verdict import Verdict
from hwopt.describe import Group
from hwopt.errors import BadInput
from hwopt.grouping import fused_groups
from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Answer, Job, Measurement, Progress, Row, Unmeasured
from hwopt.registry import load_target, make_oracle
from hwopt.shapes import infer_shapes
from hwopt.target.file import Fusion, Target

OPS = ("Conv", "DepthwiseConv", "Gemm", "Clip", "Sigmoid", "HardSigmoid", "Add")
RULES = (
    Fusion(frozenset({"Conv"}), (frozenset({"Add"}), frozenset({"Clip", "Sigmoid"}))),
    Fusion(frozenset({"DepthwiseConv", "Add"}), (frozenset({"Clip"}),)),
)


@dataclass
class Device:
    """Runs fused groups under known rules: a group costs what its first operator does.

    call_us: what every call costs besides. noise: relative standard deviation of a time, of which
    the device tells. rows: after which value of a group its row is named, "" for no rows.
    """

    call_us: float = 0.0
    noise: float = 0.0
    rows: str = ""
    name: str = "device"
    source: str = "measured"
    asked: int = 0
    target: Target = field(default_factory=lambda: replace(load_target("ethos-u55-256"), fusions=RULES))

    @property
    def identity(self) -> str:
        return f"device call={self.call_us} noise={self.noise} rows={self.rows}"

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        self.asked += len(jobs)
        return [self._answer(job) for job in jobs]

    def _answer(self, job: Job) -> Answer:
        model = ir.from_proto(onnx.load_model_from_string(job.model))
        if any(node.op_type == "HardSigmoid" for node in model.graph):
            return Unmeasured("no HardSigmoid here\nsecond line")
        shapes = infer_shapes(model, {})
        rows = tuple(
            Row(self._name(group), prod(shapes[group.outputs[0].name or ""].shape) / 1000)
            for group in fused_groups(list(model.graph), set(), self.target)
        )
        total = self.call_us + sum(row.latency_us for row in rows)
        rng = np.random.default_rng(int(job.key[:12], 16))
        noisy = total * (1 + self.noise * float(rng.standard_normal()))
        return Measurement(noisy, rows if self.rows else (), details={"noise": self.noise})

    def _name(self, group: Group) -> str:
        value = group.anchor.outputs[0] if self.rows == "first" else group.outputs[0]
        return value.name or ""


def find(device: Device, folder: Path, ops: Sequence[str] = OPS) -> FusionFindings:
    with Cache(folder) as cache:
        return find_fusions(ops, device, cache)


EXPECTED = {"Conv": ("Add", "Clip", "Sigmoid"), "DepthwiseConv": ("Clip",), "Add": ("Clip",)}


@pytest.mark.parametrize(
    "device",
    [
        Device(rows="first", call_us=500.0),
        Device(rows="last", call_us=500.0),
        Device(),
        Device(call_us=500.0),  # many times the operators: without taking it off all looks fused
        Device(call_us=20.0, noise=0.001),
    ],
    ids=["rows", "rows of ends", "times", "slow call", "noise"],
)
def test_the_rules_of_a_device_are_found(device: Device, tmp_path: Path) -> None:
    found = find(device, tmp_path)
    assert summary(found) == EXPECTED
    assert found.verdict("Gemm", "Clip") is Verdict.APART
    assert {pair for pair in found.unclear if pair[1] != "HardSigmoid"} == set()
    assert {row.how for row in found.rows} == {"rows" if device.rows else "times", ""}


def test_chains_of_three_tell_slots_apart(tmp_path: Path) -> None:
    """Behind a Conv an Add and then an activation fit; so the rules come back as they are."""
    assert set(find(Device(), tmp_path).rules) == set(RULES)
    single = Device(
        target=replace(
            Device().target,
            fusions=(Fusion(RULES[0].anchors, (RULES[0].followers[0] | RULES[0].followers[1],)), RULES[1]),
        )
    )
    single.name = "one at most"
    rules = find(replace(single, call_us=1e-9), tmp_path).rules
    assert rules[0].followers == (frozenset({"Add", "Clip", "Sigmoid"}),)


def test_noise_decides_nothing(tmp_path: Path) -> None:
    found = find(Device(noise=0.4), tmp_path, ("Conv", "Clip"))
    assert found.verdict("Conv", "Clip") is Verdict.UNCLEAR
    assert found.unclear == (("Conv", "Clip"),)
    assert found.rules == ()
    assert all(row.reason for row in found.rows)
    assert "within the noise" in found.csv()
    assert tomllib.loads(found.toml()) == {}


def test_what_cannot_be_measured_is_unclear_with_its_reason(tmp_path: Path) -> None:
    found = find(Device(), tmp_path, ("Conv", "HardSigmoid"))
    assert [row.reason for row in found.rows] == ["no HardSigmoid here"] * len(CASES)
    assert found.verdict("Conv", "Tanh") is Verdict.UNCLEAR


def test_the_toml_is_what_a_target_reads(tmp_path: Path) -> None:
    found = find(Device(), tmp_path)
    tables = tomllib.loads(found.toml())["fusion"]
    read = [Fusion(frozenset(t["anchors"]), tuple(map(frozenset, t["followers"]))) for t in tables]
    assert tuple(read) == found.rules
    assert all(len(line) <= 110 for line in found.toml().splitlines() if not line.startswith("#"))


def test_the_evidence_is_a_line_per_pair_and_shape(tmp_path: Path) -> None:
    lines = find(Device(call_us=500.0), tmp_path, ("Conv", "Clip")).csv().splitlines()
    assert len(lines) == 1 + len(CASES)
    assert lines[0].startswith("anchor,followers,shape,how,anchor_us,follower_us,pair_us,call_us,verdict")
    # 32 x 28 x 28 values: 25.088 us each, one call of 500 us in every time.
    assert lines[1] == "Conv,Clip,1x32x28x28,times,525.088,525.088,525.088,500,fused,"


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    device = Device()
    first = find(device, tmp_path)
    asked = device.asked
    assert find(device, tmp_path) == first
    assert device.asked == asked


def test_operators_that_make_no_pair_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="to try second"):
        find(Device(), tmp_path, ("Conv",))
    with pytest.raises(BadInput, match="to try first"):
        find(Device(), tmp_path, ("Relu",))


def test_every_model_is_valid_and_names_its_operators() -> None:
    for case in CASES:
        for anchor in ANCHORS:
            for follower in FOLLOWERS:
                built = chain(anchor, (follower,), case)
                proto = onnx.load_model_from_string(built.model)
                onnx.checker.check_model(proto, full_check=True)
                names = [name for node in proto.graph.node for name in node.output]
                assert [name for part in built.outputs for name in part] == names
                assert _output_shape(proto) == built.shape
        for follower in FOLLOWERS:
            onnx.checker.check_model(onnx.load_model_from_string(alone(follower, (1, 8, 4, 4)).model), True)
    assert len(onnx.load_model_from_string(reference((1, 8, 4, 4), 3).model).graph.node) == 3


def _output_shape(proto: onnx.ModelProto) -> tuple[int, ...]:
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    return tuple(d.dim_value for d in inferred.graph.output[0].type.tensor_type.shape.dim)


@pytest.mark.skipif(importlib.util.find_spec("ethosu") is None, reason="the extra 'ethos' is not installed")
def test_what_the_ethos_u55_target_declares_is_what_vela_does(tmp_path: Path) -> None:
    target = load_target("ethos-u55-256")
    followers = ("Clip", "Sigmoid", "HardSwish", "HardSigmoid", "Silu")
    anchors = ("Conv", "DepthwiseConv", "GroupedConv", "Gemm", "Add", "AveragePool")
    with Cache(tmp_path) as cache:
        found = find_fusions((*anchors, *followers), make_oracle(target), cache, cases=CASES[1:2])
    for anchor in anchors:
        declared = next(fusion.followers for fusion in target.fusions if anchor in fusion.anchors)
        for follower in followers:
            expected = Verdict.FUSED if any(follower in slot for slot in declared) else Verdict.APART
            assert found.verdict(anchor, follower) is expected, (anchor, follower)


def test_a_target_is_tried_with_followers_that_its_engines_do_not_name(tmp_path: Path) -> None:
    target = load_target("ethos-u55-256")
    alone = replace(target, engines=(replace(target.engines[0], ops=frozenset({"Conv"})),))
    with Cache(tmp_path) as cache:
        found = find_fusions(alone, Device(), cache, cases=CASES[:1])
    assert {row.pair.first[0] for row in found.rows} == {"Conv"}
    assert summary(found) == {"Conv": EXPECTED["Conv"]}
