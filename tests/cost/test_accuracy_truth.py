"""Held-out truth: with an oracle that adds up, a rewrite's groups add up to its effect."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest

from hwopt.choice import Kind, Risk, Stage, Value
from hwopt.cost.heldout import HeldOut
from hwopt.cost.judging import judge
from hwopt.cost.truth import (
    Subject,
    asking,
    choose,
    exact_figures,
    kind_of,
    make_subject,
    measure_networks,
    measure_rewrites,
    network_of,
    rewrite_of,
    with_exact,
)
from hwopt.estimate import Estimate, Source
from hwopt.ir import load_model
from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Answer, Job, Measurement, Progress, Row
from hwopt.registry import load_target, select_passes
from hwopt.signature import Signature

FIGURES = Path(__file__).parents[2] / "models" / "figures" / "figures.onnx"
TARGET = load_target("ethos-u55-256")


class Additive:
    """A node costs a microsecond for each letter of its type and each row of its constants; views nothing."""

    name = "additive"
    identity = "additive 1"

    def __init__(self, source: str = "compiled") -> None:
        self.source = source
        self.calls: list[int] = []

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        self.calls.append(len(jobs))
        return [self._one(job) for job in jobs]

    def _one(self, job: Job) -> Measurement:
        model = onnx.load_from_string(job.model)
        sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
        rows = []
        for node in model.graph.node:
            weights = [sizes[name] for name in node.input if name in sizes]
            views = ("Reshape", "Flatten", "Identity")
            cost = 0 if node.op_type in views else len(node.op_type) + sum(w[0] for w in weights if w)
            rows.append(Row(node.output[0], float(cost)))
        details = json.loads('{"noise": 0.01}') if self.source == "measured" else {}
        return Measurement(sum(row.latency_us for row in rows), tuple(rows), details=details)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return make_subject(load_model(FIGURES), "real-figures", "mobilenet_v2", TARGET, select_passes())


def one_of_each_kind(subject: Subject) -> list[Value]:
    return list({kind_of(value): value for value in subject.values}.values())


def test_what_a_rewrite_changes_adds_up_to_its_effect(subject: Subject, tmp_path: Path) -> None:
    values = one_of_each_kind(subject)
    assert len({value.pass_name for value in values}) >= 4
    with Cache(tmp_path) as cache:
        found = measure_rewrites(subject, values, TARGET, asking(Additive(), cache), Counter())
    assert len(found) == len(values)
    for value, before, after in found:
        item = rewrite_of(subject, value, before, after)
        changed = sum(g.latency_us for g in item.added) - sum(g.latency_us for g in item.removed)
        assert changed == pytest.approx(item.effect_us)
        everywhere = value.kind == Kind.MODEL
        assert 0 < len(item.added) <= len(before.groups) - (not everywhere)
        assert item.change.startswith(value.pass_name)


def test_whoever_knows_every_group_predicts_every_effect(subject: Subject, tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        ask = asking(Additive(), cache)
        ((_, base),) = measure_networks([subject], TARGET, ask, Counter())
        found = measure_rewrites(subject, one_of_each_kind(subject), TARGET, ask, Counter())
    items = tuple(rewrite_of(subject, *triple) for triple in found)
    truth = HeldOut((network_of(subject, base),), items)
    sums: dict[Signature, list[float]] = {}
    for group in (*truth.networks[0].groups, *(g for item in items for g in (*item.removed, *item.added))):
        sums.setdefault(group.signature, []).append(group.latency_us)

    class Omniscient:
        def predict(self, signatures: Sequence[Signature]) -> list[Estimate]:
            return [Estimate(sum(sums[s]) / len(sums[s]), 0.0, Source.PREDICTED) for s in signatures]

    judged = judge(truth, Omniscient())
    assert judged.networks[0].predicted.value == pytest.approx(truth.networks[0].latency_us)
    for item in judged.rewrites:
        assert item.effect.value == pytest.approx(item.rewrite.effect_us)


def test_exact_figures_are_those_of_the_group_in_its_context(subject: Subject, tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        oracle = Additive()
        ((_, base),) = measure_networks([subject], TARGET, asking(oracle, cache), Counter())
        wanted = [base.groups[2].signature, base.groups[5].signature]
        exact = exact_figures(base, wanted, oracle, cache)
    assert set(exact) == set(wanted)
    filled = with_exact(base.groups, exact)
    # The made-up oracle does not care for neighbours: alone and inside are the same.
    assert filled[2].exact_us == filled[2].latency_us
    assert [g.exact_us for g in filled].count(None) >= len(filled) - 4


def test_a_measuring_oracle_sees_the_network_beside_its_rewrites(subject: Subject, tmp_path: Path) -> None:
    values = list(subject.values)[:9]
    oracle = Additive("measured")
    with Cache(tmp_path) as cache:
        found = measure_rewrites(subject, values, TARGET, asking(oracle, cache), Counter())
    assert oracle.calls == [8, 3]  # seven rewrites and two, with the network in each call
    item = rewrite_of(subject, *found[0])
    assert item.noise_us == pytest.approx(0.01 * (item.before_us**2 + item.after_us**2) ** 0.5)


def test_choosing_spreads_over_kinds_and_keeps_the_seed(subject: Subject) -> None:
    chosen = choose([subject], 16, seed=1, most=50)
    kinds = Counter(kind_of(value) for value in chosen[subject.name])
    assert sum(kinds.values()) == 16
    assert max(kinds.values()) - min(kinds.values()) <= 1
    again = choose([subject], 16, seed=1, most=50)
    assert [(v.choice, v.name) for v in again[subject.name]] == [
        (v.choice, v.name) for v in chosen[subject.name]
    ]
    assert len(choose([subject], 500, seed=1, most=7)[subject.name]) == 7


@pytest.mark.parametrize(("width", "word"), [(50, "prune:x0.50"), (85, "prune:x0.83"), (120, "prune")])
def test_widths_are_told_by_their_ratio(width: int, word: str) -> None:
    parameters = {"from": 100, "to": width}
    value = Value(
        "c", Kind.WIDTH, f"w{width}", "prune", Risk.LOSSY, Stage.PRUNE, (), lambda _: None, parameters
    )
    assert kind_of(value) == word
