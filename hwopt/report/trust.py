"""What a reader must know of predicted latencies: what is extrapolated, and what was measured exactly."""

from __future__ import annotations

from collections.abc import Iterator

from hwopt.assess import Assessment, Part
from hwopt.errors import BadInput
from hwopt.estimate import Source
from hwopt.signature import VIEW
from hwopt.work import Work

_NAMED = 3


def trust_notes(work: Work, assessment: Assessment) -> tuple[str, ...]:
    """Notes on one model's predicted latency."""
    parts = [p for p in assessment.parts if p.latency_us is not None and p.subgraph.kind != VIEW]
    return (*_extrapolated(work, parts), *_exact(work, parts))


def _extrapolated(work: Work, parts: list[Part]) -> Iterator[str]:
    """How much of the latency lies outside of what was measured, and where most of it."""
    whole = sum(_latency(part) for part in parts)
    outside = sorted((p for p in parts if p.latency_us and p.latency_us.extrapolated), key=_latency)[::-1]
    if not outside or not whole:
        return
    share = 100 * sum(_latency(part) for part in outside) / whole
    named = [f"'{part.subgraph.label}': {_why(work, part)}" for part in outside[:_NAMED]]
    more = "; ..." if len(outside) > _NAMED else ""
    yield (
        f"{len(outside)} of {len(parts)} priced subgraphs, {share:.1f}% of the latency, are extrapolated: "
        f"{'; '.join(named)}{more}"
    )


def _why(work: Work, part: Part) -> str:
    return (
        ", ".join(work.cost_model.why_extrapolated(part.subgraph.signature)[:2]) or "unlike what was measured"
    )


def _latency(part: Part) -> float:
    return 0.0 if part.latency_us is None else part.latency_us.value


def _exact(work: Work, parts: list[Part]) -> Iterator[str]:
    """How many subgraphs have the oracle's figure, or why none has."""
    known = [p for p in parts if p.latency_us and p.latency_us.source in (Source.COMPILED, Source.MEASURED)]
    if known:
        share = 100 * sum(map(_latency, known)) / max(sum(map(_latency, parts)), 1e-9)
        yield (
            f"{len(known)} of {len(parts)} priced subgraphs, {share:.1f}% of the latency, have the oracle's "
            "own figure: the most uncertain ones were measured (--refine)"
        )
    elif work.settings.refine and isinstance(work.oracle, BadInput):
        yield f"no subgraph was measured exactly: {work.oracle}"
