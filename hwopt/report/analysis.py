"""The report of `analyze`: the same contract, with nothing changed."""

from __future__ import annotations

from datetime import UTC, datetime

from hwopt import __version__
from hwopt.assess import OracleAnswer
from hwopt.report.asked import settings_asked
from hwopt.report.build import model_info, target_info
from hwopt.report.figures import costs, left_out, oracle_costs, subgraph_rows
from hwopt.report.schema import (
    Budget,
    Missing,
    OracleProof,
    Outcome,
    Report,
    Subgraphs,
    Tool,
    Verification,
)
from hwopt.report.trust import trust_notes
from hwopt.trace import Timings
from hwopt.versions import versions
from hwopt.work import Work


def build_analysis(work: Work, answer: OracleAnswer | None, command: str, timings: Timings) -> Report:
    """answer: the oracle's figure for the whole model, None where it was not asked."""
    nothing = Missing("nothing was changed")
    return Report(
        tool=Tool("hwopt", __version__, versions()),
        command=command,
        seed=work.settings.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        outcome=Outcome.ANALYSED,
        model=model_info(work),
        output=Missing("analyze writes no model"),
        target=target_info(work),
        before=costs(work.before),
        after=nothing,
        accuracy=nothing,
        choices=(),
        skipped=(),
        subgraphs=Subgraphs(subgraph_rows(work.before, work.target), ()),
        verification=_asked(answer),
        budget=Budget(work.settings.objective.value),
        search=nothing,
        timings_s=timings.to_json(),
        notes=(*trust_notes(work, work.before), *_notes(answer)),
        settings=settings_asked(work.settings),
        calibration=nothing,
    )


def _asked(answer: OracleAnswer | None) -> Verification | Missing:
    if answer is None:
        return Missing("the oracle was not asked: --measure does")
    if answer.measurement is None:
        return Missing(answer.reason)
    figures = oracle_costs(answer)
    return Verification(True, "not run", (), OracleProof(figures, figures))


def _notes(answer: OracleAnswer | None) -> tuple[str, ...]:
    names = left_out([] if answer is None else [answer])
    return (f"the oracle's latency leaves out {', '.join(names[:10])}",) if names else ()
