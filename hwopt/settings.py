"""What the user asked for, checked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwopt.accuracy import Metric
from hwopt.errors import BadInput
from hwopt.limits import DEFAULT_REFINE, Bound, bytes_bound, fraction, latency_bound, seconds
from hwopt.metric import UserMetric, user_metric
from hwopt.search.problem import Objective
from hwopt.search.strategies import DEFAULT as DEFAULT_SEARCH
from hwopt.search.strategies import NAMES as STRATEGIES
from hwopt.wording import unknown

Limit = str | float | Bound | None
DEFAULT_DROP = 0.01
DEFAULT_DIVERGENCE = 0.02
DEFAULT_RANKING = "obs"
RANKINGS = (DEFAULT_RANKING, "activation", "magnitude")
PRECISIONS = ("int8",)


@dataclass(frozen=True)
class Settings:
    """One run's options. Bounds are absolute, or relative to the input's own figure.

    refine: how many subgraphs may be measured exactly; 0: the oracle is never asked. cost_model: a
    file to load instead of the pinned one. quantize: the precision of the written file, None for
    the input's own. tune: gradient steps on the chosen plan's weights, 0 for closed form alone.
    augment: copies of every calibration image that are cropped and flipped. ranking: what decides
    which channels go. metric: the user's own, in the place of top-1. search: the strategy; evaluations:
    plans that it may look at, None for its own number. time_limit: seconds of wall-clock time.
    """

    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    passes: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()
    objective: Objective = Objective.LATENCY
    latency: Bound | None = None
    memory: Bound | None = None
    size: Bound | None = None
    footprint: Bound | None = None
    max_drop: float | None = None
    max_divergence: float | None = None
    seed: int = 0
    allow_unpriced: bool = False
    plan: Path | None = None
    refine: int = DEFAULT_REFINE
    cost_model: Path | None = None
    quantize: str | None = None
    allow_interface_change: bool = False
    allow_retrain: bool = False
    metric: UserMetric | None = None
    tune: int = 0
    augment: int = 0
    ranking: str = DEFAULT_RANKING
    search: str = DEFAULT_SEARCH
    evaluations: int | None = None
    time_limit: float | None = None

    @property
    def wanted(self) -> tuple[Objective, ...]:
        """Everything that a plan can help with: the objective, and what is limited."""
        limited = (
            (Objective.LATENCY, self.latency),
            (Objective.MEMORY, self.memory),
            (Objective.SIZE, self.size),
            (Objective.FOOTPRINT, self.footprint),
        )
        return tuple(dict.fromkeys([self.objective, *(o for o, bound in limited if bound is not None)]))


def settings(
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    passes: Sequence[str] = (),
    disable: Sequence[str] = (),
    minimize: str = "latency",
    max_latency: Limit = None,
    max_memory: Limit = None,
    max_size: Limit = None,
    max_footprint: Limit = None,
    max_drop: float | None = None,
    max_divergence: float | None = None,
    seed: int = 0,
    allow_unpriced: bool = False,
    plan: str | Path | None = None,
    refine: int = DEFAULT_REFINE,
    cost_model: str | Path | None = None,
    quantize: str | None = None,
    allow_interface_change: bool = False,
    allow_retrain: bool = False,
    metric: str | Metric | None = None,
    tune: int = 0,
    augment: int = 0,
    ranking: str = DEFAULT_RANKING,
    search: str = DEFAULT_SEARCH,
    evaluations: int | None = None,
    time_limit: str | float | None = None,
) -> Settings:
    """Checks every option. Raises BadInput naming the first that cannot be used."""
    try:
        objective = Objective(minimize)
    except ValueError:
        known = ", ".join(o.value for o in Objective)
        raise BadInput(f"--minimize {minimize}: choose one of {known}") from None
    _not_negative("--seed", seed, "a number that is not negative")
    _not_negative("--refine", refine, "a number of subgraphs, 0 for none")
    _not_negative("--tune", tune, "a number of gradient steps, 0 for none")
    _not_negative("--augment", augment, "a number of copies of every image, 0 for none")
    if quantize is not None and quantize not in PRECISIONS:
        raise BadInput(f"--quantize {quantize}: choose one of {', '.join(PRECISIONS)}")
    if ranking not in RANKINGS:
        raise BadInput(unknown("--ranking", ranking, RANKINGS))
    if search not in STRATEGIES:
        raise BadInput(unknown("--search", search, STRATEGIES))
    if evaluations is not None and evaluations < 1:
        raise BadInput(f"--evaluations {evaluations}: give a number of plans, 1 or more")
    if allow_retrain and not any((max_latency, max_memory, max_size, max_footprint)):
        raise BadInput(
            "--allow-retrain: a candidate is the mildest plan within a limit: give --max-latency, "
            "--max-memory, --max-size or --max-footprint"
        )
    if tune and find_spec("torch") is None:
        raise BadInput(
            "--tune takes gradient steps with PyTorch: pip install 'hwopt[train]', or leave it out"
        )
    if max_divergence is not None and not max_divergence >= 0:
        raise BadInput(f"--max-divergence {max_divergence}: give a number that is not negative")
    return Settings(
        input_shapes={name: tuple(int(d) for d in shape) for name, shape in (input_shapes or {}).items()},
        passes=tuple(passes),
        disable=tuple(disable),
        objective=objective,
        latency=None if max_latency is None else latency_bound(max_latency),
        memory=None if max_memory is None else bytes_bound(max_memory, "--max-memory"),
        size=None if max_size is None else bytes_bound(max_size, "--max-size"),
        footprint=None if max_footprint is None else bytes_bound(max_footprint, "--max-footprint"),
        max_drop=None if max_drop is None else fraction(max_drop, "--max-drop"),
        max_divergence=max_divergence,
        seed=seed,
        allow_unpriced=allow_unpriced,
        plan=None if plan is None else Path(plan),
        refine=refine,
        cost_model=None if cost_model is None else Path(cost_model),
        quantize=quantize,
        allow_interface_change=allow_interface_change,
        allow_retrain=allow_retrain,
        metric=None if metric is None else user_metric(metric),
        tune=tune,
        augment=augment,
        ranking=ranking,
        search=search,
        evaluations=evaluations,
        time_limit=None if time_limit is None else seconds(time_limit),
    )


def _not_negative(option: str, number: int, wanted: str) -> None:
    if number < 0:
        raise BadInput(f"{option} {number}: give {wanted}")


@dataclass(frozen=True)
class AccuracyLimit:
    """What LOSSY values may cost: an absolute drop of the metric, or a divergence of the outputs."""

    name: str  # "max_drop" or "max_divergence"
    value: float


def accuracy_limit(chosen: Settings, labels: npt.NDArray[np.int64] | None) -> AccuracyLimit:
    """The limit that holds for this run. Raises BadInput for a drop that nobody can tell."""
    judged = labels is not None or chosen.metric is not None
    if chosen.max_drop is not None:
        if not judged:
            raise BadInput(
                "--max-drop needs labels: give --labels FILE, put labels.csv beside the images, "
                "give a --metric, or use --max-divergence"
            )
        return AccuracyLimit("max_drop", chosen.max_drop)
    if chosen.max_divergence is not None or not judged:
        value = DEFAULT_DIVERGENCE if chosen.max_divergence is None else chosen.max_divergence
        return AccuracyLimit("max_divergence", value)
    return AccuracyLimit("max_drop", DEFAULT_DROP)
