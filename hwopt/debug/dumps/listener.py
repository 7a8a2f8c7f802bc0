"""Dumps: the model after each pass that changed something, and an index that says what changed.

    00-input.onnx   01-canonicalize.onnx   02-fuse_ibn.onnx   03-repair.onnx   index.json

A listener (`hwopt.trace`): it is told of every step of the plan that is carried out, and writes the model as
it stands behind each pass, or behind each step (`each`). Of a model that is written only a look is kept, so
that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx_ir as ir

from hwopt.debug.dumps.diff import Look, changes
from hwopt.debug.dumps.figures import Yardstick
from hwopt.debug.dumps.files import UNWRITABLE, file_name, prepared, remove_if_empty, write_dump, write_index
from hwopt.debug.dumps.index import SCHEMA_VERSION, Cost, Dump, DumpedStep, Ended, Index
from hwopt.errors import BadInput, reason_of
from hwopt.repair.marks import fit_of
from hwopt.trace import REWRITING, Event, Listeners, ModelMade, PassDone, RewriteApplied, StageStarted
from hwopt.verify import EXACT_TOLERANCE, OWN_NOISE
from hwopt.wording import shorten
from hwopt.work import Work

INPUT = "input"
AS_IT_CAME = "as they came"
EXACT = "exact"
INITIAL = "initial: LOSSY steps are not repaired yet"
QUANTISE = "quantise"
_INT8 = Cost(unavailable="the cost model reads fp32 models: what the dump before this one costs in int8")
_MADE = {"repair": "repaired", "tune": "tuned", QUANTISE: "quantised"}
_BROKEN = "not written: the next step of this pass broke down and left the model half edited"


@dataclass(frozen=True)
class _State:
    """A model behind some step, as far as it is kept."""

    look: Look
    nodes: int
    cost: Cost | None = None


@dataclass
class Dumps:
    """Writes the dumps of one run. folder: None where none are wanted; each: behind every single step."""

    folder: Path | None = None
    each: bool = False
    delivered: str = "delivered"
    _yardstick: Yardstick | None = None
    _stage: str = "load"
    _attempt: int = 1
    _step: int = 0
    _seen: Look | None = None  # the model behind the last step
    _last: _State | None = None  # the model of the last dump
    _states: dict[int, _State] = field(default_factory=dict)  # by the last step in them
    _steps: list[DumpedStep] = field(default_factory=list)  # since the last dump
    _model: ir.Model | None = None  # of these steps: the run's own, never kept beyond a pass
    _dumps: list[Dump] = field(default_factory=list)

    @property
    def listeners(self) -> Listeners:
        """The listener for a run; () where no dumps are wanted."""
        return () if self.folder is None else (self,)

    @property
    def empty(self) -> bool:
        """Whether nothing was dumped."""
        return not self._dumps

    def begin(self, work: Work) -> None:
        """Writes the input. A run that begins anew, with other material, is another attempt."""
        if self.folder is None:
            return
        known = self._yardstick
        self._yardstick = Yardstick.of(work) if known is None else replace(known, work=work)
        look = Look.of(work.model)
        if self._dumps:
            self._attempt += 1
            self._step, self._model = 0, None
            self._steps.clear()
        else:
            self._write(work.model, look, self._cost(work.model), (INPUT,), AS_IT_CAME)
        self._last = _State(look, work.model.graph.num_nodes(), self._dumps[0].cost_after)
        self._seen, self._states = look, {0: self._last}

    def deliver(self, model: ir.Model) -> None:
        """Says what goes into OUT.onnx: the model of the last dump, or the input."""
        if self._yardstick is not None and model is self._yardstick.work.model:
            self.delivered = "unchanged"

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, StageStarted):
            self._stage = event.name
        elif isinstance(event, RewriteApplied):
            self._made_step(event)
        elif isinstance(event, PassDone) and event.phase == REWRITING:
            self._pass_done(event.pass_name)
        elif isinstance(event, ModelMade):
            look = Look.of(event.model)
            cost = _INT8 if event.name == QUANTISE else self._cost(event.model)
            self._write(event.model, look, cost, (event.name,), _MADE.get(event.name, event.name))

    def _made_step(self, event: RewriteApplied) -> None:
        if event.step <= self._step:
            self._go_back(event.step)
        look = Look.of(event.model)
        assert self._seen is not None, "begin() comes before any step"
        self._steps.append(DumpedStep(event.step, event.choice, event.value, changes(self._seen, look)))
        self._step, self._seen, self._model = event.step, look, event.model
        if self.each:
            self._write_steps((event.pass_name, event.choice, event.value))

    def _go_back(self, step: int) -> None:
        """Another plan is tried, on the model that had only the steps before its first one."""
        self._attempt += 1
        self._states = {number: state for number, state in self._states.items() if number < step}
        self._last = self._states[max(self._states)]
        self._seen = self._last.look
        self._steps.clear()

    def _pass_done(self, name: str) -> None:
        """Writes what a pass made; where its next step broke down, the model is no longer what that was."""
        if self._model is not None and self._steps:
            if Look.of(self._model) == self._seen:
                self._write_steps((name,))
            else:
                self._dumps.append(self._broken(name))
        self._model = None

    def _write_steps(self, words: tuple[str, ...]) -> None:
        assert self._model is not None
        assert self._seen is not None
        marked = any(fit_of(node) is not None for node in self._model.graph)
        cost = self._cost(self._model)
        self._write(self._model, self._seen, cost, words, INITIAL if marked else EXACT)
        assert self._last is not None
        self._states[self._step] = self._last

    def _cost(self, model: ir.Model) -> Cost:
        assert self._yardstick is not None
        return self._yardstick.cost(model)

    def _write(self, model: ir.Model, look: Look, cost: Cost, words: tuple[str, ...], weights: str) -> None:
        assert self.folder is not None
        assert self._yardstick is not None
        number = len([dump for dump in self._dumps if dump.file is not None])
        file = file_name(number, 3 if self.each else 2, *words)
        checker = write_dump(model, self.folder / file)
        last = self._last or _State(look, model.graph.num_nodes())
        told = Dump(
            file=file,
            after=words[0],
            attempt=self._attempt,
            steps=tuple(self._steps),
            changes=None if self._last is None else changes(last.look, look),
            nodes_before=last.nodes,
            nodes_after=model.graph.num_nodes(),
            cost_before=last.cost,
            cost_after=cost,
            outputs=self._yardstick.outputs(model),
            weights=weights,
            checker=checker,
        )
        if checker.startswith(UNWRITABLE):
            told = replace(told, file=None, note=checker)
        self._last = _State(look, told.nodes_after, cost)
        self._steps.clear()
        self._dumps.append(told)

    def _broken(self, name: str) -> Dump:
        """Steps whose model is gone: they are listed without a file."""
        assert self._last is not None
        steps, last = tuple(self._steps), self._last
        self._steps.clear()
        return Dump(
            file=None,
            after=name,
            attempt=self._attempt,
            steps=steps,
            changes=None,
            nodes_before=last.nodes,
            nodes_after=last.nodes,
            cost_before=last.cost,
            cost_after=Cost(unavailable=_BROKEN),
            outputs=_BROKEN,
            weights="",
            checker="",
            note=_BROKEN,
        )

    def index(self, how: str, reason: str = "") -> Index:
        """All that was written, and how the run ended."""
        work = None if self._yardstick is None else self._yardstick.work
        return Index(
            schema_version=SCHEMA_VERSION,
            model="" if work is None else work.path,
            sha256="" if work is None else work.sha256,
            target="" if work is None else work.target.name,
            seed=0 if work is None else work.settings.seed,
            exact_tolerance=EXACT_TOLERANCE,
            own_noise_factor=OWN_NOISE,
            attempts=self._attempt,
            ended=Ended(how, self._stage, self._step, reason),
            dumps=tuple(self._dumps),
        )


@contextmanager
def dumping(folder: str | Path | None, each: bool, force: bool) -> Iterator[Dumps]:
    """The dumps of one run, in a folder that is new or empty; the index comes at the end, however it ends.

    Raises BadInput for a folder that cannot be used, and for `each` without one.
    """
    if folder is None:
        if each:
            raise BadInput("--dump-each goes with --dump-dir: name the folder for the dumps")
        yield Dumps()
        return
    place = Path(folder)
    fresh = not place.exists()
    dumps = Dumps(prepared(place, force), each)
    try:
        yield dumps
    except BaseException as error:
        if dumps.empty:  # bad input: nothing was written
            remove_if_empty(place, fresh)
        else:
            write_index(place, dumps.index(*_why(error)))
        raise
    write_index(place, dumps.index(dumps.delivered))


def _why(error: BaseException) -> tuple[str, str]:
    how = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    return how, shorten(reason_of(error), 1000)
