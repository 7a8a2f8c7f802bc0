"""One run's material, opened and checked before anything is decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import onnx_ir as ir

from hwopt.assess import Assessment, OracleAnswer, ask_oracle, assess
from hwopt.calibration.data import Calibration, load_calibration
from hwopt.calibration.stream import calibration_of
from hwopt.calibration.variants import augmented
from hwopt.choice import Pass
from hwopt.cost.exact import refine_most_uncertain
from hwopt.cost.learned import Learned
from hwopt.cost.loading import load_cost_model
from hwopt.cost.model import CostModel
from hwopt.cost.protocol import Pricer
from hwopt.errors import BadInput
from hwopt.find import with_places
from hwopt.guard.client import warm
from hwopt.inputs import random_feeds
from hwopt.ir import load_model, model_bytes, model_identity
from hwopt.ir.load import old_opset
from hwopt.metric import UserMetric
from hwopt.oracles.asking import Failures, measure_cached
from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Answer, Job, Oracle, Progress
from hwopt.plan import Plan, read_plan
from hwopt.quantize.write import require_opset
from hwopt.registry import load_target, make_oracle, select_passes
from hwopt.replay import with_options
from hwopt.settings import DEFAULT_RANKING, AccuracyLimit, Settings, accuracy_limit
from hwopt.shapes import TensorInfo, infer_shapes
from hwopt.stopping import Stop
from hwopt.target import Target
from hwopt.verify import require_survivable

ModelLike = str | Path | ir.Model
CalibrationLike = str | Path | Calibration | Iterable[object]
NOT_ASKED = "the oracle was not asked: --refine 0"


@dataclass(frozen=True)
class Work:
    """What a run works on.

    model: the input, its nodes carrying places; never edited. path: "" for a model that came
    from memory. oracle: the target's, or why it cannot be asked. limit: what LOSSY values may
    cost, None without calibration data, when only EXACT values are made. stop: asked between the
    steps of long work; true: end it with the best so far. failed: subgraphs that the oracle was asked for
    and failed at, with what it said; grows as the run asks.
    """

    model: ir.Model
    path: str
    sha256: str
    target: Target
    cost_model: CostModel
    passes: tuple[Pass, ...]
    oracle: Oracle | BadInput
    calibration: Calibration | None
    limit: AccuracyLimit | None
    replayed: Plan | None
    settings: Settings
    before: Assessment
    stop: Stop = field(default_factory=Stop)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def metric(self) -> UserMetric | None:
        """The user's own metric, None where accuracy is top-1 or a divergence."""
        return self.settings.metric

    @property
    def input_shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.settings.input_shapes

    @property
    def may_ask(self) -> bool:
        """Whether there is an oracle that is to be asked at all."""
        return self.settings.refine > 0 and not isinstance(self.oracle, BadInput)

    def shapes(self, model: ir.Model) -> dict[str, TensorInfo]:
        """Shapes of the model's tensors at this run's input sizes (`hwopt.shapes.infer_shapes`)."""
        return infer_shapes(model, self.input_shapes)

    def assess(self, model: ir.Model) -> Assessment:
        """The model's predicted cost on this run's target."""
        return assess(model, self.input_shapes, self.target, self.cost_model, self.cost_model.header.streamed)

    def ask(self, models: Sequence[ir.Model]) -> list[OracleAnswer]:
        """The oracle's figure for whole models, unless everything is to be predicted (`--refine 0`)."""
        if self.settings.refine == 0:
            return [OracleAnswer(None, NOT_ASKED) for _ in models]
        return self.measure(models)

    def measure(self, models: Sequence[ir.Model]) -> list[OracleAnswer]:
        """The oracle's figure for whole models; its answers are cached on disk."""
        return ask_oracle(self.oracle, models, self.input_shapes)

    def sharpen(self, model: ir.Model, found: Assessment, pricer: Pricer) -> Learned:
        """The pricer with the most uncertain subgraphs of the model measured, where the oracle can be asked.

        found: the model's assessment, priced by anything.
        """
        if isinstance(self.oracle, BadInput):
            return pricer if isinstance(pricer, Learned) else Learned(pricer)
        learned = refine_most_uncertain(
            model, found.partition, found.shapes, pricer, self.oracle, self.settings.refine,
            context=self.cost_model.header.context,
        )  # fmt: skip
        self.failed.update(learned.failed)
        return learned


def open_work(
    model: ModelLike,
    target: str | Path | Target,
    chosen: Settings,
    calib: CalibrationLike | None = None,
    labels: str | Path | None = None,
    preprocess: str | Path | None = None,
    stop: Stop | None = None,
) -> Work:
    """Loads everything that a run needs. Raises BadInput for the first thing that cannot be used."""
    warm()
    accelerator = target if isinstance(target, Target) else load_target(str(target))
    passes = select_passes(chosen.passes, chosen.disable, interface_may_change=chosen.allow_interface_change)
    path, loaded, digest = _model(model)
    replayed = None if chosen.plan is None else read_plan(chosen.plan)
    asked = chosen
    if replayed is not None:
        chosen = with_options(chosen, replayed)
    if chosen.quantize is not None:
        _require_precision(chosen.quantize, loaded, accelerator)
    calibration = _calibration(calib, loaded, labels, preprocess)
    if calibration is None:  # what a plan says of its LOSSY steps means nothing where none is made
        _require_no_data(replace(chosen, tune=asked.tune, ranking=asked.ranking))
    else:
        calibration = augmented(calibration, chosen.augment, chosen.seed)
    cost_model = load_cost_model(accelerator, chosen.cost_model)
    accelerator = cost_model.target  # it pins the model that is used
    placed = with_places(loaded)
    before = assess(placed, chosen.input_shapes, accelerator, cost_model, cost_model.header.streamed)
    if calibration is not None:
        require_survivable(placed, random_feeds(placed, chosen.input_shapes, chosen.seed))
    return Work(
        model=placed,
        path=path,
        sha256=digest,
        target=accelerator,
        cost_model=cost_model,
        passes=passes if old_opset(placed) is None else (),
        oracle=_oracle(accelerator),
        calibration=calibration,
        limit=None if calibration is None else accuracy_limit(chosen, calibration.labels),
        replayed=replayed,
        settings=chosen,
        before=before,
        stop=stop or Stop(),
    )


def _model(model: ModelLike) -> tuple[str, ir.Model, str]:
    if isinstance(model, ir.Model):
        return "", model, sha256(model_bytes(model)).hexdigest()
    path = Path(model)
    loaded = load_model(path)
    return str(path), loaded, model_identity(path, loaded)


def _require_precision(precision: str, model: ir.Model, target: Target) -> None:
    """Raises BadInput where the model cannot have a precision, or the target does not compute in it."""
    if target.precision != precision:
        raise BadInput(
            f"--quantize {precision}: target {target.name} computes in {target.precision}, so its figures "
            f'would not be those of the file: choose a target with precision = "{precision}"'
        )
    require_opset(model)


def _require_no_data(chosen: Settings) -> None:
    """Raises BadInput for the first option that means nothing without calibration data."""
    asked = {
        "--max-drop": chosen.max_drop is not None,
        "--metric": chosen.metric is not None,
        f"--quantize {chosen.quantize}": chosen.quantize is not None,
        "--tune": chosen.tune > 0,
        "--augment": chosen.augment > 0,
        f"--ranking {chosen.ranking}": chosen.ranking != DEFAULT_RANKING,
    }
    for option, given in asked.items():
        if given:
            labels = " with labels" if option == "--max-drop" else ""
            raise BadInput(f"{option} needs calibration data{labels}: give --calib")


def _calibration(
    calib: CalibrationLike | None,
    model: ir.Model,
    labels: str | Path | None,
    preprocess: str | Path | None,
) -> Calibration | None:
    if calib is None:
        for given, name in ((labels, "--labels"), (preprocess, "--preprocess")):
            if given is not None:
                raise BadInput(f"{name} {given} goes with --calib: give the calibration data too")
        return None
    if isinstance(calib, Calibration):
        return calib
    if not isinstance(calib, str | Path):
        if labels is not None or preprocess is not None:
            raise BadInput(
                "labels and preprocess go with a file or folder: give pairs (inputs, label) instead"
            )
        return calibration_of(calib, model)
    return load_calibration(
        Path(calib),
        model,
        None if preprocess is None else Path(preprocess),
        None if labels is None else Path(labels),
    )


class _Cached:
    """An oracle whose answers are looked up on disk first."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self.name = oracle.name
        self.source = oracle.source
        self._failures = Failures()

    @property
    def identity(self) -> str:
        return self._oracle.identity

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        with Cache() as cache:
            return measure_cached(self._oracle, jobs, cache, progress, failures=self._failures)


def _oracle(target: Target) -> Oracle | BadInput:
    """The target's oracle behind the disk cache; not being installed is no reason to stop."""
    try:
        return _Cached(make_oracle(target))
    except BadInput as error:
        return error
