"""The link between single damage, joint damage and the limit's figure follows the measurements."""

from __future__ import annotations

import pytest

from hwopt.accuracy import Drop
from hwopt.damage.link import CONFIDENCE, Point, estimated, prior, suffered
from hwopt.damage.measure import Damage
from hwopt.settings import AccuracyLimit

DROP = AccuracyLimit("max_drop", 0.02)
DIVERGENCE = AccuracyLimit("max_divergence", 0.05)


def test_without_measurements_it_is_the_prior() -> None:
    assert estimated([], DIVERGENCE) == prior(DIVERGENCE)
    assert prior(DIVERGENCE).allowed(DIVERGENCE) == DIVERGENCE.value


@pytest.mark.parametrize("joint", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("rate", [0.1, 0.4, 1.5])
def test_many_plans_of_one_law_reveal_it(joint: float, rate: float) -> None:
    """Joint damage is `joint` times the sum, and the drop is `rate` times that."""
    points = [Point(a, joint * a, rate * joint * a) for a in (0.1, 0.2, 0.4, 0.8, 0.2, 0.3) for _ in "ab"]
    link = estimated(points, DROP)
    assert link.joint_per_added_up == pytest.approx(joint, rel=0.15)
    assert link.suffered_per_joint == pytest.approx(rate, rel=0.25)
    assert link.points == tuple(points)


def test_a_plan_near_the_limit_counts_more_than_one_far_beyond() -> None:
    near, far = Point(0.05, 0.05, 0.05), Point(0.05, 0.5, 0.5)
    link = estimated([near, far], DIVERGENCE)
    assert link.joint_per_added_up < 0.5 * (1.0 + 10.0) / 2


def test_a_lucky_plan_does_not_promise_endless_room() -> None:
    link = estimated([Point(0.05, 0.04, 0.0)], DROP)
    assert 0 < link.allowed(DROP) < 1.0


def test_a_drop_is_the_larger_of_counted_and_expected_with_its_error() -> None:
    counted, expected = Drop(0.01, 0.005, (0.0, 0.02)), Drop(0.008, 0.004, (0.0, 0.016))
    damage = Damage("kl", 0.1, 0.9, "top1", 0.9, 0.89, counted, 100, (0.1,), expected)
    assert suffered(damage, DROP) == pytest.approx(max(0.01, 0.008 + CONFIDENCE * 0.004))
    assert suffered(damage, DIVERGENCE) == 0.1
