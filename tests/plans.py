"""Random plans that are possible, for tests that hold tables against rewritten models."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hwopt.choice import Choice
from hwopt.scope import Problem


def random_plan(choices: Sequence[Choice], problem: Problem, seed: int) -> dict[str, str]:
    """As many choices as a coin says, in any order, each with any value that goes with those before."""
    rng = random.Random(seed)
    plan: dict[str, str] = {}
    share = rng.choice([0.2, 0.5, 1.0])
    for choice in rng.sample(list(choices), len(choices)):
        longer = {**plan, choice.id: rng.choice(choice.values).name}
        if rng.random() < share and problem.total(longer) is not None:
            plan = longer
    return plan
