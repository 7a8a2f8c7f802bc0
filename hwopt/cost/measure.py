"""From sampled models to a measurement file: ask the oracle, cut its answer along fused groups.

The oracle is asked through the cache, so a campaign that was interrupted goes on where it
stopped, and one that is made larger pays only for what is new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from hwopt.cost import dataset
from hwopt.cost.sampling import Sample
from hwopt.ir import model_bytes
from hwopt.oracles.asking import measure_cached
from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Answer, Job, Measurement, Oracle, Row, Unmeasured
from hwopt.partition import Subgraph, partition
from hwopt.shapes import infer_shapes
from hwopt.signature import GRAPH_INPUT, VIEW
from hwopt.target import Target

BATCH = 64
_REASON_LENGTH = 100
_MOVES = ("concat", "split")  # where they cost nothing, they do so behind any operator, guards included

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
    activations do not fit the target's arena memory, and groups without a figure. A group
    that the oracle ran inside its neighbours is written with latency 0: it was free there.
    """
    measured = measure_rows(target, oracle, samples, cache, on_batch, batch)
    kinds = Counter(row.signature.kind for row in measured.rows)
    data_sha256 = dataset.write_samples(out, measured.rows)
    return Campaign(measured.samples, dict(sorted(kinds.items())), measured.dropped, data_sha256)


@dataclass(frozen=True)
class Measured:
    """What an oracle said of samples: the groups that it has a figure for, and what was dropped and why."""

    rows: tuple[dataset.Sample, ...]
    samples: int
    dropped: Mapping[str, int]


def measure_rows(
    target: Target,
    oracle: Oracle,
    samples: Iterable[Sample],
    cache: Cache,
    on_batch: OnBatch | None = None,
    batch: int = BATCH,
) -> Measured:
    """The measured groups of the samples, in the samples' order; nothing is written.

    on_batch: called whenever the oracle has answered more samples, with the rows read off so far.
    """
    rows: list[dataset.Sample] = []
    dropped: Counter[str] = Counter()
    tell = on_batch or (lambda done, found: None)
    done = 0
    iterator = iter(samples)
    while part := list(islice(iterator, batch)):
        jobs = [Job(model_bytes(sample.model), in_context=not sample.whole) for sample in part]
        answers = measure_cached(oracle, jobs, cache, partial(_tell_part, tell, done, len(rows)))
        for sample, answer in zip(part, answers, strict=True):
            rows.extend(rows_of(sample, answer, target, dropped))
        done += len(part)
        tell(done, len(rows))
    return Measured(tuple(rows), done, dict(dropped.most_common()))


def _tell_part(tell: OnBatch, before: int, rows: int, answered: int, jobs: int) -> None:
    """Progress inside a batch, whose rows are read off when it is complete."""
    if answered < jobs:
        tell(before + answered, rows)


def rows_of(sample: Sample, answer: Answer, target: Target, dropped: Counter[str]) -> list[dataset.Sample]:
    """One row per fused group of the sample that the oracle has a figure for; counts the others."""
    reason = unusable(answer, target)
    if reason or isinstance(answer, Unmeasured):
        dropped[f"sample: {reason}"[:_REASON_LENGTH]] += 1
        return []
    subgraphs = partition(sample.model, infer_shapes(sample.model, {}), target).subgraphs
    rows = answer.rows or _total_as_row(answer, subgraphs)
    if not rows:
        dropped["sample: the oracle gives no rows, and the sample is no single group"] += 1
        return []
    by_output = {row.output: row for row in rows}
    found = []
    for subgraph in subgraphs:
        parts = list(_rows_inside(subgraph, by_output))
        reason = _without_price(subgraph, parts, answer)
        if reason:
            dropped[f"group: {reason}"[:_REASON_LENGTH]] += 1
        elif subgraph.kind != VIEW:
            found.append(_row(sample, subgraph, parts))
    return found


def _total_as_row(answer: Measurement, subgraphs: Sequence[Subgraph]) -> tuple[Row, ...]:
    """The total as the row of the only group: what a device says that times whole models."""
    groups = [group for group in subgraphs if group.kind != VIEW]
    if len(groups) != 1:
        return ()
    return (Row(groups[0].outputs[0].name or "", answer.latency_us, weight_bytes=answer.weight_bytes or 0),)


def unusable(answer: Answer, target: Target) -> str:
    """Why a whole answer cannot be used; "" where it can."""
    if isinstance(answer, Unmeasured):
        return answer.reason.splitlines()[0] if answer.reason else "unmeasured"
    if answer.peak_bytes is not None and answer.peak_bytes > target.arena_memory.bytes:
        return f"activations do not fit {target.arena_memory.name}"
    return ""


def _without_price(subgraph: Subgraph, parts: list[Row], answer: Measurement) -> str:
    """Why one group gives no row; "" where it does. Views are free: nothing is missing."""
    if subgraph.kind == VIEW:
        return ""
    if not subgraph.priced:
        return f"{subgraph.kind}: {subgraph.reason}"
    if any(value.name in answer.unpriced for node in subgraph.nodes for value in node.outputs):
        return f"{subgraph.kind}: the oracle has no figure"
    hidden = not sum(row.latency_us for row in parts) and GRAPH_INPUT in subgraph.signature.producers
    if hidden and subgraph.kind not in _MOVES:
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
