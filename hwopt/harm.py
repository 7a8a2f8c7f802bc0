"""Measures the damage of values and plans, and remembers it on disk.

A measurement is a repair on some folds and a run on another: minutes for a plan. The same
values on the same model and data give the same figure, so a run with another limit, or one
that was interrupted, starts where this one was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

import onnx_ir as ir
import onnxruntime as ort

from hwopt import __version__
from hwopt.accuracy import Drop
from hwopt.choice import Choice, Value
from hwopt.damage import Damage, cross_fitted, price_damage
from hwopt.errors import BadInput
from hwopt.ir import model_bytes
from hwopt.metric import UserMetric
from hwopt.oracles.cache import Cache
from hwopt.repair.effort import QUICK, Effort
from hwopt.repair.reference import Reference
from hwopt.rewrite import chosen_values, rewrite
from hwopt.scope import Assignment
from hwopt.settings import AccuracyLimit

REPAIR_VERSION = 5  # to be raised with every change of what a repair computes
# What a plan's repair may spend: it is made once per fold in every round, and once more for the
# weights that are written.
PLAN_EFFORT = Effort(
    rows=10_000,
    pool=24_000,
    elements=20_000_000,
    rounds=5,
    joint_rounds=12,
    downstream=3,
    multiplications=1e11,
)


class Harm:
    """The damage of values to one canonical model, measured on one set of calibration data."""

    def __init__(
        self,
        base: ir.Model,
        reference: Reference,
        limit: AccuracyLimit,
        seed: int,
        metric: UserMetric | None = None,
    ) -> None:
        self._base = base
        self._reference = reference
        self._limit = limit
        self._seed = seed
        self._metric = metric
        parts = [
            hashlib.sha256(model_bytes(base)).hexdigest(), reference.calibration.fingerprint, str(seed),
            f"repair {REPAIR_VERSION}", __version__, f"onnxruntime {ort.__version__}",
        ]  # fmt: skip
        self._identity = "\n".join(parts)

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
        """The cross-fitted damage of a plan. Raises BadInput where a drop is limited that nobody can see."""
        values = chosen_values(choices, assignment)
        judge = "top1" if self._metric is None else self._metric.identity
        key = self._key(f"plan with expected drop and error by {judge}", values, PLAN_EFFORT)
        known = _read(key)
        if known is None:
            changed = rewrite(self._base, values)
            found = cross_fitted(
                self._reference, changed, seed=self._seed, metric=self._metric, effort=PLAN_EFFORT
            )
            known = asdict(found)
            _write(key, known)
        found = _damage(known)
        if self._limit.name == "max_drop" and found.drop is None:
            raise BadInput("--max-drop: the model has no output of class scores: use --max-divergence")
        return found

    def _key(self, kind: str, values: Sequence[Value], effort: Effort) -> str:
        names = [(value.choice, value.name) for value in values]
        return hashlib.sha256(f"{kind}\n{self._identity}\n{names}\n{effort}".encode()).hexdigest()


def _read(key: str) -> dict[str, object] | None:
    with Cache() as cache:
        text = cache.get_many([key]).get(key)
    if text is None:
        return None
    table = json.loads(text)
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
    return Damage(**fields)  # type: ignore[arg-type]
