"""What passes say of nodes that they offer nothing for: every reason, and who has none to give."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.choice import Choice, Kind
from hwopt.debug.explain.run import Run
from hwopt.nodes import label
from hwopt.places import has_place
from hwopt.registry import all_passes
from hwopt.report.build import skipped_rows
from hwopt.report.decided import node_labels
from hwopt.report.schema import SkippedRow

_WHOLE = (Kind.MODEL, Kind.INPUT)


@dataclass(frozen=True)
class NodesExplained:
    """What passes had to say of some nodes, apart from the values that they offer.

    skipped: why a pass could not act there. everywhere: why a pass does nothing in the whole model. silent:
    passes to which these nodes are no business. left_out: passes that did not run (--passes, --disable, or
    what is not allowed).
    """

    nodes: tuple[str, ...]
    skipped: tuple[SkippedRow, ...]
    everywhere: tuple[SkippedRow, ...]
    silent: tuple[str, ...]
    left_out: tuple[str, ...]


def nodes_explained(run: Run, places: Collection[str], choice: Choice | None = None) -> NodesExplained:
    """What was said of the nodes at these places. choice: where they are asked for as its nodes."""
    names = node_labels(run.work.model)
    here = {names[place] for place in places if place in names}
    here |= {label for place, label in node_labels(run.found.base).items() if place in places}
    known = {label(node) for model in (run.work.model, run.found.base) for node in model.graph}
    rows = skipped_rows(run.found.skipped)
    skipped = tuple(row for row in rows if row.node in here)
    everywhere = tuple(row for row in rows if row.node not in known)
    whole = choice is not None and choice.kind in _WHOLE
    ran = [item.name for item in run.work.passes]
    told = {row.pass_ for row in (*skipped, *everywhere)} | _offering(run, places)
    return NodesExplained(
        nodes=tuple(sorted(here)),
        skipped=() if whole else skipped,
        everywhere=everywhere,
        silent=() if whole else tuple(name for name in ran if name not in told),
        left_out=tuple(item.name for item in all_passes() if item.name not in ran),
    )


def out_of_reach(run: Run, name: str) -> NodesExplained | None:
    """A node of that name that no pass looks at, and why none does; None where there is none."""
    graph = run.work.model.graph
    reason = next((_why_unseen(node, graph) for node in graph.all_nodes() if name in _names(node)), "")
    if not reason:
        return None
    return NodesExplained((name,), (SkippedRow("every pass", name, reason),), (), (), ())


def _why_unseen(node: ir.Node, main: ir.Graph) -> str:
    if node.graph is not main:
        return "it stands in a branch or in the body of a loop: passes look at the main graph alone"
    return "" if has_place(node) else "it is a constant: choices are about the nodes that read it"


def _names(node: ir.Node) -> tuple[str, ...]:
    return (label(node), *(value.name for value in node.outputs if value.name))


def _offering(run: Run, places: Collection[str]) -> set[str]:
    """Passes with a value that touches one of the places, those about the whole model apart."""
    return {
        value.pass_name
        for choice in run.offered.values()
        if choice.kind not in _WHOLE
        for value in choice.values
        if not set(places).isdisjoint(value.places)
    }
