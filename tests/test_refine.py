"""`--refine`: how often the oracle is asked, for what, and what the report says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import pytest

import hwopt
from hwopt.errors import BadInput
from hwopt.estimate import Estimate, Source
from hwopt.oracles.protocol import Answer, Job, Measurement, Progress, Row
from hwopt.pipeline import analyze
from tests.graphs import classifier

TARGET = "ethos-u55-256"


@dataclass
class Counting:
    """7 us for every node; only the total where the model is a whole one and `rows` is off."""

    rows: bool = True
    name: str = "counting"
    source: str = "compiled"
    identity: str = "counting 1"
    batches: list[int] = field(default_factory=list)

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        self.batches.append(len(jobs))
        return [self._answer(job) for job in jobs]

    def _answer(self, job: Job) -> Answer:
        nodes = onnx.ModelProto.FromString(job.model).graph.node
        rows = tuple(Row(node.output[0], 7.0) for node in nodes)
        return Measurement(7.0 * len(rows), rows if self.rows or job.in_context else ())


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counting:
    """The target's oracle, and a cache that nobody else writes."""
    counting = Counting()
    monkeypatch.setenv("HWOPT_CACHE", str(tmp_path))
    monkeypatch.setattr("hwopt.work.make_oracle", lambda target: counting)
    return counting


def test_zero_never_asks(oracle: Counting) -> None:
    result = hwopt.optimize(classifier(), target=TARGET, refine=0, dry_run=True)
    analyze(classifier(), target=TARGET, refine=0)
    assert oracle.batches == []
    assert not isinstance(result.report.verification, str)
    assert "--refine 0" in str(result.report.verification)


def test_what_cannot_be_asked_about_is_not_made(oracle: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr("hwopt.pricing.refine.rewrite", lambda *_: made.append(1))
    changed = hwopt.optimize(classifier(), target=TARGET, refine=0, dry_run=True)
    assert changed.plan.steps
    assert made == []


def test_an_analysis_asks_for_as_many_subgraphs_as_it_may(oracle: Counting) -> None:
    report = analyze(classifier(), target=TARGET, refine=2)
    assert oracle.batches == [2]
    exact = [
        row for row in report.subgraphs.before
        if isinstance(row.latency_us, Estimate) and row.latency_us.source is Source.COMPILED
    ]  # fmt: skip
    assert len(exact) >= 2
    assert all(isinstance(row.latency_us, Estimate) and row.latency_us.value % 7 == 0 for row in exact)
    assert any("have the oracle's own figure" in note for note in report.notes)


def test_measuring_the_whole_model_is_another_wish(oracle: Counting) -> None:
    analyze(classifier(), target=TARGET, refine=0, measure=True)
    assert oracle.batches == [1]


def test_a_whole_model_with_rows_needs_no_parts_and_one_without_does(oracle: Counting) -> None:
    hwopt.optimize(classifier(), target=TARGET, refine=3, dry_run=True)
    assert set(oracle.batches) == {1}
    oracle.rows = False
    oracle.identity = "counting 2"
    hwopt.optimize(classifier(), target=TARGET, refine=3, dry_run=True)
    assert 3 in oracle.batches


def test_an_oracle_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(target: object) -> object:
        raise BadInput("not installed: pip install 'hwopt[ethos]'")

    monkeypatch.setattr("hwopt.work.make_oracle", missing)
    assert any("hwopt[ethos]" in note for note in analyze(classifier(), target=TARGET).notes)
    assert not analyze(classifier(), target=TARGET, refine=0).notes


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(BadInput, match="--refine -1"):
        analyze(classifier(), target=TARGET, refine=-1)
