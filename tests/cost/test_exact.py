"""The most uncertain subgraphs are measured between their true neighbours; nothing else is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import onnx
import onnx_ir as ir
import pytest

from hwopt.assess import assess
from hwopt.cost.exact import most_uncertain, refine_most_uncertain
from hwopt.cost.learned import Learned
from hwopt.estimate import Estimate, Source
from hwopt.oracles.protocol import Answer, Job, Measurement, Progress, Row, Unmeasured
from hwopt.partition import partition
from hwopt.registry import load_target
from hwopt.shapes import infer_shapes
from hwopt.signature import Signature
from tests.analytic import AnalyticCostModel
from tests.graphs import classifier

TARGET = load_target("ethos-u55-256")
UNSURE = {"depthwise", "pointwise"}


class Unsure(AnalyticCostModel):
    """Sure of everything but convolutions with few taps."""

    def predict(self, signatures: Sequence[Signature]) -> list[Estimate]:
        known = super().predict(signatures)
        return [
            replace(e, spread=e.value * (0.5 if s.kind in UNSURE else 0.0))
            for s, e in zip(signatures, known, strict=True)
        ]


@dataclass
class Counting:
    """7 us for every node; a cut without rows where it knows totals only."""

    rows: bool = True
    fails: bool = False
    name: str = "counting"
    source: str = "compiled"
    identity: str = "counting 1"
    batches: list[list[onnx.ModelProto]] = field(default_factory=list)

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        self.batches.append([onnx.ModelProto.FromString(job.model) for job in jobs])
        return [self._answer(proto) for proto in self.batches[-1]]

    def _answer(self, proto: onnx.ModelProto) -> Answer:
        if self.fails:
            return Unmeasured("no")
        rows = tuple(Row(node.output[0], 7.0) for node in proto.graph.node)
        return Measurement(7.0 * len(rows), rows if self.rows else ())


def refine(model: ir.Model, oracle: Counting, count: int) -> Learned:
    shapes = infer_shapes(model, {})
    return refine_most_uncertain(model, partition(model, shapes, TARGET), shapes, Unsure(), oracle, count)


@pytest.mark.parametrize("rows", [True, False])
def test_the_figures_of_the_most_uncertain_are_the_oracles(rows: bool) -> None:
    model, oracle = classifier(), Counting(rows)
    parts = partition(model, infer_shapes(model, {}), TARGET)
    chosen = most_uncertain(parts, Unsure(), 2)
    assert {group.kind for group in chosen} <= UNSURE
    learned = refine(model, oracle, 2)
    for group in chosen:
        assert learned.predict([group.signature]) == [Estimate(7.0 * len(group.nodes), 0.0, Source.COMPILED)]
    others = [s for s in parts.signatures if s not in {group.signature for group in chosen}]
    assert learned.predict(others) == Unsure().predict(others)


def test_all_are_asked_in_one_batch_with_their_neighbours_and_weights() -> None:
    model, oracle = classifier(), Counting()
    refine(model, oracle, 2)
    assert [len(batch) for batch in oracle.batches] == [2]
    parts = partition(model, infer_shapes(model, {}), TARGET)
    for proto, group in zip(oracle.batches[0], most_uncertain(parts, Unsure(), 2), strict=True):
        onnx.checker.check_model(proto)
        cut = ir.from_proto(proto)
        inside = partition(cut, infer_shapes(cut, {}), TARGET)
        assert group.signature in inside.signatures  # shapes, context and weights are those of the model
        assert len(inside.subgraphs) < len(parts.subgraphs)


def test_the_spread_shrinks_and_nothing_else() -> None:
    model = classifier()
    before = assess(model, {}, TARGET, Unsure()).latency_us
    after = assess(model, {}, TARGET, refine(model, Counting(), 100)).latency_us
    assert before.spread > 0
    assert after.spread == 0


def test_zero_asks_nothing_and_a_failure_leaves_the_prediction() -> None:
    model, oracle = classifier(), Counting(fails=True)
    signatures = partition(model, infer_shapes(model, {}), TARGET).signatures
    assert refine(model, oracle, 0).predict(signatures) == Unsure().predict(signatures)
    assert oracle.batches == []
    assert refine(model, oracle, 3).predict(signatures) == Unsure().predict(signatures)
