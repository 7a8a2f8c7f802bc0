"""Measures the damage of values and plans, and remembers it on disk.

A measurement is a repair on some folds and a run on another: minutes for a plan. The same
values on the same model and data give the same figure, so a run with another limit, or one
that was interrupted, starts where this one was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import onnx_ir as ir

from hwopt.accuracy import Drop
from hwopt.choice import Choice, Value
from hwopt.damage.measure import FLOAT, Damage, cross_fitted, price_damage
from hwopt.errors import BadInput
from hwopt.metric import UserMetric
from hwopt.oracles.cache import Cache
from hwopt.quantize.damage import Int8
from hwopt.repair.effort import FULL, QUICK, Effort
from hwopt.repair.fits import repair_identity
from hwopt.repair.reference import Reference
from hwopt.rewrite import chosen_values, rewrite
from hwopt.scope import Assignment
from hwopt.settings import DEFAULT_RANKING, AccuracyLimit
from hwopt.trace import Listeners

TUNED_FOLDS = (0, 1)
# What a plan's repair may spend: it is made once per fold in every round, and once more for the
# weights that are written.
PLAN_EFFORT = Effort(
    rows=10_000,
    pool=24_000,
    elements=20_000_000,
    rounds=5,
    joint_rounds=200,
    downstream=3,
    multiplications=1e11,
)
# The weights that are written are fitted once, on all samples: what was measured is no better than they are.
WRITTEN_EFFORT = FULL


@dataclass(frozen=True)
class Judging:
    """How plans are judged.

    metric: in the place of top-1. int8: the int8 form, judged beside the fp32 one. written: the
    precision of the file, whose damage is the plan's. ranking: what decides which channels go.
    """

    metric: UserMetric | None = None
    int8: Int8 | None = None
    written: str = FLOAT
    ranking: str = DEFAULT_RANKING

    @property
    def identity(self) -> str:
        """What decides the figures."""
        metric = "top1" if self.metric is None else self.metric.identity
        return metric if self.int8 is None else f"{metric} and {self.int8.identity}"


class Harm:
    """The damage of values to one canonical model, measured on one set of calibration data."""

    def __init__(
        self,
        base: ir.Model,
        reference: Reference,
        limit: AccuracyLimit,
        seed: int,
        judging: Judging | None = None,
        listeners: Listeners = (),
    ) -> None:
        self._base = base
        self._reference = reference
        self._limit = limit
        self._seed = seed
        self._judging = judging or Judging()
        self._listeners = listeners
        identity = repair_identity(base, reference.calibration.fingerprint, seed)
        self._identity = f"{identity}\nchannels by {self._judging.ranking}"

    def of_values(self, values: Sequence[Value]) -> float:
        """A cheap estimate of what these values do together. Raises RewriteFailed where they cannot be."""
        key = self._key("price", values, QUICK)
        known = _read(key)
        if known is None:
            changed = rewrite(self._base, values)
            known = asdict(price_damage(self._reference, changed, seed=self._seed))
            _write(key, known)
        return _damage(known).divergence

    def of_plan(self, choices: Sequence[Choice], assignment: Assignment) -> Damage:
        """The cross-fitted damage of a plan, at the precision of the file; others stand beside it.

        Raises BadInput where a drop is limited that nobody can see.
        """

        def measure(changed: ir.Model) -> Damage:
            return cross_fitted(
                self._reference, changed, seed=self._seed, metric=self._judging.metric, effort=PLAN_EFFORT,
                form=self._judging.int8, listeners=self._listeners,
            )  # fmt: skip

        kind = f"plan with expected drop and error by {self._judging.identity}"
        return self._held(self._known(kind, chosen_values(choices, assignment), measure))

    def of_tuned(self, choices: Sequence[Choice], assignment: Assignment, steps: int) -> Damage:
        """As `of_plan` after gradient steps, on `TUNED_FOLDS` alone: they take minutes."""
        from hwopt.tuning.tune import tune  # PyTorch takes seconds to import

        reference, seed, int8 = self._reference, self._seed, self._judging.int8
        form = None if int8 is None else replace(int8, folds=TUNED_FOLDS)

        def finish(fitted: ir.Model, folds: Sequence[int]) -> ir.Model:
            return tune(reference, fitted, reference.training(folds), seed=seed, steps=steps)

        def measure(changed: ir.Model) -> Damage:
            return cross_fitted(
                reference, changed, seed=seed, metric=self._judging.metric, effort=PLAN_EFFORT,
                folds=TUNED_FOLDS, finish=finish, form=form, listeners=self._listeners,
            )  # fmt: skip

        kind = f"plan tuned by {steps} steps, by {self._judging.identity}"
        return self._held(self._known(kind, chosen_values(choices, assignment), measure))

    def of_exact(self, choices: Sequence[Choice], assignment: Assignment) -> Damage | None:
        """What an EXACT plan does to the int8 form; None where that is not looked at."""
        int8 = self._judging.int8
        if int8 is None:
            return None

        def measure(changed: ir.Model) -> Damage:
            first, *others = int8.of_model(changed) if assignment else int8.of_base()
            return replace(first, beside=tuple(others))

        kind = f"exact plan by {self._judging.identity}"
        return self._known(kind, chosen_values(choices, assignment), measure)

    def _known(self, kind: str, values: Sequence[Value], measure: Callable[[ir.Model], Damage]) -> Damage:
        """The damage from the disk, or measured and put there."""
        key = self._key(kind, values, PLAN_EFFORT)
        known = _read(key)
        if known is None:
            known = asdict(measure(rewrite(self._base, values)))
            _write(key, known)
        return _damage(known)

    def _held(self, measured: Damage) -> Damage:
        found = as_written(measured, self._judging.written)
        if self._limit.name == "max_drop" and found.drop is None:
            raise BadInput("--max-drop: the model has no output of class scores: use --max-divergence")
        return found

    def _key(self, kind: str, values: Sequence[Value], effort: Effort) -> str:
        names = [(value.choice, value.name) for value in values]
        return hashlib.sha256(f"{kind}\n{self._identity}\n{names}\n{effort}".encode()).hexdigest()


def as_written(damage: Damage, precision: str) -> Damage:
    """The same measurement told from the precision of the file against the fp32 input."""
    every = (damage, *damage.beside)
    first = next(d for d in every if (d.precision, d.against) == (precision, FLOAT))
    return replace(first, beside=tuple(replace(d, beside=()) for d in every if d is not first))


def _read(key: str) -> dict[str, object] | None:
    with Cache() as cache:
        text = cache.get_many([key]).get(key)
    if text is None:
        return None
    try:
        table = json.loads(text)
        _damage(table)
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
        return None  # measured again
    return table if isinstance(table, dict) else None


def _write(key: str, table: dict[str, object]) -> None:
    with Cache() as cache:
        cache.put_many({key: json.dumps(table)})


def _damage(table: dict[str, object]) -> Damage:
    """From plain data; floats come back from JSON as they went in."""
    fields = dict(table)
    for name in ("drop", "expected_drop"):
        drop = fields.get(name)
        if isinstance(drop, dict):
            fields[name] = Drop(drop["value"], drop["error"], tuple(drop["interval"]))
    per_fold = fields["per_fold"]
    assert isinstance(per_fold, list | tuple)
    fields["per_fold"] = tuple(per_fold)
    beside = fields.get("beside", ())
    assert isinstance(beside, list | tuple)
    fields["beside"] = tuple(_damage(table) for table in beside)
    return Damage(**fields)  # type: ignore[arg-type]
