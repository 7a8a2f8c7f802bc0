"""Events as lines for a compiler engineer: what HWOPT_DEBUG=1..4 shows.

Every line begins with one of a few words that stay as they are, so that `grep ' step '` finds what it
should: stage, better, failed (from level 1), pass, step, model (2), value, repair (3), found, skip and
progress (4). Behind it stands what the line is about, then the figures.
"""

from __future__ import annotations

from collections import Counter
from functools import singledispatchmethod

from hwopt import trace
from hwopt.choice import KEEP
from hwopt.estimate import Estimate

Line = tuple[int, str]  # the level from which it is shown, and its text
_EVERYTHING = 4
_WORD, _SUBJECT, _VALUE = 9, 20, 52  # widths of columns


class Lines:
    """What to say of each event. Remembers what belongs together: the counts of a pass, say.

    level: up to which somebody reads; 1 to 4.
    """

    def __init__(self, level: int = _EVERYTHING) -> None:
        self._level = level
        self._counts: Counter[type[object]] = Counter()
        self._offered: dict[tuple[str, str], str] = {}
        self._kept: Estimate | None = None
        self._writing = 0.0  # seconds in the steps of the pass that is running

    def of(self, event: trace.Event) -> Line | None:
        """The event's line; None for an event that needs none."""
        self._counts[type(event)] += 1
        line: Line | None = self._say(event)
        return line

    @singledispatchmethod
    def _say(self, event: object) -> Line | None:
        return None

    @_say.register
    def _stage_started(self, event: trace.StageStarted) -> Line:
        return 1, _line("stage", event.name, "begins")

    @_say.register
    def _stage_done(self, event: trace.StageDone) -> Line:
        return 1, _line("stage", event.name, f"done in {event.seconds:.2f}s")

    @_say.register
    def _better(self, event: trace.BetterPlan) -> Line:
        values = [f"{choice}={name}" for choice, name in event.assignment.items() if name != KEEP]
        figures = f"{_us(event.latency_us)}  damage {event.damage:.3g}  {_count(len(values), 'value')}"
        return 1, _line("better", "plan", "  ".join([figures, *(values if self._level > 2 else ())]))

    @_say.register
    def _failed(self, event: trace.CheckFailed) -> Line:
        return 1, _line("failed", event.check, f"{event.where}: {event.detail}")

    @_say.register
    def _pass_started(self, event: trace.PassStarted) -> None:
        self._counts.clear()
        self._writing = 0.0

    @_say.register
    def _pass_done(self, event: trace.PassDone) -> Line:
        found, skipped = self._counts[trace.ValueFound], self._counts[trace.PlaceSkipped]
        steps = self._counts[trace.RewriteApplied]
        level = 2 if found or skipped or steps else _EVERYTHING
        if event.phase == trace.FINDING:
            did = f"found {_count(found, 'value')}, skipped {_count(skipped, 'place')}"
            return level, _line("pass", event.pass_name, f"{did}, {event.seconds:.3f}s")
        did = f"made {_count(steps, 'step')}, {_nodes(event.nodes_before, event.nodes_after)}"
        return level, _line("pass", event.pass_name, f"{did}, {self._writing:.3f}s")

    @_say.register
    def _step(self, event: trace.RewriteApplied) -> Line:
        what = _value(event.choice, event.value)
        self._writing += event.seconds
        did = f"{_nodes(event.nodes_before, event.nodes_after)}  {1e3 * event.seconds:.1f} ms"
        return 2, _line(f"step {event.step:>4}", event.pass_name, f"{what}  {did}")

    @_say.register
    def _model(self, event: trace.ModelMade) -> Line:
        return 2, _line("model", event.name, f"{event.model.graph.num_nodes()} nodes")

    @_say.register
    def _found(self, event: trace.ValueFound) -> Line:
        self._offered[event.choice, event.value] = event.pass_name
        return 4, _line("found", event.pass_name, _value(event.choice, event.value))

    @_say.register
    def _priced(self, event: trace.ValuePriced) -> Line:
        if event.value == KEEP:
            self._kept = event.latency_us
        who = self._offered.get((event.choice, event.value), "")
        return 3, _line("value", who, f"{_value(event.choice, event.value)}  {self._price(event)}")

    def _price(self, event: trace.ValuePriced) -> str:
        """The latency, what it is against *keep*, and the damage."""
        if event.latency_us is None:
            return "no price"
        figures = [f"{_us(event.latency_us.value):>12}"]
        if event.value != KEEP and self._kept is not None:
            figures.append(f"{event.latency_us.value - self._kept.value:+12,.1f} us")
        if event.damage is None:
            figures.append("damage not measured")
        elif event.damage > 0:
            figures.append(f"damage {event.damage:.3g}")
        return "  ".join(figures)

    @_say.register
    def _repaired(self, event: trace.RepairFitted) -> Line:
        errors = f"error {event.error_before:.4f} -> {event.error_after:.4f}"
        return 3, _line("repair", event.choice or "(absorbs)", f"{errors}  {event.node}")

    @_say.register
    def _skipped(self, event: trace.PlaceSkipped) -> Line:
        return 4, _line("skip", event.pass_name, f"{event.node}: {event.reason}")

    @_say.register
    def _progress(self, event: trace.Progress) -> Line:
        of = f"/{event.total}" if event.total else ""
        return 4, _line("progress", event.stage, f"{event.done}{of}")


def _line(word: str, subject: str, rest: str) -> str:
    """The columns of a line, on one line whatever a name holds."""
    return f"{word:<{_WORD}} {subject:<{_SUBJECT}} {rest}".replace("\n", " ").rstrip()


def _value(choice: str, name: str) -> str:
    return f"{f'{choice} = {name}':<{_VALUE}}"


def _nodes(before: int, after: int) -> str:
    return f"nodes {before} -> {after}"


def _us(figure: float) -> str:
    return f"{figure:,.1f} us"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
