"""From assessments and oracle answers to the report's figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from hwopt.assess import Assessment, OracleAnswer, Part, op_of
from hwopt.estimate import Estimate, Source
from hwopt.memory import weight_bytes
from hwopt.nodes import label
from hwopt.oracles.spread import NOISE
from hwopt.provenance import sources_of
from hwopt.report.schema import (
    Costs,
    Figure,
    Hardware,
    MemoryLevel,
    Missing,
    Number,
    OracleCosts,
    PeakRow,
    RoofsRow,
    SubgraphRow,
    TensorRow,
    Unpriced,
)
from hwopt.signature import VIEW, macs
from hwopt.target import Target


def costs(assessment: Assessment) -> Costs:
    """A model's cost; what has no price is named and not part of the latency."""
    return Costs(
        latency_us=latency(assessment),
        peak_bytes=counted(assessment.memory.peak_bytes),
        weight_bytes=counted(assessment.weight_bytes),
        macs=float(assessment.macs),
        params=assessment.params,
        nodes=assessment.nodes,
        unpriced=tuple(
            Unpriced(name, op_of(assessment, name), reason)
            for name, reason in sorted(assessment.unpriced.items())
        ),
        peak=peak(assessment),
    )


def peak(assessment: Assessment) -> PeakRow | None:
    """The step at which most bytes are alive, and what lives there."""
    steps, placements = assessment.memory.steps, assessment.memory.placements
    if not steps:
        return None
    number = max(range(len(steps)), key=lambda i: steps[i].live_bytes)
    tensors = tuple(TensorRow(name, placements[name].size) for name in steps[number].tensors)
    return PeakRow(number, steps[number].live_bytes, tensors)


def latency(assessment: Assessment) -> Figure:
    """The predicted latency, missing where nothing at all has a price."""
    if all(part.latency_us is None or part.subgraph.kind == VIEW for part in assessment.parts):
        return Missing("no operator of this model has a price on this target")
    return assessment.latency_us


def counted(number: int) -> Estimate:
    """A figure that is counted, not estimated."""
    return Estimate(float(number), 0.0, Source.COMPUTED)


def subgraph_rows(assessment: Assessment, target: Target) -> tuple[SubgraphRow, ...]:
    """One row per subgraph, in order of execution."""
    return tuple(
        SubgraphRow(
            id=part.subgraph.signature.key()[:12],
            kind=part.subgraph.kind,
            engine=part.subgraph.engine,
            nodes=tuple(label(node) for node in part.subgraph.nodes),
            latency_us=part.latency_us or Missing(assessment.unpriced.get(part.subgraph.label, "no price")),
            bound=part.bound,
            peak_bytes=counted(part.peak_bytes),
            sources=tuple(dict.fromkeys(s for node in part.subgraph.nodes for s in sources_of(node))),
            macs=macs(part.subgraph.signature),
            weight_bytes=weight_bytes(part.subgraph.signature, target),
            utilisation=utilisation(part, target),
            roofs=None if part.roofs is None else RoofsRow(**asdict(part.roofs)),
            ops=part.subgraph.signature.ops,
        )
        for part in assessment.parts
    )


def utilisation(part: Part, target: Target) -> Number:
    """Share of the MAC array's peak that a subgraph uses while it runs."""
    if part.latency_us is None:
        return Missing("it has no price")
    if part.latency_us.value <= 0:
        return Missing("it costs no time")
    least = target.cycles_to_us(macs(part.subgraph.signature) / target.macs_per_cycle)
    return least / part.latency_us.value


def hardware(target: Target) -> Hardware:
    """What the roofline of a target is made of."""
    levels = tuple(
        MemoryLevel(item.name, item.bytes, item.bytes_per_cycle * target.clock_mhz)
        for item in target.memories
    )
    peak_macs = target.macs_per_cycle * target.clock_mhz
    return Hardware(target.clock_mhz, peak_macs, levels, target.arena_memory.name)


def oracle_costs(answer: OracleAnswer) -> OracleCosts:
    """The oracle's own words on a whole model."""
    if answer.measurement is None:
        return OracleCosts(Missing(answer.reason), Missing(answer.reason))
    found = answer.measurement
    peak, noise = found.peak_bytes, found.details.get(NOISE, 0.0)
    return OracleCosts(
        Estimate(found.latency_us, noise * found.latency_us, answer.source),
        Missing("this oracle does not tell") if peak is None else Estimate(float(peak), 0.0, answer.source),
        tuple(sorted(found.unpriced)),
    )


def left_out(answers: Sequence[OracleAnswer]) -> tuple[str, ...]:
    """Operators that the oracle has no figure for, in any of its answers."""
    names = {name for a in answers if a.measurement is not None for name in a.measurement.unpriced}
    return tuple(sorted(names))
