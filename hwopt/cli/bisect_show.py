"""What `hwopt bisect` found, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hwopt.report.jsonable import JsonObject, encode

if TYPE_CHECKING:
    from hwopt.debug.bisect.run import Hunt, StepInfo

_LISTED = 8


def steps_text(steps: list[int]) -> str:
    """step 3; steps 1 to 24; steps 2, 7, 41."""
    if not steps:
        return "no step"
    if len(steps) == 1:
        return f"step {steps[0]}"
    if len(steps) > 2 and steps == list(range(steps[0], steps[-1] + 1)):
        return f"steps {steps[0]} to {steps[-1]}"
    more = f" and {len(steps) - _LISTED} more" if len(steps) > _LISTED else ""
    return f"steps {', '.join(map(str, steps[:_LISTED]))}{more}"


def lines(hunt: Hunt, seconds: float) -> Iterator[str]:
    """What was found, for people."""
    found = hunt.bisection
    if found.outcome == "passes":
        yield f"the plan passes: all {found.planned} steps together are good"
    elif found.outcome == "undecided":
        why = "the check skips what would tell" if found.complete else "the checks ran out"
        first, last = found.between
        yield f"undecided: the first bad step of {found.planned} is one of {first} to {last}; {why}"
        yield f"  {found.finding.kind}: {found.finding.reason}"
    else:
        assert hunt.culprit is not None
        yield f"step {found.culprit} of {found.planned} breaks it: {found.finding.kind}"
        yield from _described(hunt.culprit)
        yield f"  {found.finding.reason}"
        yield from _company(hunt)
    yield from _case_lines(hunt)
    for note in hunt.notes:
        yield f"note: {note}"
    yield f"{found.checks} check{'s' if found.checks != 1 else ''}, {seconds:.1f} s"


def _described(step: StepInfo, indent: str = "  ") -> Iterator[str]:
    yield f"{indent}{step.pass_name}: {step.choice} = {step.value} ({step.risk})"
    if step.nodes:
        more = f" and {len(step.nodes) - _LISTED} more" if len(step.nodes) > _LISTED else ""
        yield f"{indent}nodes: {', '.join(step.nodes[:_LISTED])}{more}"
    if step.parameters:
        yield f"{indent}parameters: {', '.join(f'{k}={v}' for k, v in step.parameters.items())}"


def _company(hunt: Hunt) -> Iterator[str]:
    """Alone, or with whom."""
    found = hunt.bisection
    if not found.partners:
        yield "  alone: no other step is needed for that"
    else:
        least = "" if found.complete else ", or fewer: the checks ran out"
        yield f"  only together with {steps_text(list(found.partners))}{least}"
        for step in hunt.partners[:_LISTED]:
            yield from _described(step, "    ")
    if found.needs:
        yield f"  it can only be made after {steps_text(list(found.needs))}"


def _case_lines(hunt: Hunt) -> Iterator[str]:
    if hunt.case is not None:
        yield f"wrote {hunt.case.folder}: the smallest failing model has {hunt.case.nodes} nodes"
        tried = "" if hunt.case.verified else " (not tried: see case.json)"
        yield f"reproduce: {hunt.case.reproduction}{tried}"


def plain(hunt: Hunt, seconds: float) -> JsonObject:
    """Everything, as plain data."""
    found = hunt.bisection
    table = {
        "outcome": found.outcome,
        "steps": found.planned,
        "checks": found.checks,
        "seconds": round(seconds, 3),
        "culprit": hunt.culprit,
        "alone": found.outcome == "found" and not found.partners,
        "together_with": hunt.partners,
        "needs": hunt.needs,
        "minimal": found.minimal,
        "minimal_is_sure": found.complete,
        "between": found.between if found.outcome == "undecided" else None,
        "finding": found.finding,
        "case": None if hunt.case is None else {**vars(hunt.case), "folder": str(hunt.case.folder)},
        "notes": hunt.notes,
    }
    encoded = encode(table)
    assert isinstance(encoded, dict)
    return encoded
