"""Policy gradient over values: one softmax per choice, rewarded as in MnasNet.

REINFORCE (Williams, "Simple statistical gradient-following algorithms for connectionist
reinforcement learning", 1992) with a moving average as baseline, an entropy bonus, and Adam (Kingma
and Ba, 2015). The reward is that of Tan et al., "MnasNet: Platform-Aware Neural Architecture
Search for Mobile", 2019, section 3: ACC x (LAT / T)^w.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwopt.search.archive import Archive
from hwopt.search.arrays import Bools, Floats, Ints
from hwopt.search.problem import Budget, Objective, Outcome, Task
from hwopt.search.tables import TOLERANCE, Figures, limited

NAME = "reinforce"
COHORT = 16  # plans per gradient step
LEAVES = 0.05  # chance of every choice to leave *keep* at first: most plans are then near the limits
RATE = 0.1
ENTROPY = 0.03
DECAY = 0.9  # of the baseline
_LEAST_SHARE = 0.01  # of a limit or of the unchanged model: below it, better is no better
_NEVER = -1e30  # logit of a value that a choice does not have


@dataclass(frozen=True)
class Reward:
    """What a plan earns: a factor for the objective, and one for every limit.

    ACC of the paper is exp(-damage) where damage is the objective: for a classifier damage is a mean KL
    divergence in nats, so this is the likelihood that is left (a geometric mean); like accuracy it
    falls strictly. Any other objective x gives (x / the unchanged model's)^objective. A limited
    figure x, damage or not, gives (x / limit)^within where the limit holds and (x / limit)^beyond
    where it does not: MnasNet's soft constraint is within = beyond = -0.07, its hard one within = 0,
    beyond = -1 (section 3, equations 2 and 3).
    """

    objective: float
    within: float
    beyond: float

    def of(self, figures: Figures, budget: Budget, base: float) -> Floats:
        """The reward of each plan, 0.0 where it is impossible. base: the unchanged model's objective."""
        possible = figures.possible
        earned = np.where(possible, self._objective(figures, budget.objective, base), 0.0)
        for figure, limit in limited(figures, budget):
            earned *= self._factor(np.where(possible, figure, limit), limit)
        return earned

    def _objective(self, figures: Figures, objective: Objective, base: float) -> Floats:
        if objective is Objective.DAMAGE:
            return np.asarray(np.exp(-figures.damage))
        share = figures.of(objective) / max(base, 1e-9)
        return np.asarray(np.maximum(share, _LEAST_SHARE) ** self.objective)

    def _factor(self, figure: Floats, limit: float) -> Floats:
        """Beside a limit of zero any excess is beyond all bounds."""
        held = figure <= limit * (1 + TOLERANCE)
        share = np.maximum(figure, 1e-30) / max(limit, 1e-300)
        bounded = np.clip(share, _LEAST_SHARE, 1e30)
        return np.asarray(np.where(held, bounded**self.within, bounded**self.beyond))


SOFT = Reward(-0.07, -0.07, -0.07)
HARD = Reward(-0.07, 0.0, -1.0)
# MnasNet's -0.07 says what latency is worth in accuracy. Under hard limits nothing has to be weighed:
# the best plan is at the limit whatever the slope, and a steep one is learned faster.
STEEP = Reward(-1.0, 0.0, -1.0)


def search(task: Task) -> Outcome:
    """The best plan within the limits that the policy ever drew."""
    return learn(task, STEEP)


def learn(task: Task, reward: Reward) -> Outcome:
    """The same under another reward. The task's own starts are looked at first; a cut plan earns nothing."""
    archive = Archive(task)
    first = archive.look(archive.starts())
    base = float(first.figures.of(task.budget.objective)[0]) if len(first.figures) else 1.0
    base = base if np.isfinite(base) else 1.0
    policy = Policy.near_keep(archive.tables.sizes, LEAVES)
    rng = np.random.default_rng(task.seed)
    while not archive.ended:
        plans = policy.draw(rng, COHORT)
        looked = archive.look(plans)
        earned = np.where(np.isinf(looked.violation), 0.0, reward.of(looked.figures, task.budget, base))
        policy.learn(plans[: len(earned)], earned)
    return archive.outcome(NAME)


class Policy:
    """One softmax per choice. logits: [choices, most values]."""

    def __init__(self, logits: Floats, exists: Bools) -> None:
        self.logits = np.where(exists, logits, _NEVER)
        self.exists = exists
        self._adam = Adam(logits.shape)
        self._baseline: float | None = None

    @classmethod
    def near_keep(cls, sizes: Ints, leaves: float) -> Policy:
        """A policy under which every choice leaves *keep* with a chance of `leaves`, for any value alike."""
        most = int(sizes.max(initial=1))
        exists = np.arange(most)[None, :] < sizes[:, None]
        logits = np.zeros((len(sizes), most))
        logits[:, 0] = np.log(np.maximum(sizes - 1, 1) * (1 - leaves) / leaves)
        return cls(logits, exists)

    @property
    def chances(self) -> Floats:
        """[choices, most values]; each row sums to one."""
        risen = np.exp(self.logits - self.logits.max(1, keepdims=True, initial=_NEVER))
        return np.asarray(risen / risen.sum(1, keepdims=True))

    def draw(self, rng: np.random.Generator, plans: int) -> Ints:
        """Codes [plans, choices]."""
        edges = self.chances.cumsum(1)[:, :-1]
        drawn = rng.random((plans, len(edges), 1)) > edges[None]
        return np.asarray(drawn.sum(2, dtype=np.int64))

    def learn(self, plans: NDArray[np.integer], earned: Floats) -> None:
        """One step up the gradient of the expected reward and of the entropy.

        plans: codes [plans, choices] that this policy drew; earned: the reward of each.
        """
        mean = float(earned.mean())
        self._baseline = mean if self._baseline is None else DECAY * self._baseline + (1 - DECAY) * mean
        advantage = (earned - self._baseline) / (float(earned.std()) + 1e-8)
        chances = self.chances
        gradient = -chances * advantage.sum()
        columns = np.broadcast_to(np.arange(plans.shape[1]), plans.shape)
        np.add.at(gradient, (columns, plans), advantage[:, None])
        gradient = gradient / len(plans) + ENTROPY * entropy_gradient(chances)
        self.logits = np.where(self.exists, self.logits + self._adam.step(gradient, RATE), _NEVER)


def entropy_gradient(chances: Floats) -> Floats:
    """The slope of the summed entropy in the logits: -p (log p + H)."""
    logs = np.log(np.maximum(chances, 1e-30))
    entropy = -(chances * logs).sum(1, keepdims=True)
    return np.asarray(-chances * (logs + entropy))


class Adam:
    """Steps of a size that does not depend on the gradient's own (Kingma and Ba, 2015, algorithm 1)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._mean, self._square = np.zeros(shape), np.zeros(shape)
        self._steps = 0

    def step(self, gradient: Floats, rate: float) -> Floats:
        """What to add to climb."""
        self._steps += 1
        self._mean = 0.9 * self._mean + 0.1 * gradient
        self._square = 0.999 * self._square + 0.001 * gradient**2
        mean, square = self._mean / (1 - 0.9**self._steps), self._square / (1 - 0.999**self._steps)
        return np.asarray(rate * mean / (np.sqrt(square) + 1e-8))
