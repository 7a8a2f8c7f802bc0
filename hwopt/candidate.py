"""The plan that needs training: written as OUT.candidate.onnx, never as the result.

A RETRAIN value changes what only training can mend. Nobody knows its accuracy beforehand, so the
ordinary search never sees one. Where the user allows it, the mildest plan within the hard limits is
found for each of several sets of RETRAIN values: the one with the smallest share of parameters
removed by them, and with the fewest of them; EXACT and LOSSY values may be in it, too. Of these plans
the one with the best zero-shot score is carried out; its weights are a start for training. The score
orders trained networks better than the parameters that are left (`hwopt.zero_shot.score` has the figures),
which do not see that a smaller image costs accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.assess import Assessment, OracleAnswer
from hwopt.candidate_plans import near_mildest, opened, removed, retrain_values, retrained_by
from hwopt.decide import Decision
from hwopt.errors import BadInput
from hwopt.held import Checked, exchange, first_budget, limits_of, tightened
from hwopt.rewrite import chosen_values, rewrite
from hwopt.scope import Problem
from hwopt.settle import MAX_ATTEMPTS, Data, carry_out
from hwopt.trace import Listeners
from hwopt.work import Work
from hwopt.zero_shot.score import WORTH, affordable, zero_shot_score

NEEDS_TRAINING = "needs training"
SUFFIX = ".candidate.onnx"


@dataclass(frozen=True)
class Considered:
    """A plan that was weighed for the candidate.

    removed: share of the input's weight bytes that it takes away. score: zero-shot, more is better;
    or why there is none.
    """

    decision: Decision
    retrained: Mapping[str, str]
    removed: float
    score: float | str

    def row(self) -> dict[str, object]:
        """What a report says of it, as plain data."""
        return {
            "retrained": dict(self.retrained),
            "steps": dict(self.decision.assignment),
            "parameters_removed": self.removed,
            "predicted_latency_us": self.decision.predicted.latency_us.value,
            "score": {"unavailable": self.score} if isinstance(self.score, str) else self.score,
        }


@dataclass(frozen=True)
class Candidate:
    """A model that meets the limits once it has been trained.

    model: repaired as far as calibration data go; a start for training. chosen: its plan. beside:
    what it was preferred to, the mildest first. accuracy: always the reason why there is no figure.
    """

    model: ir.Model
    chosen: Considered
    beside: tuple[Considered, ...]
    after: Assessment
    oracle_after: OracleAnswer
    limits: tuple[Checked, ...]
    accuracy: str = NEEDS_TRAINING

    @property
    def met(self) -> bool:
        """Whether every hard limit holds on the figure that counts."""
        return all(limit.met for limit in self.limits)

    @property
    def retrained(self) -> Mapping[str, str]:
        """choice -> value of what only training can mend."""
        return self.chosen.retrained

    def section(self) -> dict[str, object]:
        """What a report says of it, as plain data."""
        return {
            **{name: entry for name, entry in self.chosen.row().items() if name != "score"},
            "accuracy": {"unavailable": self.accuracy},
            "limits": [
                {"name": c.name, "limit": c.limit, "value": c.value, "source": c.source, "met": c.met}
                for c in self.limits
            ],
            "zero_shot": {
                "score": self.chosen.row()["score"],
                "runners_up": [considered.row() for considered in self.beside],
                "worth": WORTH,
            },
        }


def make_candidate(
    work: Work, base: ir.Model, problem: Problem, data: Data | None, listeners: Listeners = ()
) -> Candidate | str:
    """The mildest RETRAIN plan within the hard limits, carried out; or why there is none.

    base: the canonical model. problem: priced with the values of every risk; damage scopes may be
    in it, RETRAIN values need no entry there. Raises BadInput where the run has no limit on latency,
    memory or size: without one the mildest plan is to keep everything.
    """
    oracle_before = work.ask([work.model])[0]
    targets = limits_of(work, oracle_before)
    if not targets:
        raise BadInput(
            "--allow-retrain: a candidate is the mildest plan within a limit: give --max-latency, "
            "--max-memory, --max-size or --max-footprint"
        )
    if not retrain_values(problem):
        return "no pass offers a value that needs training"
    budget = first_budget(work, targets, exchange(work, base, problem))
    for _ in range(MAX_ATTEMPTS):
        weighed = weigh(base, problem, near_mildest(problem, budget, work.settings.seed))
        if not weighed:
            break
        if not weighed[0].retrained:
            return "the limits can be met without training"
        chosen = preferred(weighed)
        beside = tuple(other for other in weighed if other is not chosen)
        done = carry_out(work, base, problem, chosen.decision, data, oracle_before, targets, listeners)
        last = Candidate(done.model, chosen, beside, done.after, done.oracle_after, done.limits)
        if last.met:
            return last
        budget = tightened(budget, last.limits)
    return "even with training no plan meets the limits"


def preferred(weighed: Sequence[Considered]) -> Considered:
    """The plan with the best score; the mildest where one of them has no score, or between equals."""
    scores = [considered.score for considered in weighed if isinstance(considered.score, float)]
    if len(scores) < len(weighed):
        return weighed[0]
    return weighed[scores.index(max(scores))]


def weigh(base: ir.Model, problem: Problem, decisions: Sequence[Decision]) -> list[Considered]:
    """The plans, in their order, each with what it removes and its zero-shot score."""
    whole, samples = opened(problem), affordable(base)
    found: list[Considered] = []
    for decision in decisions:
        model = rewrite(base, chosen_values(problem.choices, decision.assignment))
        retrained = retrained_by(problem, decision.assignment)
        gone = removed(whole, decision.assignment)
        found.append(Considered(decision, retrained, gone, zero_shot_score(model, samples)))
    return found
