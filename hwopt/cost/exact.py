"""The most uncertain subgraphs of a model, cut out in context and measured exactly.

A prediction is least sure of a few subgraphs; asking the oracle for those alone costs a fraction
of measuring the model. Each is cut out with the groups right before and after it, so that it is
measured between its true neighbours, with its own weights; only its own rows are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import onnx_ir as ir

from hwopt.cost.learned import Learned
from hwopt.cost.protocol import Pricer
from hwopt.estimate import Source
from hwopt.ir import bytes_in_files, model_bytes
from hwopt.limits import DEFAULT_REFINE, MOST_PART_BYTES_FOR_ORACLE
from hwopt.oracles.asking import measure_cached
from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Answer, Job, Measurement, Oracle, Progress, Unmeasured
from hwopt.partition import Partition, Subgraph
from hwopt.pricing.regions import cut_out
from hwopt.shapes import TensorInfo
from hwopt.signature import VIEW, Signature

_TOO_LARGE = Unmeasured(
    f"its weights are more than {MOST_PART_BYTES_FOR_ORACLE / 1e6:.0f} MB of external data"
)


def refine_most_uncertain(
    model: ir.Model,
    parts: Partition,
    shapes: Mapping[str, TensorInfo],
    pricer: Pricer,
    oracle: Oracle,
    count: int = DEFAULT_REFINE,
    cache: Cache | None = None,
    progress: Progress | None = None,
    context: bool = True,
) -> Learned:
    """The pricer with the model's `count` most uncertain subgraphs replaced by what the oracle says.

    parts, shapes: of the model (hwopt.partition.partition, hwopt.shapes.infer_shapes). pricer: a
    cost model, or a Learned, which is then taught itself. cache: None where the oracle has its own.
    context: whether to cut neighbours out along; not where the oracle prices layer by layer. All
    are asked in one batch; what the oracle cannot measure stays predicted, and what it failed at is in
    `Learned.failed`. A count of 0 asks nothing.
    """
    learned = pricer if isinstance(pricer, Learned) else Learned(pricer)
    chosen = most_uncertain(parts, learned, count)
    cut = in_context if context else alone
    cuts = [cut(model, parts, group, shapes) for group in chosen]
    without_rows = []
    for group, answer in zip(chosen, _ask(oracle, cuts, cache, progress), strict=True):
        if isinstance(answer, Measurement) and answer.rows:
            learned.learn([group], answer, Source(oracle.source))
        elif isinstance(answer, Measurement):
            without_rows.append(group)
        else:
            learned.note_failure(group.label, answer)
    # An oracle that only knows totals is asked for the subgraph alone.
    cuts = [alone(model, parts, group, shapes) for group in without_rows]
    for group, answer in zip(without_rows, _ask(oracle, cuts, cache, progress), strict=True):
        if isinstance(answer, Measurement) and not answer.unpriced:
            learned.know(group.signature, answer.latency_us, Source(oracle.source))
        elif not isinstance(answer, Measurement):
            learned.note_failure(group.label, answer)
    return learned


def most_uncertain(parts: Partition, pricer: Pricer, count: int) -> list[Subgraph]:
    """One subgraph of each of the signatures whose errors weigh most in the model's latency.

    Subgraphs of one signature are wrong together: their spreads add up before they are compared.
    """
    groups = [g for g in parts.subgraphs if g.priced and g.kind != VIEW and pricer.knows(g.signature)]
    weight: dict[Signature, float] = {}
    first: dict[Signature, Subgraph] = {}
    for group, estimate in zip(groups, pricer.predict([g.signature for g in groups]), strict=True):
        weight[group.signature] = weight.get(group.signature, 0.0) + estimate.spread
        first.setdefault(group.signature, group)
    ranked = sorted((s for s in weight if weight[s] > 0), key=lambda s: -weight[s])
    return [first[signature] for signature in ranked[: max(count, 0)]]


def alone(model: ir.Model, parts: Partition, group: Subgraph, shapes: Mapping[str, TensorInfo]) -> ir.Model:
    """The subgraph as a model of its own."""
    return _cut(model, parts, group.nodes, shapes)


def in_context(
    model: ir.Model, parts: Partition, group: Subgraph, shapes: Mapping[str, TensorInfo]
) -> ir.Model:
    """The subgraph as a model of its own, together with the groups right before and after it.

    Views between the subgraph and its neighbour are looked through, as signatures do.
    """
    inside = {*group.nodes}
    for upwards in (True, False):
        inside |= _neighbours(group, parts, upwards)
    return _cut(model, parts, inside, shapes)


def _neighbours(group: Subgraph, parts: Partition, upwards: bool) -> set[ir.Node]:
    """Nodes of the groups next to this one on one side, and of the views in between."""
    found: set[ir.Node] = set()
    open_groups = [group]
    while open_groups:
        for node in open_groups.pop().nodes:
            for other in node.predecessors() if upwards else node.successors():
                near = parts.of(other)
                if near is None or near is group or found.issuperset(near.nodes):
                    continue
                found.update(near.nodes)
                if near.kind == VIEW:
                    open_groups.append(near)
    return found


def _cut(
    model: ir.Model, parts: Partition, nodes: Collection[ir.Node], shapes: Mapping[str, TensorInfo]
) -> ir.Model:
    """The nodes as a model, with the constant arithmetic that their parameters come from."""
    excluded = set(parts.excluded)
    inside = set(nodes)
    pending = list(inside)
    while pending:
        above = [node for node in pending.pop().predecessors() if node in excluded and node not in inside]
        inside.update(above)
        pending.extend(above)
    return cut_out(model, inside, shapes)


def _ask(
    oracle: Oracle, cuts: Sequence[ir.Model], cache: Cache | None, progress: Progress | None
) -> list[Answer]:
    """One answer per cut, in one batch. A cut whose weights lie in files and are many is not handed over."""
    small = [cut for cut in cuts if bytes_in_files(cut) <= MOST_PART_BYTES_FOR_ORACLE]
    if not small:
        return [_TOO_LARGE for _ in cuts]
    jobs = [Job(model_bytes(cut), in_context=True) for cut in small]
    found = oracle.measure(jobs, progress) if cache is None else measure_cached(oracle, jobs, cache, progress)
    answers = dict(zip(map(id, small), found, strict=True))
    return [answers.get(id(cut), _TOO_LARGE) for cut in cuts]
