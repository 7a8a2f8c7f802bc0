"""From sampled models to a measurement file: ask the oracle, cut its answer along fused groups.

The oracle is asked through the cache, so a campaign that was interrupted goes on where it
stopped, and one that is made larger pays only for what is new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hwopt.cost import dataset
from hwopt.cost.sampling import Sample
from hwopt.ir import model_bytes
from hwopt.oracles.cache import Cache, measure_cached
from hwopt.oracles.protocol import Answer, Job, Measurement, Oracle, Row, Unmeasured
from hwopt.partition import Subgraph, partition
from hwopt.shapes import infer_shapes
from hwopt.signature import GRAPH_INPUT, VIEW
from hwopt.target import Target

BATCH = 64
_REASON_LENGTH = 100

OnBatch = Callable[[int, int], None]  # (samples done, rows so far)


@dataclass(frozen=True)
class Campaign:
    """What became of a campaign.

    rows: measured groups per kind. dropped: samples or groups without a row, by reason.
    data_sha256: hash of the file that was written.
    """

    samples: int
    rows: Mapping[str, int]
    dropped: Mapping[str, int]
    data_sha256: str


def measure_campaign(
    target: Target,
    oracle: Oracle,
    samples: Iterable[Sample],
    out: Path,
    cache: Cache,
    on_batch: OnBatch | None = None,
    batch: int = BATCH,
) -> Campaign:
    """Measures the samples (parts in context, whole networks as they are), one row per fused group.

    What cannot be measured is counted, never written: samples without an answer, or whose
    activations do not fit the target's innermost memory, and groups without a figure. A group
    that the oracle ran inside its neighbours is written with latency 0: it was free there.
    """
    rows: list[dataset.Sample] = []
    dropped: Counter[str] = Counter()
    done = 0
    iterator = iter(samples)
    while part := list(islice(iterator, batch)):
        jobs = [Job(model_bytes(sample.model), in_context=not sample.whole) for sample in part]
        for sample, answer in zip(part, measure_cached(oracle, jobs, cache), strict=True):
            rows.extend(rows_of(sample, answer, target, dropped))
        done += len(part)
        if on_batch is not None:
            on_batch(done, len(rows))
    kinds = Counter(row.signature.kind for row in rows)
    return Campaign(
        done, dict(sorted(kinds.items())), dict(dropped.most_common()), dataset.write_samples(out, rows)
    )


def rows_of(sample: Sample, answer: Answer, target: Target, dropped: Counter[str]) -> list[dataset.Sample]:
    """One row per fused group of the sample that the oracle has a figure for; counts the others."""
    reason = unusable(answer, target)
    if reason or isinstance(answer, Unmeasured):
        dropped[f"sample: {reason}"[:_REASON_LENGTH]] += 1
        return []
    by_output = {row.output: row for row in answer.rows}
    found = []
    for subgraph in partition(sample.model, infer_shapes(sample.model, {}), target).subgraphs:
        parts = list(_rows_inside(subgraph, by_output))
        reason = _without_price(subgraph, parts, answer)
        if reason:
            dropped[f"group: {reason}"[:_REASON_LENGTH]] += 1
        elif subgraph.kind != VIEW:
            found.append(_row(sample, subgraph, parts))
    return found


def unusable(answer: Answer, target: Target) -> str:
    """Why a whole answer cannot be used; "" where it can."""
    if isinstance(answer, Unmeasured):
        return answer.reason.splitlines()[0] if answer.reason else "unmeasured"
    if answer.peak_bytes is not None and answer.peak_bytes > target.memories[0].bytes:
        return f"activations do not fit {target.memories[0].name}"
    return ""


def _without_price(subgraph: Subgraph, parts: list[Row], answer: Measurement) -> str:
    """Why one group gives no row; "" where it does. Views are free: nothing is missing."""
    if subgraph.kind == VIEW:
        return ""
    if not subgraph.priced:
        return f"{subgraph.kind}: {subgraph.reason}"
    if any(value.name in answer.unpriced for node in subgraph.nodes for value in node.outputs):
        return f"{subgraph.kind}: the oracle has no figure"
    if not sum(row.latency_us for row in parts) and GRAPH_INPUT in subgraph.signature.producers:
        return f"{subgraph.kind}: ran inside what stands before the sample"
    return ""


def _rows_inside(subgraph: Subgraph, by_output: Mapping[str, Row]) -> Iterator[Row]:
    """The oracle's rows whose output is computed inside the group."""
    for value in (output for node in subgraph.nodes for output in node.outputs):
        row = by_output.get(value.name or "")
        if row is not None:
            yield row


def _row(sample: Sample, subgraph: Subgraph, parts: list[Row]) -> dataset.Sample:
    return dataset.Sample(
        sample=sample.name,
        family=sample.family,
        network=sample.network,
        signature=subgraph.signature,
        latency_us=sum(row.latency_us for row in parts),
        macs=sum(row.macs for row in parts),
        weight_bytes=sum(row.weight_bytes for row in parts),
        off_chip_bytes=sum(row.off_chip_bytes for row in parts),
    )
