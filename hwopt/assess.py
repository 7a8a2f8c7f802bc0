"""What a whole model costs on a target: predicted by the cost model, and asked of the oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.cost.protocol import Pricer
from hwopt.cost.raw import table
from hwopt.cost.roofline import roofline
from hwopt.errors import BadInput
from hwopt.estimate import Estimate, Source, total
from hwopt.ir import bytes_in_files, model_bytes
from hwopt.limits import MOST_BYTES_FOR_ORACLE
from hwopt.memory import MemoryPlan, plan_memory, weight_bytes
from hwopt.nodes import constant, label
from hwopt.oracles.protocol import Answer, Job, Measurement, Oracle, Progress, Unmeasured
from hwopt.partition import Partition, Subgraph, partition
from hwopt.shapes import TensorInfo, bind_inputs, infer_shapes
from hwopt.signature import VIEW, macs
from hwopt.target import Target

InputShapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Roofs:
    """What no implementation of a subgraph can beat: the time of the MAC array, and of both memories.

    on_chip_bytes, off_chip_bytes: what it moves between them and the array.
    """

    compute_us: float
    on_chip_us: float
    off_chip_us: float
    on_chip_bytes: int
    off_chip_bytes: int

    @property
    def bound(self) -> str:
        """The lowest roof of the roofline."""
        times = {"compute": self.compute_us, "on_chip": self.on_chip_us, "off_chip": self.off_chip_us}
        return max(times, key=lambda name: times[name])


@dataclass(frozen=True)
class Part:
    """One subgraph with its predicted latency, None where nobody has a figure, and what bounds it.

    roofs: None where nothing is computed or moved.
    """

    subgraph: Subgraph
    latency_us: Estimate | None
    roofs: Roofs | None
    peak_bytes: int

    @property
    def bound(self) -> str:
        """ "compute", "on_chip" or "off_chip"; "" where nothing bounds it."""
        return "" if self.roofs is None else self.roofs.bound


@dataclass(frozen=True)
class Assessment:
    """A model on a target. latency_us is the sum over the parts that have a price."""

    shapes: Mapping[str, TensorInfo]
    partition: Partition
    memory: MemoryPlan
    parts: tuple[Part, ...]
    latency_us: Estimate
    weight_bytes: int
    macs: int
    params: int
    nodes: int
    unpriced: Mapping[str, str]  # label -> reason

    @property
    def footprint_bytes(self) -> int:
        return self.memory.peak_bytes + self.weight_bytes


@dataclass(frozen=True)
class OracleAnswer:
    """The oracle's own figures for a whole model, or the reason why there are none."""

    measurement: Measurement | None
    reason: str = ""
    source: Source = Source.COMPILED


def comparable(before: OracleAnswer, after: OracleAnswer) -> bool:
    """Whether both figures speak of the same share of the model: as many operators left out of each."""
    one, two = before.measurement, after.measurement
    return one is not None and two is not None and len(one.unpriced) == len(two.unpriced)


def assess(
    model: ir.Model, input_shapes: InputShapes, target: Target, cost_model: Pricer, streamed: bool = False
) -> Assessment:
    """Predicted latency, arena, weights and counts of a model.

    streamed: between operators activations go through the outermost memory (`cost.roofline`).
    """
    shapes = infer_shapes(model, input_shapes)
    parts = partition(model, shapes, target)
    memory = plan_memory(model, shapes, parts, target)
    priced = _priced_parts(parts, memory, target, cost_model, streamed)
    return Assessment(
        shapes=shapes,
        partition=parts,
        memory=memory,
        parts=priced,
        latency_us=total(part.latency_us for part in priced if part.latency_us is not None),
        weight_bytes=sum(weight_bytes(group.signature, target) for group in parts.subgraphs),
        macs=sum(macs(group.signature) for group in parts.subgraphs),
        params=_params(model),
        nodes=model.graph.num_nodes(),
        unpriced=_unpriced(parts, target, cost_model),
    )


def _unpriced(parts: Partition, target: Target, cost_model: Pricer) -> dict[str, str]:
    found = {}
    for group in parts.subgraphs:
        if not group.priced:
            found[group.label] = group.reason
        elif not cost_model.knows(group.signature):
            found[group.label] = f"no operator of kind '{group.kind}' was ever measured on {target.name}"
    return found


def _priced_parts(
    parts: Partition, memory: MemoryPlan, target: Target, cost_model: Pricer, streamed: bool
) -> tuple[Part, ...]:
    groups = [g for g in parts.subgraphs if g.priced and cost_model.knows(g.signature)]
    latency = dict(zip(groups, cost_model.predict([g.signature for g in groups]), strict=True))
    roofs = dict(zip(groups, _roofs(groups, target, streamed), strict=True))
    return tuple(
        Part(group, latency.get(group), roofs.get(group), step.live_bytes)
        for group, step in zip(parts.subgraphs, memory.steps, strict=True)
    )


def _roofs(groups: Sequence[Subgraph], target: Target, streamed: bool) -> list[Roofs | None]:
    """The roofline of each group; None for views."""
    if not groups:
        return []
    bounds = roofline(table([g.signature for g in groups]), target, streamed)
    inner, outer = target.memories[0], target.memories[-1]
    return [
        None
        if group.kind == VIEW
        else Roofs(
            compute_us=target.cycles_to_us(mac),
            on_chip_us=target.cycles_to_us(on_chip),
            off_chip_us=target.cycles_to_us(off_chip),
            on_chip_bytes=round(on_chip * inner.bytes_per_cycle),
            off_chip_bytes=round(off_chip * outer.bytes_per_cycle),
        )
        for group, mac, on_chip, off_chip in zip(
            groups, bounds.mac.tolist(), bounds.on_chip.tolist(), bounds.off_chip.tolist(), strict=True
        )
    ]


def _params(model: ir.Model) -> int:
    """Elements of all floating-point constants that some node reads, each tensor once."""
    found: dict[int, int] = {}
    for node in model.graph.all_nodes():
        for value in node.inputs:
            tensor = constant(value)
            if value is not None and tensor is not None and tensor.dtype.is_floating_point():
                found[id(value)] = int(tensor.size)
    return sum(found.values())


def bound_bytes(model: ir.Model, input_shapes: InputShapes) -> bytes:
    """The model with static input shapes, as an oracle wants it; batch 1 where it is free."""
    copy = model.clone()
    bound = bind_inputs(copy, input_shapes)
    for value in copy.graph.inputs:
        if value.name in bound:
            value.shape = ir.Shape(bound[value.name])
    return model_bytes(copy)


def ask_oracle(
    oracle: Oracle | BadInput,
    models: Sequence[ir.Model],
    input_shapes: InputShapes,
    progress: Progress | None = None,
) -> list[OracleAnswer]:
    """The oracle's figure for each whole model; an oracle that is not installed says so."""
    if isinstance(oracle, BadInput):
        return [OracleAnswer(None, str(oracle)) for _ in models]
    source = Source(oracle.source)
    weights = [bytes_in_files(model) for model in models]
    small = [m for m, size in zip(models, weights, strict=True) if size <= MOST_BYTES_FOR_ORACLE]
    answers = iter(oracle.measure([Job(bound_bytes(model, input_shapes)) for model in small], progress))
    return [
        _told(next(answers), source)
        if size <= MOST_BYTES_FOR_ORACLE
        else OracleAnswer(None, f"its {size / 1e6:.0f} MB of external data are too many to hand over", source)
        for size in weights
    ]


def _told(answer: Answer, source: Source) -> OracleAnswer:
    if isinstance(answer, Unmeasured):
        return OracleAnswer(None, _why(answer), source)
    return OracleAnswer(answer, "", source)


def _why(answer: Unmeasured) -> str:
    names = ", ".join(answer.nodes[:5]) + (" ..." if len(answer.nodes) > 5 else "")
    return f"{answer.reason} ({names})" if names else answer.reason


def op_of(assessment: Assessment, name: str) -> str:
    """The operator of the subgraph with that label."""
    for group in assessment.partition.subgraphs:
        if group.label == name:
            return next((node.op_type for node in group.nodes if label(node) == name), group.kind)
    return "?"
