"""What the user asked for, checked before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import numpy as np
import numpy.typing as npt

from hwopt.accuracy import Metric
from hwopt.errors import BadInput
from hwopt.hints.file import Hints, read_hints
from hwopt.limits import DEFAULT_REFINE, Bound, bytes_bound, fraction, latency_bound, seconds
from hwopt.metric import UserMetric, user_metric
from hwopt.search.problem import Objective
from hwopt.search.strategies import DEFAULT as DEFAULT_SEARCH
from hwopt.search.strategies import KEEPING, PROVING
from hwopt.search.strategies import NAMES as STRATEGIES
from hwopt.wording import unknown

Limit = str | float | Bound | None
Checked = TypeVar("Checked")
DEFAULT_DROP = 0.01
DEFAULT_DIVERGENCE = 0.02
DEFAULT_RANKING = "obs"
RANKINGS = (DEFAULT_RANKING, "activation", "magnitude")
PRECISIONS = ("int8",)


class Options(TypedDict, total=False):
    """What a caller may ask of a run; on the command line the same names stand with dashes.

    Limits on latency are microseconds or texts such as "5ms" and "-30%", those on memory bytes or
    texts such as "2MB". Where nothing is said, `Settings` says what holds.
    """

    input_shapes: Mapping[str, Sequence[int]] | None
    """Shapes of dynamic inputs, by name."""
    max_drop: float | None
    """Largest drop of accuracy, a fraction; needs labels or a metric."""
    max_divergence: float | None
    """Largest divergence of the outputs."""
    max_latency: Limit
    max_memory: Limit
    """Largest arena of activations."""
    max_size: Limit
    """Largest size of the encoded weights."""
    max_footprint: Limit
    """Arena and weights together."""
    minimize: str
    """latency, memory, size, footprint or damage."""
    passes: Sequence[str]
    """Only these passes."""
    disable: Sequence[str]
    """All passes but these."""
    plan: str | Path | None
    """A plan file to replay in the place of a search."""
    seed: int
    allow_unpriced: bool
    """Accept a latency limit where operators have no price."""
    allow_unverified: bool
    """Exact rewrites even of a model that ONNX Runtime cannot run: nobody can verify them."""
    refine: int
    """How many subgraphs of a model the oracle may be asked for where it has no figure for the whole;
    0: it is never asked, and every figure is predicted."""
    cost_model: str | Path | None
    """A file to price with instead of the one that the target pins, loaded in a process of its own."""
    quantize: str | None
    """The precision of the written file: int8, as QDQ; None: the input's own."""
    allow_interface_change: bool
    """Shapes of inputs may change."""
    allow_retrain: bool
    """A candidate for training may be written beside the result."""
    metric: str | Metric | None
    """A function, or MODULE:FUNCTION, in the place of top-1 (`hwopt.metric`)."""
    tune: int
    """Gradient steps on the chosen plan's weights, 0 for closed form alone."""
    augment: int
    """Cropped and flipped copies of every calibration image."""
    ranking: str
    """What decides which channels go: obs, activation or magnitude."""
    search: str
    """The strategy (`hwopt.search.strategies`)."""
    evaluations: int | None
    """Plans that the strategy may look at; None: as many as it thinks right."""
    store: str | Path | None
    """A file in which `evolve` keeps its state: to resume from, and to share between processes."""
    in_the_loop: bool
    """The strategy asks the oracle for every plan it looks at, in the place of the tables' sums."""
    time_limit: str | float | None
    """Seconds, or a text such as "10m", after which the best plan so far is written."""
    hints: str | Path | None
    """A TOML file with what an expert knows: pinned values, forbidden passes ... (`hwopt.hints.file`)."""
    rewrite_limit: int | None
    """Only so many steps of the plan are made, the first ones, whether that pays or not."""
    only_choice: Sequence[str]
    """Only these choices are decided about; every other one keeps."""
    keep_going: bool
    """A rewrite that turns out to be wrong is left out, and the run goes on."""


@dataclass(frozen=True)
class Settings:
    """One run's options, checked: what `Options` says, as the engine reads it.

    Bounds are absolute, or relative to the input's own figure; time_limit is in seconds.
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
    allow_unverified: bool = False
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
    store: Path | None = None
    in_the_loop: bool = False
    time_limit: float | None = None
    hints: Hints | None = None
    rewrite_limit: int | None = None
    only_choice: tuple[str, ...] = ()
    keep_going: bool = False

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


def settings(**options: Unpack[Options]) -> Settings:
    """Checks every option. Raises BadInput naming the first that cannot be used.

    Raises TypeError, as any function does, for an option that there is none of.
    """
    for name in options.keys() - Options.__annotations__.keys():
        raise TypeError(unknown("option", name, Options.__annotations__))
    plain = Settings()
    chosen = Settings(
        input_shapes=_shapes(options.get("input_shapes")),
        passes=tuple(options.get("passes", ())),
        disable=tuple(options.get("disable", ())),
        objective=_objective(options.get("minimize", plain.objective.value)),
        latency=_optional(latency_bound, options.get("max_latency")),
        memory=_optional(partial(bytes_bound, name="--max-memory"), options.get("max_memory")),
        size=_optional(partial(bytes_bound, name="--max-size"), options.get("max_size")),
        footprint=_optional(partial(bytes_bound, name="--max-footprint"), options.get("max_footprint")),
        max_drop=_optional(partial(fraction, name="--max-drop"), options.get("max_drop")),
        max_divergence=options.get("max_divergence"),
        seed=options.get("seed", plain.seed),
        allow_unpriced=options.get("allow_unpriced", False),
        allow_unverified=options.get("allow_unverified", False),
        plan=_optional(Path, options.get("plan")),
        refine=options.get("refine", plain.refine),
        cost_model=_optional(Path, options.get("cost_model")),
        quantize=options.get("quantize"),
        allow_interface_change=options.get("allow_interface_change", False),
        allow_retrain=options.get("allow_retrain", False),
        metric=_optional(user_metric, options.get("metric")),
        tune=options.get("tune", plain.tune),
        augment=options.get("augment", plain.augment),
        ranking=options.get("ranking", plain.ranking),
        search=options.get("search", plain.search),
        evaluations=options.get("evaluations"),
        store=_optional(Path, options.get("store")),
        in_the_loop=options.get("in_the_loop", False),
        time_limit=_optional(seconds, options.get("time_limit")),
        hints=_optional(read_hints, options.get("hints")),
        rewrite_limit=options.get("rewrite_limit"),
        only_choice=tuple(options.get("only_choice", ())),
        keep_going=options.get("keep_going", False),
    )
    _require_sense(chosen)
    return chosen


def _optional(check: Callable[[Any], Checked], given: object) -> Checked | None:
    """What was given, checked; None stays None. (mypy makes `object` of a variable for a union.)"""
    return None if given is None else check(given)


def _shapes(given: Mapping[str, Sequence[int]] | None) -> dict[str, tuple[int, ...]]:
    return {name: tuple(int(d) for d in shape) for name, shape in (given or {}).items()}


def _objective(name: str) -> Objective:
    try:
        return Objective(name)
    except ValueError:
        known = ", ".join(o.value for o in Objective)
        raise BadInput(f"--minimize {name}: choose one of {known}") from None


def _require_sense(chosen: Settings) -> None:
    """Raises BadInput for the first option that names nothing, or means nothing beside the others."""
    _not_negative("--seed", chosen.seed, "a number that is not negative")
    _not_negative("--refine", chosen.refine, "a number of subgraphs, 0 for none")
    _not_negative("--tune", chosen.tune, "a number of gradient steps, 0 for none")
    _not_negative("--augment", chosen.augment, "a number of copies of every image, 0 for none")
    if chosen.rewrite_limit is not None:
        _not_negative("--rewrite-limit", chosen.rewrite_limit, "a number of steps, 0 for none")
    if chosen.max_divergence is not None and not chosen.max_divergence >= 0:
        raise BadInput(f"--max-divergence {chosen.max_divergence}: give a number that is not negative")
    _require_strategy(chosen)
    if chosen.quantize is not None and chosen.quantize not in PRECISIONS:
        raise BadInput(f"--quantize {chosen.quantize}: choose one of {', '.join(PRECISIONS)}")
    if chosen.ranking not in RANKINGS:
        raise BadInput(unknown("--ranking", chosen.ranking, RANKINGS))
    if chosen.allow_retrain and not any((chosen.latency, chosen.memory, chosen.size, chosen.footprint)):
        raise BadInput(
            "--allow-retrain: a candidate is the mildest plan within a limit: give --max-latency, "
            "--max-memory, --max-size or --max-footprint"
        )
    if chosen.hints is not None and chosen.plan is not None:
        raise BadInput("--hints and --plan: a plan is made as it stands; edit it, or search without --plan")
    if chosen.tune and find_spec("torch") is None:
        raise BadInput(
            "--tune takes gradient steps with PyTorch: pip install 'hwopt[train]', or leave it out"
        )


def _require_strategy(chosen: Settings) -> None:
    """Raises BadInput for a strategy that there is none of, or an option that means nothing to it."""
    name = chosen.search
    if name not in STRATEGIES:
        raise BadInput(unknown("--search", name, STRATEGIES))
    if chosen.evaluations is not None and chosen.evaluations < 1:
        raise BadInput(f"--evaluations {chosen.evaluations}: give a number of plans, 1 or more")
    if chosen.evaluations is not None and name in PROVING:
        raise BadInput(f"--evaluations: {name} ends with a proof, not by a count: choose another --search")
    if chosen.store is not None and name not in KEEPING:
        raise BadInput(f"--store: {name} keeps no state: give --search {KEEPING[0]}, or leave it out")
    if chosen.in_the_loop and name in PROVING:
        raise BadInput(f"--in-the-loop: {name} adds up prices: give --search evolve, or another")
    if chosen.in_the_loop and chosen.refine == 0:
        raise BadInput("--in-the-loop asks the oracle, and --refine 0 forbids it: leave one of them out")


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
