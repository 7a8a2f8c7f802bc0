"""The options of a run, as `hwopt optimize`, `hwopt explain` and `hwopt bisect` share them.

Fields are named as in `hwopt.settings.Options`, so that one call hands all of them on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from hwopt.cli.common import names_of, shapes_of
from hwopt.cli.options import (
    AllowUnpriced,
    AllowUnverified,
    Augment,
    Calib,
    CostModelFile,
    Disable,
    Evaluations,
    HintsFile,
    InterfaceChange,
    InTheLoop,
    KeepGoing,
    Labels,
    MaxDivergence,
    MaxDrop,
    MaxFootprint,
    MaxLatency,
    MaxMemory,
    MaxSize,
    MetricName,
    Minimize,
    Objective,
    OnlyChoice,
    Passes,
    PlanFile,
    Preprocess,
    QuantizeTo,
    RankBy,
    Ranking,
    Refine,
    Retrain,
    RewriteLimit,
    Search,
    Seed,
    Shapes,
    Store,
    TimeLimit,
    Tune,
)
from hwopt.limits import DEFAULT_REFINE

if TYPE_CHECKING:
    from hwopt.settings import Options  # brings the engine along

_LISTS = ("passes", "disable", "only_choice")  # A,B and repeated options alike


@dataclass(frozen=True)
class DataOptions:
    """Calibration data: where they are, and how they are read."""

    calib: Calib = None
    labels: Labels = None
    preprocess: Preprocess = None


@dataclass(frozen=True)
class AccuracyOptions:
    """What may be lost, how that is told, and on how many images."""

    max_drop: MaxDrop = None
    max_divergence: MaxDivergence = None
    metric: MetricName = None
    augment: Augment = 0


@dataclass(frozen=True)
class LimitOptions:
    """What a plan must keep, and what it shall make small."""

    max_latency: MaxLatency = None
    max_memory: MaxMemory = None
    max_size: MaxSize = None
    max_footprint: MaxFootprint = None
    allow_unpriced: AllowUnpriced = False
    minimize: Objective = Minimize.LATENCY


@dataclass(frozen=True)
class PassOptions:
    """Which passes are asked."""

    passes: Passes = None
    disable: Disable = None
    allow_interface_change: InterfaceChange = False
    allow_unverified: AllowUnverified = False


@dataclass(frozen=True)
class ChangeOptions:
    """What may change, besides."""

    only_choice: OnlyChoice = None
    hints: HintsFile = None
    quantize: QuantizeTo = None
    ranking: RankBy = Ranking.OBS


@dataclass(frozen=True)
class SearchOptions:
    """How a plan is looked for."""

    search: Search = "milp"
    evaluations: Evaluations = None
    in_the_loop: InTheLoop = False
    refine: Refine = DEFAULT_REFINE
    cost_model: CostModelFile = None
    time_limit: TimeLimit = None
    seed: Seed = 0


@dataclass(frozen=True)
class MakingOptions:
    """How the plan is carried out: of `hwopt optimize` alone."""

    plan: PlanFile = None
    tune: Tune = 0
    allow_retrain: Retrain = False
    store: Store = None


@dataclass(frozen=True)
class StepOptions:
    """Which steps of the plan are made: of `hwopt optimize` alone."""

    rewrite_limit: RewriteLimit = None
    keep_going: KeepGoing = False


def engine_options(input_shape: Shapes, *groups: object) -> Options:
    """The fields of all groups, as `hwopt.pipeline.optimize` takes them. Raises BadInput for a wrong shape.

    A metric may stand in the current folder, which is then looked through, last, so that it shadows nothing.
    """
    found: dict[str, Any] = {"input_shapes": shapes_of(input_shape)}
    for group in groups:
        found |= {
            item.name: _plain(item.name, getattr(group, item.name)) for item in fields(cast(Any, group))
        }
    if found.get("metric") is not None:
        sys.path.append("")
    return cast("Options", found)


def _plain(name: str, value: object) -> object:
    if name in _LISTS:
        return names_of(cast("Sequence[str] | None", value))
    return value.value if isinstance(value, Enum) else value
