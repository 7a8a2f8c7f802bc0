"""Puts the report together from what a run found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from math import isnan

import onnx_ir as ir

from hwopt import __version__
from hwopt.choice import Risk, Skip
from hwopt.damage.link import suffered
from hwopt.damage.measure import FLOAT
from hwopt.decide import broken
from hwopt.ir import Port, interface
from hwopt.ir.load import OLDEST_OPSET, old_opset
from hwopt.report.accuracy import accuracy
from hwopt.report.asked import calibration_info, settings_asked
from hwopt.report.choices import choice_rows
from hwopt.report.figures import costs, hardware, left_out, oracle_costs, subgraph_rows
from hwopt.report.findings import Findings
from hwopt.report.pareto import pareto_rows
from hwopt.report.rounds import link_info, round_rows
from hwopt.report.schema import (
    Budget,
    Limit,
    Missing,
    ModelInfo,
    Number,
    OracleProof,
    Outcome,
    OutputDifference,
    PassRow,
    Report,
    SearchInfo,
    SkippedRow,
    Subgraphs,
    TargetInfo,
    Tool,
    Verification,
)
from hwopt.report.trust import trust_notes
from hwopt.settle import Settled
from hwopt.stopping import TIME_LIMIT
from hwopt.verify import how_compared
from hwopt.versions import versions
from hwopt.work import Work

_SHOWN_FAILURES = 5


def build_report(findings: Findings) -> Report:
    """The whole report of an `optimize` run; `output` is filled in when the files are written."""
    work, settled = findings.work, findings.settled
    return Report(
        tool=Tool("hwopt", __version__, versions()),
        command=findings.command,
        seed=work.settings.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        outcome=Outcome.UNCHANGED if findings.unchanged else Outcome.CHANGED,
        model=model_info(work),
        output=Missing("nothing was written"),
        target=target_info(work),
        before=costs(work.before),
        after=costs(settled.after),
        accuracy=accuracy(work, settled),
        choices=choice_rows(findings),
        skipped=skipped_rows(findings.skipped),
        subgraphs=Subgraphs(
            subgraph_rows(work.before, work.target), subgraph_rows(settled.after, work.target)
        ),
        verification=verification(findings),
        budget=budget(work, settled),
        search=search(findings),
        pareto=pareto_rows(settled.decision),
        timings_s=findings.timings.to_json(),
        notes=notes(findings),
        passes=pass_rows(findings),
        settings=settings_asked(work.settings),
        calibration=calibration_info(work),
    )


def model_info(work: Work) -> ModelInfo:
    """The model that came in."""
    return ModelInfo(work.path, work.sha256, interface(work.model).opset)


def target_info(work: Work) -> TargetInfo:
    """The accelerator."""
    target = work.target
    config, machine = target.config_hash, hardware(target)
    pinned = "" if target.cost_model is None else target.cost_model.sha256
    return TargetInfo(target.name, target.oracle.name, target.precision, config, machine, pinned)


def pass_rows(findings: Findings) -> tuple[PassRow, ...]:
    """What each pass did, and what it is for."""
    summaries = {item.name: item.summary for item in findings.work.passes}
    rows = findings.passes.rows(findings.unchanged)
    return tuple(replace(row, summary=summaries.get(row.name, "")) for row in rows)


def skipped_rows(skipped: Iterable[Skip]) -> tuple[SkippedRow, ...]:
    """Places that passes had to leave, each reason once per place and pass."""
    return tuple(dict.fromkeys(SkippedRow(s.pass_name, s.node, s.reason) for s in skipped))


def verification(findings: Findings) -> Verification:
    """What was checked; a changed interface or a new objection would have stopped the run."""
    settled = findings.settled
    changes = () if isinstance(findings.changes, str) else findings.changes
    before, after = settled.oracle_before, settled.oracle_after
    oracle: OracleProof | Missing
    if before.measurement is None or after.measurement is None:
        oracle = Missing(before.reason or after.reason)
    else:
        oracle = OracleProof(oracle_costs(before), oracle_costs(after))
    return Verification(
        interface_same=interface(findings.work.model) == interface(settled.delivered),
        checker=findings.checker,
        outputs=tuple(OutputDifference(d.output, d.max_abs, d.max_rel) for d in changes),
        oracle=oracle,
        outputs_of="file" if settled.written is None else f"{FLOAT} result",
        interface_changes=interface_changes(findings.work.model, settled.delivered),
        how=_how(findings),
    )


def _how(findings: Findings) -> str:
    """How the outputs were compared, or why they were not."""
    if isinstance(findings.changes, str):
        return f"not compared: {findings.changes}"
    if findings.unchanged:
        return "nothing to compare: the input came back"
    return how_compared(findings.work.model, findings.settled.model)


def interface_changes(before: ir.Model, after: ir.Model) -> tuple[str, ...]:
    """Each input and output whose shape is another one now."""
    one, two = interface(before), interface(after)
    pairs = [("input", *ports) for ports in zip(one.inputs, two.inputs, strict=True)]
    pairs += [("output", *ports) for ports in zip(one.outputs, two.outputs, strict=True)]
    return tuple(
        f"{kind} '{old.name}' takes the shape {_shape(new)}, it took {_shape(old)}"
        if kind == "input"
        else f"{kind} '{old.name}' has the shape {_shape(new)}, it had {_shape(old)}"
        for kind, old, new in pairs
        if old != new
    )


def _shape(port: Port) -> str:
    return "any" if port.shape is None else "x".join("?" if d is None else str(d) for d in port.shape)


def budget(work: Work, settled: Settled) -> Budget:
    """The objective, and every limit with the figure held against it."""
    limits = [Limit(c.name, c.limit, c.value, c.met, c.source) for c in settled.limits]
    damage = settled.decision.damage
    if work.limit is not None and damage is not None:
        harm = suffered(damage, work.limit)
        limits.append(
            Limit(work.limit.name, work.limit.value, harm, not broken(damage, work.limit), "measured")
        )
    return Budget(work.settings.objective.value, tuple(limits))


def search(findings: Findings) -> SearchInfo:
    """How the plan was found."""
    decision = findings.settled.decision
    outcome = decision.outcome
    seconds = findings.timings.seconds.get("search", 0.0)
    return SearchInfo(
        strategy=outcome.strategy,
        evaluations=outcome.evaluations,
        bound=_proven(outcome.bound, outcome.strategy),
        gap=_proven(outcome.gap, outcome.strategy),
        seconds=round(seconds, 3),
        rounds=round_rows(decision, findings.work.limit),
        link=link_info(decision),
        stopped=findings.work.stop.reason or None,
    )


def _proven(figure: float, strategy: str) -> Number:
    return Missing(f"{strategy} proves none") if isnan(figure) else figure


def stop_notes(work: Work) -> tuple[str, ...]:
    """What it means that somebody, or the clock, ended the search."""
    if not work.stop.reason:
        return ()
    why = "the time limit" if work.stop.reason == TIME_LIMIT else "the caller"
    return (
        f"the search was cut short by {why}: this is the best plan that was measured by then, and another "
        "run may give another one; what was measured is kept for it",
    )


def opset_notes(work: Work) -> tuple[str, ...]:
    """Why nothing is rewritten in a model that is older than every rewrite."""
    opset = old_opset(work.model)
    if opset is None:
        return ()
    return (
        f"the model is in opset {opset}, whose operators are not those from {OLDEST_OPSET} on: "
        "nothing is rewritten; convert it first (onnx.version_converter.convert_version(model, 13))",
    )


def untried_notes(findings: Findings) -> tuple[str, ...]:
    """What calibration data would open, where a search was made without any."""
    work = findings.work
    lossy = {item.name for item in work.passes if item.risk is Risk.LOSSY}
    found = [row for row in findings.passes.rows() if row.name in lossy and row.values]
    if work.calibration is not None or work.replayed is not None or not found:
        return ()
    names = ", ".join(row.name for row in found)
    return (f"without calibration data only EXACT rewrites are tried; with --calib {names} can do more",)


def failed_notes(work: Work) -> tuple[str, ...]:
    """Which subgraphs the oracle failed at: what the cost model predicts of them stands."""
    if not work.failed:
        return ()
    shown = [f"{label} ({reason})" for label, reason in list(work.failed.items())[:_SHOWN_FAILURES]]
    more = f" and {len(work.failed) - len(shown)} more" if len(work.failed) > len(shown) else ""
    return (f"the oracle failed at subgraphs, whose latency is predicted instead: {'; '.join(shown)}{more}",)


def notes(findings: Findings) -> tuple[str, ...]:
    """What a reader must know to trust the figures."""
    work, settled = findings.work, findings.settled
    found: list[str] = list(work.calibration.notes) if work.calibration else [*untried_notes(findings)]
    found.extend(opset_notes(work))
    if isinstance(findings.changes, str):
        found.append(findings.changes)
    found.extend(trust_notes(work, settled.after))
    names = left_out([settled.oracle_before, settled.oracle_after])
    if names:
        found.append(f"the oracle's latency leaves out {len(names)} operators: {', '.join(names[:10])}")
    found.extend(settled.notes)
    found.extend(failed_notes(work))
    found.extend(stop_notes(work))
    damage = settled.decision.damage
    if any((d.precision, d.against) == (FLOAT, FLOAT) for d in settled.accuracy):
        found.append(
            "repair also refits a few untouched projections behind each lossy rewrite, to absorb its error: "
            "their weights differ from the input's, their shapes do not"
        )
    if damage is not None and damage.drop is not None and work.limit is not None:
        width = damage.drop.interval[1] - damage.drop.interval[0]
        if work.limit.name == "max_drop" and width > 2 * work.limit.value:
            found.append(
                f"{damage.samples} samples cannot resolve a drop of {work.limit.value:g}: "
                f"the 95% interval is {width:.3g} wide"
            )
    found.extend(
        f"measured round {number}: damage {r.damage.divergence:.4g}, "
        + (f"drop {r.damage.drop.value:.4g}, " if r.damage.drop else "")
        + (f"expected drop {r.damage.expected_drop.value:.4g}, " if r.damage.expected_drop else "")
        + ("within the limit" if r.within_limit else "beyond the limit")
        for number, r in enumerate(settled.decision.rounds, start=1)
    )
    return tuple(found)
