"""Plans with calibration data: what their beginnings cost in accuracy, and their fitted models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.choice import Choice
from hwopt.damage.harm import WRITTEN_EFFORT, Harm
from hwopt.damage.link import suffered
from hwopt.debug.bisect.checks import DROP, Finding, Verdict
from hwopt.debug.bisect.search import Steps
from hwopt.debug.bisect.stepwise import Stepwise
from hwopt.decide import broken
from hwopt.repair.fits import fitted
from hwopt.repair.reference import Reference
from hwopt.settings import AccuracyLimit
from hwopt.trace import Listeners


@dataclass(frozen=True)
class DropCheck:
    """Holds the limit on accuracy against some steps of a plan, cross-fitted and remembered on disk.

    choices: those of the plan, each with its one value. Folds are in every model that is judged.
    """

    steps: Stepwise
    choices: Sequence[Choice]
    harm: Harm
    limit: AccuracyLimit

    def __call__(self, chosen: Steps) -> Finding:
        """Good within the limit; the figure is in the reason either way."""
        values = self.steps.those([n for n in chosen if n > self.steps.folds])
        if not values:
            return Finding(Verdict.GOOD, reason="nothing but folds")
        assignment = {value.choice: value.name for value in values}
        damage = self.harm.of_plan([c for c in self.choices if c.id in assignment], assignment)
        name = self.limit.name.replace("_", "-").removeprefix("max-")
        told = f"{name} {suffered(damage, self.limit):.3g}, limit {self.limit.value:g}"
        if broken(damage, self.limit):
            return Finding(Verdict.BAD, DROP, told)
        return Finding(Verdict.GOOD, reason=told)


@dataclass(frozen=True)
class Fitter:
    """Makes models of LOSSY steps: their weights fitted on all samples, as they would be delivered."""

    steps: Stepwise
    reference: Reference
    seed: int
    listeners: Listeners = ()

    def __call__(self, chosen: Steps) -> ir.Model:
        """The model with these steps; all folds are among them where any is LOSSY."""
        model = self.steps.structure(chosen)
        if not chosen & self.steps.lossy:
            return model
        values = self.steps.those([n for n in chosen if n > self.steps.folds])
        return fitted(
            self.reference, model, values, seed=self.seed, effort=WRITTEN_EFFORT, listeners=self.listeners
        )
