"""How single damage adds up, and what it means in the figure that the limit speaks of.

Damage is measured value by value on quick repairs; a plan's is measured on the whole, with the
repair that it gets. Two ratios lead from one to the other, and both are estimated anew from
every plan that was measured: how much of the added-up damage is left when everything is
repaired together (later fits absorb what earlier ones could not), and how much of the limit's
figure, a drop of the metric say, a unit of joint damage costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwopt.damage.measure import Damage
from hwopt.settings import AccuracyLimit

# What EfficientNet-Lite0 showed of top-1 per nat. It only decides where the first round begins.
DROP_PER_NAT = 0.33
PRIOR_SHARE = 0.2  # of the first measurement: how much the guess before it still counts
LEAST_SHARE = 0.1  # of the limit: a plan that suffered less says that much at least, as chance may have it
CONFIDENCE = 1.645  # standard errors: 95%, one-sided


@dataclass(frozen=True)
class Point:
    """One plan that was measured. added_up: of its single values; joint: of the whole, measured."""

    added_up: float
    joint: float
    suffered: float


@dataclass(frozen=True)
class Link:
    """joint_per_added_up: ratio of damages; suffered_per_joint: the limit's unit per unit of damage.

    points: the measurements that both were estimated from.
    """

    joint_per_added_up: float
    suffered_per_joint: float
    points: tuple[Point, ...] = ()

    def allowed(self, limit: AccuracyLimit) -> float:
        """The added-up damage at which the limit is expected to be reached."""
        return limit.value / (self.joint_per_added_up * self.suffered_per_joint)


def suffered(damage: Damage, limit: AccuracyLimit) -> float:
    """The figure that the limit speaks of.

    A drop is the larger of the one that was counted and the one that is expected, the latter with
    its error to spare: among plans that are all within the noise of a few hundred samples, the
    search would find the lucky one. On EfficientNet-Lite0 with 250 images a plan picked by its
    counted drop alone, 2.8 points, lost 7.4 on other images; by its expected drop alone, 5.6.
    """
    if limit.name == "max_drop" and damage.drop is not None:
        expected = damage.expected_drop
        return max(damage.drop.value, expected.value + CONFIDENCE * expected.error if expected else 0.0)
    return damage.divergence


def prior(limit: AccuracyLimit) -> Link:
    """The link before anything was measured: damage adds up."""
    return Link(1.0, DROP_PER_NAT if limit.name == "max_drop" else 1.0)


def estimated(points: Sequence[Point], limit: AccuracyLimit) -> Link:
    """The link as all measurements together tell it.

    Ratios of sums, where a plan counts by its damage and by how near it came to the limit: the
    link bends for plans far beyond it.
    """
    known = [point for point in points if point.added_up > 0]
    guess = prior(limit)
    if not known:
        return guess
    weights = [_nearness(point, limit) for point in known]
    prior_weight = PRIOR_SHARE * known[0].added_up * weights[0]
    added_up = prior_weight + _sum(weights, [point.added_up for point in known])
    joint = prior_weight * guess.joint_per_added_up + _sum(weights, [max(p.joint, 1e-12) for p in known])
    felt = prior_weight * guess.joint_per_added_up * guess.suffered_per_joint
    felt += _sum(weights, [_at_least(point, limit) for point in known])
    return Link(joint / added_up, felt / joint, tuple(points))


def _at_least(point: Point, limit: AccuracyLimit) -> float:
    return max(point.suffered, LEAST_SHARE * limit.value, 1e-12)


def _nearness(point: Point, limit: AccuracyLimit) -> float:
    """1 for a plan that just meets the limit, less by the factor that it is off by."""
    felt, wanted = _at_least(point, limit), max(limit.value, 1e-12)
    return min(felt / wanted, wanted / felt)


def _sum(weights: Sequence[float], figures: Sequence[float]) -> float:
    return sum(weight * figure for weight, figure in zip(weights, figures, strict=True))
