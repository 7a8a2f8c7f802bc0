"""The report of `analyze`: the same contract, with nothing changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from hwopt import __version__
from hwopt.assess import OracleAnswer
from hwopt.potential import Potential
from hwopt.report.analysis_potential import choice_rows, potential_info
from hwopt.report.analysis_shares import where_time_goes
from hwopt.report.asked import settings_asked
from hwopt.report.build import failed_notes, model_info, skipped_rows, target_info
from hwopt.report.figures import costs, left_out, oracle_costs, subgraph_rows
from hwopt.report.passes import PassSums
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
from hwopt.report.schema_analysis import NOT_ASKED
from hwopt.report.trust import trust_notes
from hwopt.trace import Timings
from hwopt.versions import versions
from hwopt.work import Work


@dataclass(frozen=True)
class Analysed:
    """What an analysis found. answer, potential: None where they were not asked for."""

    work: Work
    answer: OracleAnswer | None
    potential: Potential | None


def build_analysis(found: Analysed, command: str, timings: Timings, passes: PassSums) -> Report:
    """The whole report of an `analyze` run."""
    work, answer, gain = found.work, found.answer, found.potential
    rows = subgraph_rows(work.before, work.target)
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
        choices=() if gain is None else choice_rows(gain),
        skipped=() if gain is None else skipped_rows(gain.skipped),
        subgraphs=Subgraphs(rows, ()),
        verification=_asked(answer),
        budget=Budget(work.settings.objective.value),
        search=nothing,
        timings_s=timings.to_json(),
        notes=(*trust_notes(work, work.before), *failed_notes(work), *_notes(answer)),
        settings=settings_asked(work.settings),
        calibration=nothing,
        passes=passes.rows(unchanged=True),
        where_time_goes=where_time_goes(rows),
        potential=NOT_ASKED if gain is None else potential_info(gain),
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
