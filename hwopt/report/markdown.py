"""Report  -->  OUT.report.md: the same facts as the JSON, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from hwopt.report import analysis_table, analysis_text, words
from hwopt.report.pareto import SHOWN_ROWS, pareto_table
from hwopt.report.rounds import round_lines
from hwopt.report.schema import ChoiceRow, Missing, Outcome, PassRow, Report, SubgraphRow, Unpriced
from hwopt.report.schema_proof import STRETCHES
from hwopt.visible import visible

T = TypeVar("T")
_KEEP = "keep"
_SHOWN_NODES = 3

_HEADLINES = {
    Outcome.CHANGED: "The model was changed.",
    Outcome.UNCHANGED: "The model came back unchanged: no plan beats it within the limits.",
    Outcome.BUDGET_NOT_MET: "The limits cannot be met; nothing was written.",
    Outcome.ANALYSED: "Nothing was changed: this is an analysis.",
}


def to_markdown(report: Report) -> str:
    """The whole report as Markdown, ending in a newline; no name in it steers a terminal."""
    parts = [
        _head(report),
        _section("Before and after", _summary(report)),
        _section("Where the time goes", _where(report)),
        _section("What rewriting could gain at the most", _potential(report)),
        _section("What was changed, and why", _choices(report, changed=True)),
        _section("What was kept, and why", _choices(report, changed=False)),
        _section("Not priced", _unpriced(report)),
        _section("Places passed over", _skipped(report)),
        _section("Subgraphs", _subgraphs(report)),
        _section("Verification", _verification(report)),
        _section("Limits and search", _search(report)),
        _section("Other plans", _pareto(report)),
        _section("Passes", _passes(report)),
        _section("Time spent", _timings(report)),
        _section("How to reproduce", _reproduce(report)),
    ]
    return visible("\n".join(part for part in parts if part))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars and line breaks inside a cell are made harmless."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _first(header: Sequence[str], rows: Sequence[T], cells: Callable[[T], Sequence[str]]) -> str:
    """A table of as many rows as somebody may read, and how many more there are."""
    shown = table(header, [cells(row) for row in rows[: words.MOST_ROWS]])
    return shown if len(rows) <= words.MOST_ROWS else f"{shown}\n\n{words.beyond(len(rows))}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}\n" if body else ""


def _head(report: Report) -> str:
    lines = [
        f"# {report.model.path} on {report.target.name}",
        "",
        _HEADLINES[report.outcome],
        "",
        f"- model: `{report.model.path}`, opset {report.model.opset}, SHA-256 `{report.model.sha256}`",
        f"- target: {report.target.name} ({report.target.precision}, oracle {report.target.oracle})",
    ]
    if not isinstance(report.output, Missing):
        lines.append(f"- written: `{report.output.path}`, SHA-256 `{report.output.sha256}`")
    lines += [f"- note: {note}" for note in report.notes]
    return "\n".join(lines) + "\n"


def _summary(report: Report) -> str:
    rows = [[row.what, row.before, row.after, row.change, row.source] for row in words.summary(report)]
    legend = (
        "*predicted*: by the cost model. *compiled*: by a compiler's or simulator's own model. "
        "*measured*: on a device or on data. *computed*: counted from the graph."
    )
    return table(["", "before", "after", "change", "source"], rows) + "\n\n" + legend


def _where(report: Report) -> str:
    """Kinds of operators, the longest first, and the whole model in sentences."""
    found = report.where_time_goes
    if isinstance(found, Missing):
        return ""
    units = analysis_table.total_units(found.kinds)
    rows = [
        [line.name, line.kind, line.latency, f"{100 * line.share:.1f}%", line.array]
        for line in analysis_table.totals(found.kinds, units)
    ]
    said = [f"{found.bottleneck}.", analysis_text.bounds(report), analysis_text.memory(report),
            analysis_text.weights(report)]  # fmt: skip
    header = ["kind", "subgraphs", f"latency, {units.time.name}", "share", "MAC array"]
    return "\n\n".join([*filter(None, said), table(header, rows)])


def _potential(report: Report) -> str:
    found = report.potential
    if isinstance(found, Missing):
        return ""
    parts = [*analysis_text.bound_lines(found)]
    parts.append(table(analysis_text.PASSES_HEADER, analysis_text.pass_rows(found)))
    if gains := analysis_text.gain_rows(report):
        parts.append(table(analysis_text.GAINS_HEADER, gains))
    return "\n\n".join(parts)


def _choices(report: Report, changed: bool) -> str:
    rows = [row for row in report.choices if (row.chosen != _KEEP) == changed]
    if not rows:
        return ""
    header = ["choice", "nodes", "taken", "latency before", "latency after", "damage", "why"]
    return _first(header, rows, _choice_cells)


def _choice_cells(row: ChoiceRow) -> list[str]:
    by_name = {value.name: value for value in row.values}
    kept, taken = by_name.get(_KEEP), by_name.get(row.chosen)
    return [
        f"{row.kind} `{row.id}`",
        _nodes(row.nodes),
        row.chosen if taken is None or not taken.passes else f"{row.chosen} ({', '.join(taken.passes)})",
        "-" if kept is None else words.latency(kept.latency_us),
        "-" if taken is None else words.latency(taken.latency_us),
        "-" if taken is None or isinstance(taken.damage, Missing) else words.number(taken.damage.value),
        row.reason,
    ]


def _nodes(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_NODES
    return ", ".join(names[:_SHOWN_NODES]) + (f" and {more} more" if more > 0 else "")


def _unpriced(report: Report) -> str:
    sides: list[tuple[str, Sequence[Unpriced]]] = [("before", report.before.unpriced)]
    if not isinstance(report.after, Missing):
        sides.append(("after", report.after.unpriced))
    rows = [[side, item.op, item.node, item.reason] for side, items in sides for item in items]
    if not rows:
        return ""
    intro = "These operators have no price on this target; they are not counted as zero.\n\n"
    return intro + _first(["model", "operator", "node", "reason"], rows, list)


def _skipped(report: Report) -> str:
    if not report.skipped:
        return ""
    return _first(["pass", "node", "reason"], report.skipped, lambda row: [row.pass_, row.node, row.reason])


def _subgraphs(report: Report) -> str:
    sides = (("Before", report.subgraphs.before), ("After", report.subgraphs.after))
    return "\n\n".join(f"### {title}\n\n{_subgraph_table(rows)}" for title, rows in sides if rows)


def _subgraph_table(rows: Sequence[SubgraphRow]) -> str:
    header = ["", "kind", "engine", "nodes", "latency", "bound", "peak memory"]
    return _first(header, rows, _subgraph_cells)


def _subgraph_cells(row: SubgraphRow) -> list[str]:
    return [
        row.id,
        row.kind,
        row.engine or "none",
        _nodes(row.nodes),
        words.latency(row.latency_us),
        row.bound,
        words.size(row.peak_bytes),
    ]


def _verification(report: Report) -> str:
    proof = report.verification
    if isinstance(proof, Missing):
        return f"Unavailable: {proof.unavailable}."
    lines = [
        f"- interface (names, dtypes, shapes, opset): {'the same' if proof.interface_same else 'CHANGED'}",
        f"- onnx.checker, full check: {proof.checker}",
    ]
    lines += [f"- {change}" for change in proof.interface_changes]
    whose = "" if proof.outputs_of == "file" else f" of the {proof.outputs_of}"
    for row in proof.outputs:
        lines.append(
            f"- output `{row.name}`{whose}: largest difference {row.max_abs:.3g}, relative {row.max_rel:.3g}"
        )
    if proof.how.startswith(STRETCHES):
        lines.append(f"- outputs were compared {proof.how}")
    if isinstance(proof.oracle, Missing):
        return "\n".join([*lines, f"- whole model by the oracle: unavailable: {proof.oracle.unavailable}"])
    before, after = proof.oracle.before, proof.oracle.after
    lines.append(
        f"- whole model by {report.target.oracle}: {words.latency(before.latency_us)} before, "
        f"{words.latency(after.latency_us)} after ({words.change(before.latency_us, after.latency_us)}); "
        f"peak memory {words.size(before.peak_bytes)} before, {words.size(after.peak_bytes)} after"
    )
    return "\n".join(lines)


def _search(report: Report) -> str:
    lines = [f"- minimised: {report.budget.minimize}"]
    for limit in report.budget.limits:
        verdict = "met" if limit.met else "NOT met"
        lines.append(
            f"- limit {limit.name} {words.number(limit.limit, 6)}: {verdict} at "
            f"{words.number(limit.value, 6)} ({limit.source})"
        )
    search = report.search
    if isinstance(search, Missing):
        return "\n".join([*lines, f"- search: {search.unavailable}"])
    lines.append(
        f"- search: {search.strategy}, {search.evaluations} evaluations, bound {words.number(search.bound)}, "
        f"gap {words.number(search.gap)}" + (f", cut short: {search.stopped}" if search.stopped else "")
    )
    return "\n".join([*lines, *round_lines(search.rounds, search.link)])


def _pareto(report: Report) -> str:
    if len(report.pareto) < 2:
        return ""
    intro = (
        "Plans that no other beats in latency, damage and footprint at once, and those that were measured. "
        f"Latency and memory are predicted here, for all of them; {_more(report)}\n\n"
    )
    header = ["latency", "damage", "drop", "peak memory", "weight size", "values", "damage is"]
    return intro + table(header, pareto_table(report.pareto))


def _more(report: Report) -> str:
    more = len(report.pareto) - SHOWN_ROWS
    others = f"{more} more and " if more > 0 else ""
    return f"the JSON report has {others}the values of each."


def _passes(report: Report) -> str:
    if not report.passes:
        return ""
    header = ["pass", "values", "skipped", "steps", "nodes gone", "nodes new", "s looking", "s rewriting"]
    return table(header, [_pass_cells(row) for row in report.passes])


def _pass_cells(row: PassRow) -> list[str]:
    counts = (row.values, row.skipped, row.steps, row.nodes_removed, row.nodes_added)
    return [row.name, *map(str, counts), f"{row.finding_s:.3f}", f"{row.rewriting_s:.3f}"]


def _timings(report: Report) -> str:
    if not report.timings_s:
        return ""
    return table(["stage", "seconds"], [[name, f"{value:.2f}"] for name, value in report.timings_s.items()])


def _reproduce(report: Report) -> str:
    lines = [
        f"```\n{report.command}\n```",
        "",
        f"{report.tool.name} {report.tool.version}, seed {report.seed}",
    ]
    settings = [f"{name} {value}" for name, value in report.settings.items()]
    return "\n".join([*lines, *([", ".join(settings)] if settings else [])])
