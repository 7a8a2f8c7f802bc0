"""The policy gradient: its reward against the paper, its slopes against differences, and what it learns."""

from __future__ import annotations

import numpy as np
import pytest

from hwopt.choice import KEEP
from hwopt.estimate import Estimate, Source
from hwopt.scope import Price, Problem, Scope
from hwopt.search import Budget, Objective, random_plans, reinforce
from hwopt.search.problem import Task
from hwopt.search.reinforce import HARD, SOFT, STEEP, Policy, entropy_gradient
from hwopt.search.tables import Figures, figures_of
from tests.search.random_problems import choice


def figures(latency: float, damage: float) -> Figures:
    return figures_of([Price(Estimate(latency, 0.0, Source.PREDICTED), damage=damage)])


def test_the_soft_reward_pays_five_percent_accuracy_for_twice_the_latency() -> None:
    """The paper's example for w = -0.07: a(1 + 5%) x (2 T / T)^w is about a."""
    budget = Budget(Objective.DAMAGE, latency_us=10.0)
    quick, slow = figures(10.0, 0.2), figures(20.0, 0.2 - np.log(1.05))
    assert SOFT.of(quick, budget, 0.0) == pytest.approx(np.exp(-0.2))
    assert SOFT.of(slow, budget, 0.0) == pytest.approx(SOFT.of(quick, budget, 0.0), rel=2e-3)


def test_the_hard_reward_is_flat_within_the_limit_and_falls_beyond() -> None:
    budget = Budget(Objective.DAMAGE, latency_us=10.0)
    rewards = [HARD.of(figures(latency, 0.0), budget, 0.0)[0] for latency in (5.0, 10.0, 20.0)]
    assert rewards == pytest.approx([1.0, 1.0, 0.5])


def test_an_impossible_plan_earns_nothing_and_a_limit_of_zero_forgives_nothing() -> None:
    assert STEEP.of(figures_of([None]), Budget(damage=0.1), 10.0)[0] == 0.0
    exact = Budget(damage=0.0)
    assert STEEP.of(figures(5.0, 0.0), exact, 10.0)[0] == pytest.approx(2.0)
    assert STEEP.of(figures(1.0, 1e-3), exact, 10.0)[0] < 1e-6


def test_the_entropy_rises_along_its_slope() -> None:
    rng = np.random.default_rng(0)
    logits, step = rng.normal(size=(3, 4)), 1e-6

    def entropy(shift: np.ndarray) -> float:
        risen = np.exp(logits + shift)
        chances = risen / risen.sum(1, keepdims=True)
        return float(-(chances * np.log(chances)).sum())

    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    nudges = [step * np.eye(12)[i].reshape(3, 4) for i in range(12)]
    slopes = [(entropy(nudge) - entropy(-nudge)) / (2 * step) for nudge in nudges]
    assert entropy_gradient(chances).ravel() == pytest.approx(slopes, abs=1e-6)


def test_a_policy_starts_near_keep() -> None:
    policy = Policy.near_keep(np.array([1, 3, 5]), 0.2)
    chances = policy.chances
    assert chances[1:, 0] == pytest.approx([0.8, 0.8])
    assert chances[0] == pytest.approx([1.0, 0.0, 0.0, 0.0, 0.0])
    drawn = policy.draw(np.random.default_rng(0), 20_000)
    assert (drawn[:, 1] == 2).mean() == pytest.approx(0.1, abs=0.01)


def test_it_converges_to_a_known_optimum() -> None:
    """Every choice has one value that earns: the policy comes to prefer each of them."""
    best = np.array([2, 1, 3, 0, 2])
    policy, rng = Policy.near_keep(np.array([4, 3, 4, 2, 3]), 0.1), np.random.default_rng(1)
    for _ in range(150):
        plans = policy.draw(rng, 16)
        policy.learn(plans, (plans == best).mean(1))
    assert policy.chances.argmax(1).tolist() == best.tolist()
    assert policy.chances.max(1).min() > 0.5


def knapsack(seed: int) -> Problem:
    """Thirty choices of three values: what saves more harms more, at different rates."""
    rng = np.random.default_rng(seed)
    choices = tuple(choice(number, 3) for number in range(30))
    scopes = []
    for made in choices:
        saved = np.sort(rng.uniform(1, 20, 3))
        harm = np.sort(rng.uniform(0.001, 0.05, 3))
        prices: dict[tuple[str, ...], Price] = {(KEEP,): Price(Estimate(40.0, 0.0, Source.PREDICTED))}
        for value, save, damage in zip(made.values, saved, harm, strict=True):
            left = Estimate(40.0 - float(save), 0.0, Source.PREDICTED)
            prices[value.name,] = Price(left, damage=float(damage))
        scopes.append(Scope(made.id, (made.id,), prices))
    return Problem(choices, tuple(scopes), Price(Estimate(100.0, 0.0, Source.PREDICTED)))


def test_it_beats_random_search() -> None:
    def found(module: object, seed: int) -> float:
        task = Task(knapsack(seed), Budget(damage=0.2), seed, evaluations=2_000)
        return module.search(task).curve[-1][1]  # type: ignore[attr-defined,no-any-return]

    wins = [found(reinforce, seed) < found(random_plans, seed) for seed in range(10)]
    assert all(wins)
