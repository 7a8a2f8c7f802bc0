"""A cost model that remembers what the oracle said of subgraphs it has met.

Every whole model that the oracle measures also prices the subgraphs in it, in their true
context. What is known exactly is no longer predicted, so a search that is repeated after a
measurement no longer believes in a gain that the measurement denied.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from hwopt.cost.protocol import Pricer
from hwopt.estimate import Estimate, Source
from hwopt.oracles.protocol import Measurement
from hwopt.partition import Partition, Subgraph
from hwopt.signature import VIEW, Signature


class Learned:
    """A pricer on top of another one; the oracle's figures win."""

    def __init__(self, model: Pricer) -> None:
        self._model = model
        self._exact: dict[Signature, Estimate] = {}

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

    def learn(self, partition: Partition, measurement: Measurement, source: Source) -> int:
        """Takes the rows of a whole model's measurement; returns how many signatures it settled.

        A signature that occurs several times in the model gets the mean of its occurrences.
        """
        rows = {row.output: row.latency_us for row in measurement.rows}
        found: dict[Signature, list[float]] = defaultdict(list)
        for group in partition.subgraphs:
            latency = _latency(group, rows)
            if latency is not None and group.kind != VIEW:
                found[group.signature].append(latency)
        for signature, latencies in found.items():
            mean = sum(latencies) / len(latencies)
            self._exact[signature] = Estimate(mean, 0.0, source)
        return len(found)


def _latency(group: Subgraph, rows: Mapping[str, float]) -> float | None:
    """Sum of the rows of the group's nodes; None where the oracle gave none."""
    names = [value.name or "" for node in group.nodes for value in node.outputs]
    known = [rows[name] for name in names if name in rows]
    return sum(known) if known else None
