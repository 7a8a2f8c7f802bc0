"""Which subgraphs of the result do the work of which subgraphs of the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx

from hwopt.report.schema import Missing, Report, SubgraphRow


@dataclass(frozen=True)
class Pair:
    """Subgraphs before and after that come from the same nodes of the input; in order of execution."""

    before: tuple[SubgraphRow, ...]
    after: tuple[SubgraphRow, ...]

    @property
    def label(self) -> str:
        """The input's node that a reader knows it by: the one that computes most."""
        rows = self.before or self.after
        return max(rows, key=lambda row: (row.macs, latency(row))).nodes[0]

    @property
    def longest(self) -> float:
        """The larger of the two latencies, in microseconds."""
        return max(total(self.before), total(self.after))


def latency(row: SubgraphRow) -> float:
    """A subgraph's latency in microseconds; 0 where it has no price."""
    return 0.0 if isinstance(row.latency_us, Missing) else row.latency_us.value


def total(rows: Sequence[SubgraphRow]) -> float:
    """The latency of several, in microseconds."""
    return sum(map(latency, rows))


def pairs(report: Report) -> list[Pair]:
    """Every subgraph in one pair: those that share a source node of the input stand together."""
    before, after = report.subgraphs.before, report.subgraphs.after
    graph: nx.Graph[tuple[str, int | str]] = nx.Graph()
    for side, rows in (("before", before), ("after", after)):
        for number, row in enumerate(rows):
            graph.add_node((side, number))
            graph.add_edges_from(((side, number), ("source", name)) for name in row.sources or row.nodes)
    found = []
    for component in nx.connected_components(graph):
        one, two = (sorted(n for s, n in component if s == side and isinstance(n, int)) for side in SIDES)
        found.append((one, two))
    found.sort(key=lambda item: (item[0] or [len(before)], item[1]))
    return [Pair(tuple(before[n] for n in one), tuple(after[n] for n in two)) for one, two in found]


SIDES = ("before", "after")
