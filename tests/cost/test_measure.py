"""Campaigns against an oracle of known prices: rows land in their groups, nothing is made up."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from hwopt.cost import dataset
from hwopt.cost.measure import measure_campaign, rows_of
from hwopt.cost.sampling import Sample, samples
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_weights import WeightStyle
from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Answer, Job, Measurement, Progress, Row, Unmeasured
from hwopt.registry import load_target
from hwopt.target import Target


@dataclass
class Counting:
    """An oracle that says 1 us for every node output, a thousand MACs each, and counts its jobs."""

    name: str = "counting"
    source: str = "compiled"
    identity: str = "counting 1"
    asked: int = 0
    in_context: set[bool] = field(default_factory=set)

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        self.asked += len(jobs)
        self.in_context |= {job.in_context for job in jobs}
        return [self._answer(onnx.ModelProto.FromString(job.model)) for job in jobs]

    def _answer(self, proto: onnx.ModelProto) -> Answer:
        if any(node.op_type == "Softmax" for node in proto.graph.node):
            return Unmeasured("no softmax here\nsecond line")
        rows = tuple(Row(name, 1.0, macs=1000) for node in proto.graph.node for name in node.output)
        return Measurement(float(len(rows)), rows)


@pytest.fixture
def target() -> Target:
    return load_target("ethos-u55-256")


def _residual() -> Sample:
    """conv+relu, conv, add: three groups of 2, 1 and 1 nodes."""
    net = Net("residual", WeightStyle(), (3,))
    x = net.input(1, 8, 6, 6)
    h = net.conv(x, 8, 3, 1, "relu")
    return Sample("residual-1", "resnet", "resnet-1", net.model(net.add(h, net.conv(h, 8))))


def test_rows_are_summed_within_a_fused_group(target: Target, tmp_path: Path) -> None:
    oracle = Counting()
    with Cache(tmp_path) as cache:
        campaign = measure_campaign(target, oracle, [_residual()], tmp_path / "m.csv.xz", cache)
    rows = dataset.read_samples(tmp_path / "m.csv.xz")
    assert [(row.signature.kind, row.latency_us, row.macs) for row in rows] == [
        ("conv", 2.0, 2000),
        ("pointwise", 1.0, 1000),
        ("add", 1.0, 1000),
    ]
    assert {(row.sample, row.family, row.network) for row in rows} == {("residual-1", "resnet", "resnet-1")}
    assert campaign.rows == {"add": 1, "conv": 1, "pointwise": 1}
    assert campaign.data_sha256 == dataset.file_hash(tmp_path / "m.csv.xz")
    assert oracle.in_context == {True}


def test_context_is_what_the_group_sees_in_the_sample(target: Target) -> None:
    found = rows_of(_residual(), _answer_for(_residual()), target, Counter())
    assert found[1].signature.producers == ("conv",)
    assert found[1].signature.consumers == ("add",)
    assert found[2].signature.consumers == ("graph_output",)


def test_unmeasured_samples_are_counted_with_their_reason(target: Target, tmp_path: Path) -> None:
    net = Net("soft", WeightStyle(), (3,))
    soft = Sample("soft-1", "operators", "", net.model(net.softmax(net.input(1, 10))))
    with Cache(tmp_path) as cache:
        campaign = measure_campaign(target, Counting(), [soft, _residual()], tmp_path / "m.csv.xz", cache)
    assert campaign.samples == 2
    assert campaign.dropped == {"sample: no softmax here": 1}
    assert {row.sample for row in dataset.read_samples(tmp_path / "m.csv.xz")} == {"residual-1"}


def test_a_group_without_a_figure_gives_no_row(target: Target) -> None:
    dropped: Counter[str] = Counter()
    unpriced = replace(_answer_for(_residual()), unpriced=("t3",))
    assert [r.signature.kind for r in rows_of(_residual(), unpriced, target, dropped)] == [
        "conv",
        "pointwise",
    ]
    assert dropped == {"group: add: the oracle has no figure": 1}


def test_a_group_that_ran_inside_its_neighbour_was_free(target: Target) -> None:
    dropped: Counter[str] = Counter()
    answer = _answer_for(_residual())
    without = replace(answer, rows=tuple(row for row in answer.rows if row.output not in ("t0", "t1", "t3")))
    found = rows_of(_residual(), without, target, dropped)
    assert [(row.signature.kind, row.latency_us) for row in found] == [("pointwise", 1.0), ("add", 0.0)]
    assert dropped == {"group: conv: ran inside what stands before the sample": 1}


def test_a_concatenation_that_costs_nothing_is_kept_as_free(target: Target) -> None:
    """Unlike an operator that hid in a guard: no neighbour makes it cost more."""
    net = Net("both", WeightStyle(), (3,))
    sample = Sample("both", "", "", net.model(net.concat([net.input(1, 8, 6, 6), net.input(1, 8, 6, 6)])))
    dropped: Counter[str] = Counter()
    free = Measurement(0.0, (Row("t0", 0.0),))
    assert [row.latency_us for row in rows_of(sample, free, target, dropped)] == [0.0]
    assert not dropped


def test_whole_networks_are_measured_as_they_are(target: Target, tmp_path: Path) -> None:
    oracle = Counting()
    with Cache(tmp_path) as cache:
        whole = replace(_residual(), whole=True)
        measure_campaign(target, oracle, [whole], tmp_path / "m.csv.xz", cache)
    assert oracle.in_context == {False}


def test_what_does_not_fit_on_chip_is_not_learned(target: Target) -> None:
    dropped: Counter[str] = Counter()
    answer = replace(_answer_for(_residual()), peak_bytes=target.memories[0].bytes + 1)
    assert rows_of(_residual(), answer, target, dropped) == []
    assert dropped == {"sample: activations do not fit sram": 1}


def test_a_larger_campaign_asks_only_for_what_is_new(target: Target, tmp_path: Path) -> None:
    oracle, told = Counting(), []
    with Cache(tmp_path) as cache:
        measure_campaign(target, oracle, samples(9, 0, 12), tmp_path / "a.csv.xz", cache)
        assert oracle.asked == 12
        tell = lambda done, rows: told.append((done, rows))  # noqa: E731
        measure_campaign(target, oracle, samples(9, 0, 20), tmp_path / "b.csv.xz", cache, tell, batch=8)
    assert oracle.asked == 20
    assert [done for done, _ in told] == [8, 16, 20]
    small, large = (dataset.read_samples(tmp_path / name) for name in ("a.csv.xz", "b.csv.xz"))
    assert large[: len(small)] == small


def _answer_for(sample: Sample) -> Measurement:
    answer = Counting().measure([Job(ir.to_proto(sample.model).SerializeToString())])[0]
    assert isinstance(answer, Measurement)
    return answer


def test_an_oracle_that_only_times_whole_models_teaches_single_groups(target: Target) -> None:
    net = Net("one", WeightStyle(), (3,))
    one = Sample("one-1", "operators", "", net.model(net.conv(net.input(1, 8, 6, 6), 8, 3, 1, "relu")))
    dropped: Counter[str] = Counter()
    found = rows_of(one, Measurement(7.5), target, dropped)
    assert [(row.signature.kind, row.latency_us) for row in found] == [("conv", 7.5)]
    assert rows_of(_residual(), Measurement(7.5), target, dropped) == []
    assert dropped == {"sample: the oracle gives no rows, and the sample is no single group": 1}
