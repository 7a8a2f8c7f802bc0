"""What a bisection is told, opened as a replay opens it, and told again for the case that it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hwopt.errors import BadInput
from hwopt.ir import load_model
from hwopt.plan import read_plan
from hwopt.settings import Options, settings
from hwopt.target import Target
from hwopt.work import CalibrationLike, ModelLike, Work, open_work

INPUTS = "inputs.npz"  # what a case keeps beside its model


@dataclass(frozen=True)
class Wanted:
    """What decides, beside the limits on accuracy in the options; nothing: the comparison of numbers.

    command: with {model} in it; `said` is handed what it prints. inputs: data for the comparison, in the
    place of seeded noise.
    """

    command: str | None = None
    timeout_s: float | None = None
    said: Callable[[str], None] = lambda text: None
    tolerance: float | None = None
    inputs: Path | None = None


@dataclass(frozen=True)
class Material:
    """Everything beside the model. options: as for a replay, whose `plan` is one of them."""

    target: str | Path | Target
    options: Options
    wanted: Wanted = Wanted()
    calib: CalibrationLike | None = None
    labels: str | Path | None = None
    preprocess: str | Path | None = None

    def opened(self, model: ModelLike) -> Work:
        """The run that would replay the plan; its seed is the plan's, unless there is one in the options.

        Raises BadInput for the first thing that cannot be used.
        """
        chosen = settings(**self.options)
        if chosen.plan is None:
            raise BadInput("--plan FILE: give the plan whose steps are to be looked at")
        if "seed" not in self.options:
            chosen = replace(chosen, seed=read_plan(chosen.plan).seed)
        _require_one_check(self.wanted, chosen.max_drop is not None or chosen.max_divergence is not None)
        return open_work(model, self.target, chosen, self.calib, self.labels, self.preprocess)

    @property
    def lasts(self) -> bool:
        """Whether it can be opened a second time: an iterable of samples is used up."""
        return self.calib is None or isinstance(self.calib, str | Path)

    def about(self, model: Path, plan: Path) -> Material:
        """The same for another model and its plan; what is compared on stands beside the model then."""
        names = {value.name for value in load_model(model).graph.inputs}
        shapes = {n: shape for n, shape in (self.options.get("input_shapes") or {}).items() if n in names}
        options: Options = {**self.options, "plan": plan, "input_shapes": shapes}
        inputs = None if self.wanted.inputs is None else model.with_name(INPUTS)
        wanted = replace(self.wanted, said=lambda text: None, inputs=inputs)
        return replace(self, options=options, wanted=wanted)

    @property
    def told(self) -> tuple[str, ...]:
        """What `hwopt bisect` must be told beside model, plan, target and shapes, to judge alike."""
        options, wanted = self.options, self.wanted
        given: dict[str, object] = {
            "--check": wanted.command,
            "--check-timeout": wanted.timeout_s,
            "--tolerance": wanted.tolerance,
            "--inputs": None if wanted.inputs is None else INPUTS,
            "--max-drop": options.get("max_drop"),
            "--max-divergence": options.get("max_divergence"),
            "--calib": self.calib if self.lasts else None,
            "--labels": self.labels,
            "--preprocess": self.preprocess,
            "--augment": options.get("augment") or None,
            "--metric": options["metric"] if isinstance(options.get("metric"), str) else None,
            "--cost-model": options.get("cost_model"),
        }
        flags = ("--allow-interface-change",) if options.get("allow_interface_change") else ()
        pairs = [(name, str(value)) for name, value in given.items() if value is not None]
        return (*(text for pair in pairs for text in pair), *flags)

    @property
    def shapes_told(self) -> tuple[str, ...]:
        """The shapes of dynamic inputs, for the command line."""
        shapes = [f"{n}:{','.join(map(str, s))}" for n, s in (self.options.get("input_shapes") or {}).items()]
        return tuple(text for shape in shapes for text in ("--input-shape", shape))


def _require_one_check(wanted: Wanted, limited: bool) -> None:
    """Raises BadInput where two things would decide, or an option goes with none of them."""
    checks = {
        "--check": wanted.command is not None,
        "--max-drop or --max-divergence": limited,
        "--tolerance": wanted.tolerance is not None,
    }
    given = [name for name, there in checks.items() if there]
    if len(given) > 1:
        raise BadInput(f"{given[0]} and {given[1]}: one check decides; leave one of them out")
    if wanted.timeout_s is not None and wanted.command is None:
        raise BadInput("--check-timeout goes with --check: give a command, or leave it out")
