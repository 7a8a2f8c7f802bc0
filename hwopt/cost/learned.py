"""A cost model that remembers what the oracle said of subgraphs it has met.

Every whole model that the oracle measures also prices the subgraphs in it, in their true
context. What is known exactly is no longer predicted, so a search that is repeated after a
measurement no longer believes in a gain that the measurement denied.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from hwopt.cost.protocol import Pricer
from hwopt.estimate import Estimate, Source
from hwopt.oracles.protocol import Measurement, Unmeasured
from hwopt.partition import Subgraph
from hwopt.signature import GRAPH_INPUT, VIEW, Signature


class Learned:
    """A pricer on top of another one; the oracle's figures win.

    failed: why subgraphs keep their predicted figure although the oracle was asked, by their labels;
    where it crashed or hung, not where it has no figure for such a subgraph.
    """

    def __init__(self, model: Pricer) -> None:
        self._model = model
        self.failed: dict[str, str] = {}
        self._exact: dict[Signature, Estimate] = {}

    def __len__(self) -> int:
        """How many signatures have a figure of the oracle."""
        return len(self._exact)

    def knows(self, signature: Signature) -> bool:
        """Whether there is a figure, predicted or measured."""
        return signature in self._exact or self._model.knows(signature)

    def predict(self, signatures: Sequence[Signature]) -> list[Estimate]:
        """The oracle's figure where it has been asked, else the cost model's."""
        open_ones = [s for s in dict.fromkeys(signatures) if s not in self._exact]
        known: Mapping[Signature, Estimate] = {
            **self._exact,
            **dict(zip(open_ones, self._model.predict(open_ones), strict=True)),
        }
        return [known[s] for s in signatures]

    def learn(self, groups: Iterable[Subgraph], measurement: Measurement, source: Source) -> int:
        """Takes the rows of a measurement that these groups were part of; returns how many it settled.

        Groups of one signature get the mean of their figures. A priced group without a row of its
        own ran inside its neighbours: it was free there.
        """
        rows = {row.output: row.latency_us for row in measurement.rows}
        found: dict[Signature, list[float]] = defaultdict(list)
        for group in groups:
            latency = _latency(group, rows, frozenset(measurement.unpriced))
            if latency is not None:
                found[group.signature].append(latency)
        for signature, latencies in found.items():
            self.know(signature, sum(latencies) / len(latencies), source)
        return len(found)

    def know(self, signature: Signature, latency_us: float, source: Source) -> None:
        """Takes one exact figure, in microseconds."""
        self._exact[signature] = Estimate(latency_us, 0.0, source)

    def note_failure(self, label: str, answer: Unmeasured) -> None:
        """Remembers that the oracle failed at a subgraph."""
        if answer.transient:
            self.failed[label] = answer.reason

    def settled(self, signature: Signature) -> bool:
        """Whether the figure is the oracle's."""
        return signature in self._exact


def _latency(group: Subgraph, rows: Mapping[str, float], unpriced: frozenset[str]) -> float | None:
    """Sum of the rows of the group's nodes; None where the oracle gave no figure."""
    names = [value.name or "" for node in group.nodes for value in node.outputs]
    if not rows or not group.priced or group.kind == VIEW or not unpriced.isdisjoint(names):
        return None
    if GRAPH_INPUT in group.signature.producers and not any(name in rows for name in names):
        return None  # ran inside something that stands before the model
    return sum(rows.get(name, 0.0) for name in names)
