"""A job cut into what is priced: loop nests for ZigZag, transfers of bytes, and what has no figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from hwopt.errors import reason_of
from hwopt.oracles.protocol import Job, Unmeasured
from hwopt.oracles.zigzag_bytes import Moved, move, transfer_of
from hwopt.oracles.zigzag_files import Description
from hwopt.oracles.zigzag_layers import Layer, layer_of
from hwopt.oracles.zigzag_locality import Levels, cut, levels_of
from hwopt.partition import Subgraph, partition
from hwopt.shapes import TensorInfo, infer_shapes
from hwopt.signature import VIEW
from hwopt.target import Target
from hwopt.wording import shorten

Shapes = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class Unit:
    """One group of a job: the value that its anchor computes, and its loop nest or what it moves."""

    output: str
    layer: Layer | None = None
    levels: Levels | None = None
    moved: Moved | None = None

    @property
    def text(self) -> str:
        """What ZigZag is asked: equal texts cost the same; "" where it is not asked."""
        if self.layer is None:
            return ""
        return self.layer.to_json() + ("" if self.levels is None else f"\n{self.levels}")

    def request(self, description: Description) -> bytes:
        """What a worker is sent for the loop nest."""
        reduced = None if self.levels is None else cut(description.accelerator, self.levels)
        return description.request(vars(self.layer), reduced)


@dataclass(frozen=True)
class Plan:
    """A job read: its groups in graph order, and the values that have no figure."""

    units: tuple[Unit, ...] = ()
    unpriced: tuple[str, ...] = ()
    failure: Unmeasured | None = None

    @property
    def asked(self) -> dict[str, Unit]:
        """What ZigZag is asked, by text."""
        return {unit.text: unit for unit in self.units if unit.text}


def plan_of(job: Job, target: Target, description: Description) -> Plan:
    """The job's groups under the target's fusion rules; a failure where it cannot be read."""
    try:
        model = ir.from_proto(onnx.load_model_from_string(job.model))
        return _plan(model, job.in_context, target, description)
    except Exception as error:  # a job that cannot be read must not stop the others
        return Plan(failure=Unmeasured(shorten(reason_of(error), 200)))


def _plan(model: ir.Model, part: bool, target: Target, description: Description) -> Plan:
    shapes = infer_shapes(model, {})
    subgraphs = partition(model, shapes, target).subgraphs
    layers = [_layer(subgraph, shapes, target, description) for subgraph in subgraphs]
    levels = _levels(subgraphs, layers, part, description)
    units: list[Unit] = []
    unpriced: list[str] = []
    for index, (subgraph, layer) in enumerate(zip(subgraphs, layers, strict=True)):
        output = subgraph.nodes[0].outputs[0].name or ""
        moved = None if layer is not None else _moved(subgraph, shapes, target, description)
        if layer is not None or moved is not None:
            units.append(Unit(output, layer, levels.get(index), moved))
        elif subgraph.kind != VIEW:
            unpriced.extend(value.name or "" for value in subgraph.outputs)
    return Plan(tuple(units), tuple(unpriced))


def _runs(subgraph: Subgraph, target: Target) -> bool:
    """Whether the accelerator itself does the group, and not for nothing."""
    hosts = {engine.name for engine in target.engines if engine.host}
    return subgraph.priced and subgraph.kind != VIEW and subgraph.engine not in hosts


def _layer(subgraph: Subgraph, shapes: Shapes, target: Target, description: Description) -> Layer | None:
    """The group's loop nest, where ZigZag has one and the mapping says how it is spread."""
    if not _runs(subgraph, target):
        return None
    layer = layer_of(subgraph.nodes[0], shapes, target.element_bytes)
    return layer if layer is not None and description.has_mapping(layer.operator) else None


def _moved(subgraph: Subgraph, shapes: Shapes, target: Target, description: Description) -> Moved | None:
    """What moving the group's bytes costs, where it does nothing else."""
    if not _runs(subgraph, target):
        return None
    ends = subgraph.inputs, subgraph.outputs
    transfer = transfer_of(subgraph.nodes[0], *ends, shapes, target.element_bytes)
    return None if transfer is None else move(transfer, description.accelerator, description.locality)


def _levels(
    subgraphs: Sequence[Subgraph], layers: Sequence[Layer | None], part: bool, description: Description
) -> dict[int, Levels]:
    """How far out each layer's data travel, by position; empty without data locality."""
    if not description.locality:
        return {}
    positions = [index for index, layer in enumerate(layers) if layer is not None]
    present = [layer for layer in layers if layer is not None]
    found = levels_of(present, _sources(subgraphs, positions), description.accelerator, part)
    return dict(zip(positions, found, strict=True))


def _sources(subgraphs: Sequence[Subgraph], positions: Sequence[int]) -> list[list[int]]:
    """For each layer the numbers of the layers that its inputs come from, other groups looked through."""
    number = {position: index for index, position in enumerate(positions)}
    origins: dict[str, set[int]] = {}
    found = []
    for position, subgraph in enumerate(subgraphs):
        feeding = {origin for value in subgraph.inputs for origin in origins.get(value.name or "", ())}
        own = feeding
        if position in number:
            found.append(sorted(feeding))
            own = {number[position]}
        for value in subgraph.outputs:
            origins[value.name or ""] = own
    return found
