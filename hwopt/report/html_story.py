"""What the page says first: the verdict in a sentence, and the four figures that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hwopt.estimate import Estimate, Source
from hwopt.report import words
from hwopt.report.schema import AccuracyRow, Costs, Figure, Missing, Outcome, Report

KEEP = "keep"
_DISTANCES = ("kl", "relative_error")  # 0 is the same; no score that falls
_SAME = 0.0005  # a relative change that rounds to 0.0% is none
_TIMES = 1.1  # from here on "times as fast" reads better than a share

Pair = tuple[Figure, Figure | None]  # before and after; None where nothing came after


@dataclass(frozen=True)
class Tile:
    """One headline figure. verdict: "better", "worse" or "same", where there is something to compare."""

    name: str
    before: str
    after: str
    change: str
    verdict: str
    lines: tuple[str, ...]


def verdict(report: Report) -> str:
    """What came of the run, in one sentence."""
    target = report.target.name
    if report.outcome == Outcome.ANALYSED:
        time = report.before.latency_us
        if isinstance(time, Missing):
            return f"An analysis, nothing was changed: no latency on {target}, {time.unavailable}."
        extra = ", in parts extrapolated" if time.extrapolated else ""
        return (
            f"An analysis, nothing was changed: one run takes {words.microseconds(time.value)} on {target} "
            f"({time.source.value}{extra})."
        )
    if report.outcome == Outcome.BUDGET_NOT_MET:
        return f"The limits cannot be met on {target}: nothing was written."
    if report.outcome == Outcome.UNCHANGED:
        return f"The model came back unchanged: on {target} no plan beats it within the limits."
    return _changed(report)


def _changed(report: Report) -> str:
    changes = _changes(report)
    if not changes:
        return f"Costs what it cost before, and {_price(report)}."
    main, rest = changes[0], changes[1:]
    beside = f", with {' and '.join(rest)}" if rest else ""
    return f"{main}{beside}; {_price(report)}."


def _changes(report: Report) -> list[str]:
    """What was asked for comes first, as a sentence without its subject, then what else moved."""
    after = report.after
    if isinstance(after, Missing):
        return []
    memory = less(report.before.peak_bytes, after.peak_bytes)
    size = less(report.before.weight_bytes, after.weight_bytes)
    time = _time(latencies(report))
    rest = [f"{memory} peak memory"] * bool(memory) + [f"{size} weight size"] * bool(size)
    if report.budget.minimize in ("memory", "footprint", "size") and rest:
        first = rest.pop(report.budget.minimize == "size" and bool(memory) and bool(size))
        return [f"Needs {first}", *rest, *([f"latency that {time}"] if time else [])]
    return [time[:1].upper() + time[1:], *rest] if time else [f"Needs {text}" for text in rest[:1]] + rest[1:]


def _time(times: Pair) -> str:
    before, after = times
    if not isinstance(before, Estimate) or not isinstance(after, Estimate) or not after.value:
        return ""
    ratio = before.value / after.value
    if ratio >= _TIMES:
        return f"runs {ratio:.3g} times as fast ({after.source.value})"
    change = less(before, after)
    return f"takes {change} time ({after.source.value})" if change else ""


def less(before: Figure, after: Figure | None) -> str:
    """The change as people say it: "12.3% less"; "" where there is none, or nothing to compare."""
    if isinstance(before, Missing) or not isinstance(after, Estimate) or not before.value:
        return ""
    change = after.value / before.value - 1
    if abs(change) < _SAME:
        return ""
    return f"{abs(100 * change):.1f}% {'less' if change < 0 else 'more'}"


def _price(report: Report) -> str:
    """What it cost in accuracy."""
    if all_exact(report):
        return "it cost no accuracy: every rewrite is exact (fp32)"
    row = main_accuracy(report)
    if row is None:
        why = report.accuracy.unavailable if isinstance(report.accuracy, Missing) else "nobody measured it"
        return f"what it cost in accuracy is unavailable: {why}"
    if isinstance(row.drop, Missing):
        return f"what it cost in {row.metric} is unavailable: {row.drop.unavailable}"
    amount = f"{abs(_scaled(row, row.drop)):.3g}{_unit(row)}"
    if row.metric in _DISTANCES:
        return f"it moved the output by {amount} ({row.metric}, measured)"
    if row.drop <= 0:
        return f"{row.metric} is {amount} better, measured on {row.samples} samples"
    return f"it cost {amount} of {row.metric}, measured on {row.samples} samples"


def all_exact(report: Report) -> bool:
    """Whether every value that was taken computes the same function."""
    taken = [value for row in report.choices for value in row.values if value.name == row.chosen]
    return isinstance(report.accuracy, Missing) and all(value.risk == "exact" for value in taken)


def written_precision(report: Report) -> str:
    """The precision that the written file computes in."""
    proof = report.verification
    return "fp32" if isinstance(proof, Missing) or proof.outputs_of == "file" else report.target.precision


def main_accuracy(report: Report) -> AccuracyRow | None:
    """The row to speak of first: a score before a distance, at the precision of the written file."""
    if isinstance(report.accuracy, Missing) or not report.accuracy:
        return None
    wanted = written_precision(report)
    rows = [row for row in report.accuracy if row.precision == wanted] or list(report.accuracy)
    return next((row for row in rows if row.metric not in (*_DISTANCES, "agreement")), rows[0])


def latencies(report: Report) -> Pair:
    """Of the whole model: by the oracle where it was asked for both, else as predicted."""
    after = report.after
    proof = None if isinstance(report.verification, Missing) else report.verification.oracle
    if proof is not None and not isinstance(proof, Missing):
        told = proof.before.latency_us, proof.after.latency_us
        if not any(isinstance(figure, Missing) for figure in told):
            return told[0], None if isinstance(after, Missing) else told[1]
    return report.before.latency_us, None if isinstance(after, Missing) else after.latency_us


def tiles(report: Report) -> tuple[Tile, ...]:
    """Latency, peak memory, weight size and accuracy, each with its source."""
    sizes = (("Peak memory", "peak_bytes", "activations"), ("Weight size", "weight_bytes", "weights"))
    return (
        _latency_tile(report),
        *(_size_tile(report, name, key, what) for name, key, what in sizes),
        _accuracy_tile(report),
    )


def _latency_tile(report: Report) -> Tile:
    before, after = latencies(report)
    lines = [_whose(report, before, after), *_error(before, after)]
    if before is not report.before.latency_us:
        lines += _second_opinion(report)
    missing = unpriced(report)
    if missing:
        lines.append(f"{missing} operators have no price and are not in it")
    return _tile("Latency", before, after, words.microseconds, lines)


def _second_opinion(report: Report) -> list[str]:
    one, two = report.before.latency_us, report.after
    if isinstance(two, Missing):
        return [f"predicted: {words.latency(one)}"]
    return [
        f"predicted: {words.latency(one)} → {words.latency(two.latency_us)} "
        f"({words.change(one, two.latency_us)})"
    ]


def unpriced(report: Report) -> int:
    """How many operators have no price, on the worse side."""
    after: Costs | None = None if isinstance(report.after, Missing) else report.after
    return max(len(report.before.unpriced), len(after.unpriced) if after else 0)


def _size_tile(report: Report, name: str, key: str, what: str) -> Tile:
    before: Figure = getattr(report.before, key)
    after: Figure | None = None if isinstance(report.after, Missing) else getattr(report.after, key)
    lines = [f"{what} at {report.target.precision}", _whose(report, before, after)]
    return _tile(name, before, after, words.byte_count, lines)


def _tile(
    name: str, before: Figure, after: Figure | None, show: Callable[[float], str], lines: Sequence[str]
) -> Tile:
    if isinstance(before, Missing):
        return Tile(name, "unavailable", "", "", "", (before.unavailable,))
    if after is None:
        return Tile(name, show(before.value), "", "", "", tuple(lines))
    if isinstance(after, Missing):
        return Tile(name, show(before.value), "unavailable", "", "", (*lines, f"after: {after.unavailable}"))
    change = less(before, after)
    word = "better" if "less" in change else "worse" if change else "same"
    return Tile(name, show(before.value), show(after.value), change or "the same", word, tuple(lines))


def _whose(report: Report, *figures: Figure | None) -> str:
    """By whose word, and how precise that is said to be."""
    sources = dict.fromkeys(figure.source for figure in figures if isinstance(figure, Estimate))
    return " / ".join(_SOURCES[source].format(target=report.target) for source in sources)


def _error(*figures: Figure | None) -> list[str]:
    """How far off the figures may be, where they say so."""
    known = [figure for figure in figures if isinstance(figure, Estimate)]
    lines = []
    if any(figure.spread > 0 for figure in known):
        spreads = " → ".join(f"± {words.microseconds(figure.spread, 2)}" for figure in known)
        lines.append(f"{spreads}, one standard deviation")
    if any(figure.extrapolated for figure in known):
        lines.append("in parts extrapolated, beyond what was measured")
    return lines


_SOURCES = {
    Source.PREDICTED: "predicted, at {target.precision}, by the cost model of {target.name}",
    Source.COMPILED: "compiled, at {target.precision}: {target.oracle}'s own model, no device",
    Source.MEASURED: "measured at {target.precision} by {target.oracle}",
    Source.COMPUTED: "computed: counted from the graph",
}


def _no_accuracy(report: Report) -> Tile:
    why = report.accuracy.unavailable if isinstance(report.accuracy, Missing) else "nobody measured it"
    if report.outcome == Outcome.UNCHANGED:
        return Tile("Accuracy", "the same", "", "", "same", ("it is the same model",))
    if report.outcome == Outcome.CHANGED and all_exact(report):
        return Tile("Accuracy", "the same", "", "", "same", (why,))
    return Tile("Accuracy", "not measured", "", "", "", (why,))


def _accuracy_tile(report: Report) -> Tile:
    row = main_accuracy(report)
    if row is None:
        return _no_accuracy(report)
    shown = words.accuracy_row(row)
    lines = [f"measured on {row.samples} samples, {shown.what[len(row.metric) :].strip(' ()')}"]
    if isinstance(row.interval, Missing):
        lines.append(f"no interval: {row.interval.unavailable}")
    else:
        low, high = (_scaled(row, end) for end in row.interval)
        lines.append(f"95% interval of the drop: {low:.3g} to {high:.3g}{_unit(row)}")
    if isinstance(row.drop, Missing):
        return Tile(f"Accuracy: {row.metric}", shown.before, shown.after, "", "", tuple(lines))
    word = "better" if row.drop < 0 else "worse" if row.drop else "same"
    side = {"better": "better", "worse": "lost", "same": ""}[word]
    change = f"{abs(_scaled(row, row.drop)):.3g}{_unit(row)} {side}" if side else "the same"
    if row.metric in _DISTANCES:
        change = "distance to the input's output"
    return Tile(f"Accuracy: {row.metric}", shown.before, shown.after, change, word, tuple(lines))


def _scaled(row: AccuracyRow, value: float) -> float:
    return 100 * value if words.is_share(row.metric) else value


def _unit(row: AccuracyRow) -> str:
    return " points" if words.is_share(row.metric) else ""
