"""What bench.lossy keeps of every row that it ran, and how that reads as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.lossy_rows import Mark, Row, row_named

COLUMNS = (
    "row", "repair", "judged on", "mean KL", "agreement %", "top-1 %", "drop ± s.e.", "params", "MACs",
    "zeros in 1x1", "repair s", "peak GB", "mark", "met",
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """One row as it was run.

    held_out: calibration folds it was judged on, () for the evaluation images; params, macs: shares of the
    base's; zeros: of the weights of 1x1 convolutions; open_s, choose_s: seconds until the values were chosen;
    repair_s: seconds of one repair; picks: choice -> value.
    """

    row: str
    tune: int
    augment: int
    held_out: tuple[int, ...]
    samples: int
    kl: float
    agreement: float
    before: float
    after: float
    drop: float
    error: float
    params: float
    macs: float
    zeros: float
    open_s: float
    choose_s: float
    repair_s: float
    peak_bytes: int
    picks: dict[str, str]


def read_records(path: Path) -> list[Record]:
    """Every row in the file, in the order in which they were run."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        found.append(Record(**{**fields, "held_out": tuple(fields["held_out"])}))
    return found


def table(records: Sequence[Record]) -> str:
    """Markdown."""
    head = [_joined(COLUMNS), "|" + "---|" * len(COLUMNS)]
    return "\n".join([*head, *(_line(record, row_named(record.row)) for record in records)])


def _joined(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _line(record: Record, row: Row) -> str:
    cells = (
        row.title, _repair(record), _judge(record), f"{record.kl:.4f}", f"{100 * record.agreement:.1f}",
        f"{100 * record.before:.1f} → {100 * record.after:.1f}",
        f"{100 * record.drop:+.2f} ± {100 * record.error:.2f}", _change(record.params), _change(record.macs),
        f"{100 * record.zeros:.0f}%", f"{record.repair_s:.0f}", f"{record.peak_bytes / 1e9:.2f}",
        _mark(row.mark), met(record, row.mark),
    )  # fmt: skip
    return _joined(cells)


def _repair(record: Record) -> str:
    how = f"{record.tune} steps" if record.tune else "closed form"
    return how + (f", {record.augment} variants" if record.augment else "")


def _judge(record: Record) -> str:
    where = f"calibration folds {', '.join(map(str, record.held_out))}" if record.held_out else "eval"
    return f"{where}, n={record.samples}"


def _change(share: float) -> str:
    return f"{100 * (share - 1):+.1f}%"


def _mark(mark: Mark) -> str:
    words = [f"KL ≤ {mark.kl:.3f}"] if mark.kl is not None else []
    words += [f"agreement ≥ {100 * mark.agreement:.1f}"] if mark.agreement is not None else []
    return ", ".join(words) or "-"


def met(record: Record, mark: Mark) -> str:
    """Whether the figures keep the mark: "yes", "no", or "-" where there is none."""
    checks = []
    if mark.kl is not None:
        checks.append(record.kl <= mark.kl)
    if mark.agreement is not None:
        checks.append(record.agreement >= mark.agreement)
    return "-" if not checks else "yes" if all(checks) else "no"
