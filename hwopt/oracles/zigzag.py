"""ZigZag as oracle: accelerators that exist on paper, described by two yaml files or by target.toml.

Without data locality between layers every layer reads its operands from the outermost memory and
writes its result there, so a layer costs the same in any network (a test compares). A job is
therefore split into layers, each distinct layer is costed once, in a worker process, and kept in the
cache; a job's figure is the sum over its layers. With data locality a layer also carries how far
out its data travel (hwopt.oracles.zigzag_locality), which its neighbours decide.

Who prices what: loop nests (convolutions of every kind, matrix products, poolings, elementwise
operators on equal shapes: hwopt.oracles.zigzag_layers) ZigZag itself, where the mapping has an entry;
copies, broadcasts, lone activations, softmax, normalisations and other reductions the bytes that
they move (hwopt.oracles.zigzag_bytes). Followers that the target's file fuses into a group and
views are free. Everything else is named as unpriced.

The figures are a simulator's own analytical model, not silicon: say "ZigZag-estimated".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import onnx
import onnx_ir as ir

from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Answer, Job, Measurement, Progress, Row, Unmeasured
from hwopt.oracles.workers import Crash, Result, Timeout, WorkerPool
from hwopt.oracles.zigzag_bytes import Moved, move, transfer_of
from hwopt.oracles.zigzag_files import read_description
from hwopt.oracles.zigzag_layers import Layer, layer_of
from hwopt.oracles.zigzag_locality import Levels, cut, levels_of
from hwopt.partition import Subgraph, partition
from hwopt.shapes import TensorInfo, infer_shapes
from hwopt.signature import VIEW
from hwopt.target import Target

LOWERING_VERSION = 1  # of loop nests: raising it asks ZigZag for every layer anew
COVERAGE_VERSION = 2  # of what is priced and how it is added up: layers in the cache stay valid
_WORKER = "hwopt.oracles.zigzag_worker:measure_layer"
_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class _Cost:
    """ZigZag's figures for one layer."""

    cycles: float
    compute_cycles: float
    energy_pj: float
    off_chip_bytes: float


@dataclass(frozen=True)
class _Unit:
    """One group of a job: the value it computes, and its loop nest or the bytes that it moves."""

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


@dataclass(frozen=True)
class _Plan:
    """A job read: its groups in graph order, and what has no figure."""

    units: tuple[_Unit, ...] = ()
    unpriced: tuple[str, ...] = ()
    failure: Unmeasured | None = None

    @property
    def layers(self) -> tuple[tuple[str, Layer], ...]:
        """The loop nests, by the value that each computes."""
        return tuple((unit.output, unit.layer) for unit in self.units if unit.layer is not None)

    @property
    def asked(self) -> dict[str, _Unit]:
        """What ZigZag is asked, by text."""
        return {unit.text: unit for unit in self.units if unit.text}


class ZigZagOracle:
    """Measures jobs on the accelerator that the target describes.

    target: `oracle.options` holds `depthwise_mapping` and, where the accelerator is not generated
        from target.toml, `accelerator` and `mapping` (a stock name of the zigzag package, or a
        yaml file in the target's folder); `lpf_limit` (how finely ZigZag splits the temporal
        loops), `data_locality`. See hwopt.oracles.options for all of them.
    cache: where layers are kept; the default folder when None.
    Raises BadInput for files that do not describe an accelerator or a mapping that fits it, and
    ImportError where zigzag is not installed.
    """

    name = "zigzag"
    source = "compiled"

    def __init__(self, target: Target, cache: Cache | None = None, workers: int | None = None) -> None:
        self._target = target
        self._description = read_description(target)
        self._cache = cache
        self._pool = WorkerPool(_WORKER, workers, _TIMEOUT_S)

    @property
    def layer_identity(self) -> str:
        """What decides a layer's cost besides the layer itself."""
        described = self._description
        return f"zigzag {version('zigzag-dse')} lowering {LOWERING_VERSION} {described.fingerprint}"

    @property
    def identity(self) -> str:
        """What decides an answer besides the job: the target's rules, engines, options and clock too."""
        return f"{self.layer_identity} coverage {COVERAGE_VERSION} target {self._target.config_hash}"

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        """One answer per job, in order; progress counts jobs whose layers are all known.

        `in_context` changes nothing without data locality: a layer's cost does not depend on its
        neighbours; with it, weights of a part are never resident. Details: cycles and
        cycles_by_bytes (those that ZigZag had no part in), compute_cycles, energy_pj (of ZigZag's
        layers, where the description knows energies). A row per group, named after the value that
        its anchor computes.
        """
        plans = [self._plan(job) for job in jobs]
        asked = {text: unit for plan in plans for text, unit in plan.asked.items()}
        costs = self._costs(asked, _job_progress(plans, progress))
        return [self._answer(plan, costs) for plan in plans]

    def close(self) -> None:
        """Ends the worker processes; they are started again when needed."""
        self._pool.close()

    def _plan(self, job: Job) -> _Plan:
        try:
            model = ir.from_proto(onnx.load_model_from_string(job.model))
            return self._plan_of(model, job.in_context)
        except Exception as error:  # a job that cannot be read must not stop the others
            return _Plan(failure=Unmeasured(f"{type(error).__name__}: {_first_line(error)}"))

    def _plan_of(self, model: ir.Model, part: bool) -> _Plan:
        shapes = infer_shapes(model, {})
        subgraphs = partition(model, shapes, self._target).subgraphs
        layers = [self._layer(subgraph, shapes) for subgraph in subgraphs]
        levels = self._levels(subgraphs, layers, part)
        units: list[_Unit] = []
        unpriced: list[str] = []
        for index, (subgraph, layer) in enumerate(zip(subgraphs, layers, strict=True)):
            output = subgraph.nodes[0].outputs[0].name or ""
            moved = None if layer is not None else self._moved(subgraph, shapes)
            if layer is not None or moved is not None:
                units.append(_Unit(output, layer, levels.get(index), moved))
            elif subgraph.kind != VIEW:
                unpriced.extend(value.name or "" for value in subgraph.outputs)
        return _Plan(tuple(units), tuple(unpriced))

    def _layer(self, subgraph: Subgraph, shapes: Mapping[str, TensorInfo]) -> Layer | None:
        """The group's loop nest, where ZigZag has one and the mapping says how it is spread."""
        if not subgraph.priced or subgraph.kind == VIEW:
            return None
        layer = layer_of(subgraph.nodes[0], shapes, self._target.element_bytes)
        return layer if layer is not None and self._description.has_mapping(layer.operator) else None

    def _moved(self, subgraph: Subgraph, shapes: Mapping[str, TensorInfo]) -> Moved | None:
        """What moving the group's bytes costs, where it does nothing else."""
        if not subgraph.priced or subgraph.kind == VIEW:
            return None
        anchor, size = subgraph.nodes[0], self._target.element_bytes
        transfer = transfer_of(anchor, subgraph.inputs, subgraph.outputs, shapes, size)
        described = self._description
        return None if transfer is None else move(transfer, described.accelerator, described.locality)

    def _levels(
        self, subgraphs: Sequence[Subgraph], layers: Sequence[Layer | None], part: bool
    ) -> dict[int, Levels]:
        """How far out each layer's data travel, by position; empty without data locality."""
        if not self._description.locality:
            return {}
        positions = [index for index, layer in enumerate(layers) if layer is not None]
        sources = _sources(subgraphs, positions)
        found = levels_of(
            [layer for layer in layers if layer is not None], sources, self._description.accelerator, part
        )
        return dict(zip(positions, found, strict=True))

    def _costs(
        self, asked: Mapping[str, _Unit], on_known: Callable[[str], None]
    ) -> dict[str, _Cost | Unmeasured]:
        """The cost of each layer by its text: from the cache, else from the workers."""
        cache = self._cache = self._cache or Cache()
        keys = {text: self._key(text) for text in asked}
        stored = cache.get_many(keys.values())
        known = {text: _read_stored(stored[key]) for text, key in keys.items() if key in stored}
        costs = {text: cost for text, cost in known.items() if cost is not None}
        for text in costs:
            on_known(text)
        missing = [text for text in asked if text not in costs]

        def keep(index: int, result: Result) -> None:
            text = missing[index]
            if isinstance(result, bytes):
                cache.put_many({keys[text]: result.decode()})
            costs[text] = _read(result)
            on_known(text)

        self._pool.run([self._request(asked[text]) for text in missing], on_result=keep)
        return costs

    def _request(self, unit: _Unit) -> bytes:
        described = self._description
        reduced = None if unit.levels is None else cut(described.accelerator, unit.levels)
        return described.request(vars(unit.layer), reduced)

    def _key(self, text: str) -> str:
        return hashlib.sha256(f"{self.layer_identity}\n{text}".encode()).hexdigest()

    def _answer(self, plan: _Plan, costs: dict[str, _Cost | Unmeasured]) -> Answer:
        if plan.failure is not None:
            return plan.failure
        failed: dict[str, Unmeasured] = {}
        rows: list[Row] = []
        priced: list[_Cost] = []
        for unit in plan.units:
            cost = _moved_cost(unit.moved) if unit.moved is not None else costs[unit.text]
            if isinstance(cost, Unmeasured):
                failed[unit.output] = cost
            else:
                rows.append(self._row(unit, cost))
                priced.append(cost)
        lost = {output: cost for output, cost in failed.items() if cost.transient}
        if lost:
            return Unmeasured(next(iter(lost.values())).reason, tuple(lost), transient=True)
        by_bytes = sum(unit.moved.cycles for unit in plan.units if unit.moved is not None)
        return Measurement(
            latency_us=self._target.cycles_to_us(sum(cost.cycles for cost in priced)),
            rows=tuple(rows),
            weight_bytes=sum(row.weight_bytes for row in rows),
            details=_details(priced, by_bytes, self._description.energy),
            unpriced=(*plan.unpriced, *failed),
        )

    def _row(self, unit: _Unit, cost: _Cost) -> Row:
        transfer_cycles = cost.off_chip_bytes / self._target.memories[-1].bytes_per_cycle
        nest_bound = "compute" if cost.compute_cycles >= transfer_cycles else "off_chip"
        return Row(
            output=unit.output,
            latency_us=self._target.cycles_to_us(cost.cycles),
            macs=0 if unit.layer is None else unit.layer.macs,
            off_chip_bytes=round(cost.off_chip_bytes),
            weight_bytes=0 if unit.layer is None else unit.layer.weight_bytes,
            bound=nest_bound if unit.moved is None else unit.moved.bound,
        )


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


def _moved_cost(moved: Moved) -> _Cost:
    return _Cost(moved.cycles, 0.0, 0.0, float(moved.off_chip_bytes))


def _details(costs: Sequence[_Cost], by_bytes: float, energy: bool) -> dict[str, float]:
    found = {
        "cycles": sum(cost.cycles for cost in costs),
        "cycles_by_bytes": by_bytes,
        "compute_cycles": sum(cost.compute_cycles for cost in costs),
    }
    return {**found, "energy_pj": sum(cost.energy_pj for cost in costs)} if energy else found


def _read(result: Result) -> _Cost | Unmeasured:
    """A worker's or the cache's answer for one layer."""
    if isinstance(result, Timeout):
        return Unmeasured(f"ZigZag took more than {result.seconds:g} s for a layer", transient=True)
    if isinstance(result, Crash):
        return Unmeasured(f"ZigZag stopped: {result.reason}", transient=True)
    table = json.loads(result)
    return Unmeasured(table["error"]) if "error" in table else _Cost(**table)


def _read_stored(text: str) -> _Cost | Unmeasured | None:
    """A cached answer; one that cannot be read counts as missing."""
    try:
        return _read(text.encode())
    except (ValueError, TypeError):
        return None


def _job_progress(plans: Sequence[_Plan], progress: Progress | None) -> Callable[[str], None]:
    """What to call with each layer that becomes known, so that progress is told in jobs."""
    if progress is None:
        return lambda text: None
    waiting = [set(plan.asked) for plan in plans]
    users: dict[str, list[int]] = {}
    for index, texts in enumerate(waiting):
        for text in texts:
            users.setdefault(text, []).append(index)
    done = sum(not texts for texts in waiting)

    def known(text: str) -> None:
        nonlocal done
        for index in users[text]:
            waiting[index].discard(text)
            done += not waiting[index]
        progress(done, len(plans))

    return known


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")
