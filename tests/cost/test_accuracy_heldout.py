"""Held-out truth on disk, and the scores of predictions made of it."""

import lzma
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hwopt.cost.accuracy import without_shapes
from hwopt.cost.dataset import Sample
from hwopt.cost.heldout import Group, HeldOut, Network, Rewrite, read_held_out, write_held_out
from hwopt.cost.judging import counts, judge, kind_scores, network_scores, rewrite_scores
from hwopt.errors import BadInput
from hwopt.estimate import Estimate, Source
from hwopt.signature import Signature


def signature(channels: int, kind: str = "pointwise") -> Signature:
    shape = (1, channels, 8, 8)
    return Signature(kind, ("Conv",), (shape,), (shape,), "int8", (1, 1), (1, 1))


A, B, C, D = (signature(channels) for channels in (8, 16, 24, 32))


@pytest.fixture
def truth() -> HeldOut:
    first = Network("whole-1", "one", (Group(A, 10.0, 9.5), Group(B, 20.0), Group(B, 30.0, 26.0)), 60.0)
    second = Network("real-2", "two", (Group(A, 10.0), Group(C, 90.0)), 100.0)
    faster = Rewrite("whole-1", "one", "prune:x0.5", (Group(B, 20.0),), (Group(C, 12.0),), 60.0, 52.0)
    slower = Rewrite("whole-1", "one", "fuse", (Group(A, 10.0),), (Group(D, 25.0, 24.0),), 60.0, 75.0)
    nothing = Rewrite("real-2", "two", "align", (Group(A, 10.0),), (Group(B, 10.2),), 100.0, 100.2)
    return HeldOut((first, second), (faster, slower, nothing))


class Prices:
    """Fixed prices, each with a spread of a tenth."""

    def __init__(self, prices: dict[Signature, float]) -> None:
        self.prices = prices

    def predict(self, signatures: Sequence[Signature]) -> list[Estimate]:
        return [Estimate(self.prices[s], 0.1 * self.prices[s], Source.PREDICTED) for s in signatures]


def test_a_file_holds_what_was_written(truth: HeldOut, tmp_path: Path) -> None:
    path = tmp_path / "held_out.csv.xz"
    measured = replace(truth, networks=(replace(truth.networks[0], noise_us=0.5), truth.networks[1]))
    write_held_out(path, measured)
    assert read_held_out(path) == measured
    first = path.read_bytes()
    write_held_out(path, read_held_out(path))
    assert path.read_bytes() == first


def test_a_broken_file_names_the_line(truth: HeldOut, tmp_path: Path) -> None:
    path = tmp_path / "held_out.csv.xz"
    write_held_out(path, truth)
    lines = lzma.decompress(path.read_bytes()).decode().splitlines()
    lines[3] = lines[3].replace(",group,", ",grup,")
    path.write_bytes(lzma.compress("\n".join(lines).encode()))
    with pytest.raises(BadInput, match="line 4"):
        read_held_out(path)
    with pytest.raises(BadInput, match="cost_truth"):
        read_held_out(tmp_path / "absent")


def test_network_scores_are_those_of_the_sums(truth: HeldOut) -> None:
    judged = judge(truth, Prices({A: 10.0, B: 22.0, C: 99.0, D: 25.0}))
    assert [item.predicted.value for item in judged.networks] == pytest.approx([54.0, 109.0])
    scores = network_scores(judged.networks)
    assert scores.mape == pytest.approx(100 * (0.1 + 0.09) / 2)
    assert scores.bias == pytest.approx(100 * (-0.1 + 0.09) / 2)
    assert (scores.within_5, scores.within_10, scores.number) == (0.0, 100.0, 2)
    assert scores.worst == pytest.approx(10.0)
    # Equal groups are wrong together: 1 and 2 x 2.2, then 1 and 9.9.
    assert [item.predicted.spread for item in judged.networks] == pytest.approx(
        [math.hypot(1.0, 4.4), math.hypot(1.0, 9.9)]
    )
    assert (scores.covered_1, scores.covered_2) == (50.0, 100.0)


def test_refining_replaces_the_groups_whose_spreads_weigh_most(truth: HeldOut) -> None:
    prices = Prices({A: 10.0, B: 22.0, C: 99.0, D: 25.0})
    judged = judge(truth, prices, refine=1)
    # B weighs 4.4 in the first: its occurrences get their own figures, exact ones where there are.
    assert judged.networks[0].predicted.value == pytest.approx(10.0 + 20.0 + 26.0)
    assert judged.networks[1].predicted.value == pytest.approx(10.0 + 90.0)
    # Of D for A, D is the least certain.
    assert judged.rewrites[1].effect.value == pytest.approx(24.0 - 10.0)


def test_signs_count_only_where_the_model_moves(truth: HeldOut) -> None:
    wrong = Prices({A: 10.0, B: 20.0, C: 21.0, D: 25.0})  # says that pruning B to C costs
    scores = rewrite_scores(judge(truth, wrong).rewrites)
    assert (scores.number, scores.moving, scores.right_sign) == (3, 2, 50.0)
    errors = [abs(1.0 + 8.0) / 60, abs(15.0 - 15.0) / 60, abs(10.0 - 0.2) / 100]
    assert scores.effect_error == pytest.approx(100 * sum(errors) / 3)
    # The best of the first network's variants is the pruned one (8 of 60 lost), of the second's none.
    assert scores.best_found == 50.0
    assert scores.regret == pytest.approx(100 * (8.0 / 60 + 0.0) / 2)


def test_a_measured_effect_counts_beyond_three_times_its_noise(truth: HeldOut) -> None:
    faster, slower, nothing = truth.rewrites
    assert [counts(item) for item in (faster, slower, nothing)] == [True, True, False]
    assert counts(replace(faster, noise_us=2.6))
    assert not counts(replace(faster, noise_us=2.7))
    assert counts(replace(nothing, noise_us=0.06))


def test_groups_are_scored_kind_by_kind_and_once_per_network(truth: HeldOut) -> None:
    pool = signature(8, "pool")
    network = Network("n", "one", (Group(A, 10.0), Group(A, 10.0), Group(pool, 2.0), Group(B, 0.0)), 22.0)
    judged = judge(HeldOut((network,), ()), Prices({A: 11.0, B: 1.0, pool: 1.9}))
    pointwise, pooled = kind_scores(judged.groups)
    assert (pooled.kind, pooled.number) == ("pool", 1)
    assert pooled.bias == pytest.approx(-5.0)
    assert (pointwise.kind, pointwise.number) == ("pointwise", 1)
    assert pointwise.mape == pytest.approx(10.0)


def test_what_shares_a_shape_with_the_truth_is_not_trained_on(truth: HeldOut) -> None:
    other_context = replace(A, producers=("conv",))
    rows = [Sample(str(i), "x", "", s, 1.0) for i, s in enumerate((other_context, signature(40), D))]
    kept = without_shapes(rows, truth.of(frozenset({"two"})).signatures)
    assert [row.signature for row in kept] == [signature(40), D]


def test_nothing_to_judge_scores_nothing() -> None:
    assert network_scores(()).number == 0
    assert rewrite_scores(()).moving == 0
