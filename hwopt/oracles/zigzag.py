"""ZigZag as oracle: accelerators that exist on paper, described by two yaml files.

Without data locality between layers, which is how the tool is run here, every layer reads its
operands from the outermost memory and writes its result there, so a layer costs the same in any
network (a test compares). A job is therefore split into layers, each distinct layer is costed
once, in a worker process, and kept in the cache; a job's figure is the sum over its layers.

What is costed: Conv (1-D and 2-D, grouped and depthwise too), Gemm, MatMul; Add of equal shapes
and Max/Average/Global pooling where the mapping file has an entry of that name (`Add`,
`Pooling`), in the form of ZigZag's own example workloads. Followers that the target's file fuses
into such a layer (activations) and views are free, as ZigZag has no figure for them. Everything
else is named as unpriced.

The figures are a simulator's own analytical model, not silicon: say "ZigZag-estimated".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import onnx
import onnx_ir as ir

from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Answer, Job, Measurement, Progress, Row, Unmeasured
from hwopt.oracles.workers import Crash, Result, Timeout, WorkerPool
from hwopt.oracles.zigzag_files import read_description
from hwopt.oracles.zigzag_layers import Layer, layer_of
from hwopt.partition import partition
from hwopt.shapes import infer_shapes
from hwopt.signature import VIEW
from hwopt.target import Target

LOWERING_VERSION = 1
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
class _Plan:
    """A job read: its layers by the value that each computes, and what has no figure."""

    layers: tuple[tuple[str, Layer], ...] = ()
    unpriced: tuple[str, ...] = ()
    failure: Unmeasured | None = None


class ZigZagOracle:
    """Measures jobs on the accelerator that the target describes.

    target: `oracle.options` holds `accelerator` and `mapping` (a stock name of the zigzag
        package, or a yaml file in the target's folder), `lpf_limit` (how finely ZigZag splits
        the temporal loops; layers with more loops than that are searched loop by loop), and
        `depthwise_mapping`, the entry of the mapping file that depthwise convolutions use.
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
        """What decides an answer besides the job: also the target's fusion rules, engines and clock."""
        return f"{self.layer_identity} target {self._target.config_hash}"

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        """One answer per job, in order; progress counts jobs whose layers are all known.

        `in_context` changes nothing: a layer's cost does not depend on its neighbours. Details:
        cycles, compute_cycles, energy_pj. A row per layer, named after the value it computes.
        """
        plans = [self._plan(job) for job in jobs]
        texts = list(dict.fromkeys(layer.to_json() for plan in plans for _, layer in plan.layers))
        costs = self._costs(texts, _job_progress(plans, progress))
        return [self._answer(plan, costs) for plan in plans]

    def close(self) -> None:
        """Ends the worker processes; they are started again when needed."""
        self._pool.close()

    def _plan(self, job: Job) -> _Plan:
        try:
            model = ir.from_proto(onnx.load_model_from_string(job.model))
            return self._plan_of(model)
        except Exception as error:  # a job that cannot be read must not stop the others
            return _Plan(failure=Unmeasured(f"{type(error).__name__}: {_first_line(error)}"))

    def _plan_of(self, model: ir.Model) -> _Plan:
        shapes = infer_shapes(model, {})
        layers: list[tuple[str, Layer]] = []
        unpriced: list[str] = []
        for subgraph in partition(model, shapes, self._target).subgraphs:
            anchor = subgraph.nodes[0]
            layer = layer_of(anchor, shapes, self._target.element_bytes) if subgraph.priced else None
            if layer is not None and self._description.has_mapping(layer.operator):
                layers.append((anchor.outputs[0].name or "", layer))
            elif subgraph.kind != VIEW:
                unpriced.extend(value.name or "" for value in subgraph.outputs)
        return _Plan(tuple(layers), tuple(unpriced))

    def _costs(self, texts: Sequence[str], on_known: Callable[[str], None]) -> dict[str, _Cost | Unmeasured]:
        """The cost of each layer (as JSON text): from the cache, else from the workers."""
        cache = self._cache = self._cache or Cache()
        keys = {text: self._key(text) for text in texts}
        stored = cache.get_many(keys.values())
        known = {text: _read_stored(stored[key]) for text, key in keys.items() if key in stored}
        costs = {text: cost for text, cost in known.items() if cost is not None}
        for text in costs:
            on_known(text)
        missing = [text for text in texts if text not in costs]

        def keep(index: int, result: Result) -> None:
            text = missing[index]
            if isinstance(result, bytes):
                cache.put_many({keys[text]: result.decode()})
            costs[text] = _read(result)
            on_known(text)

        self._pool.run([self._description.request(text) for text in missing], on_result=keep)
        return costs

    def _key(self, text: str) -> str:
        return hashlib.sha256(f"{self.layer_identity}\n{text}".encode()).hexdigest()

    def _answer(self, plan: _Plan, costs: dict[str, _Cost | Unmeasured]) -> Answer:
        if plan.failure is not None:
            return plan.failure
        found = [(output, layer, costs[layer.to_json()]) for output, layer in plan.layers]
        failed = [(output, cost) for output, _, cost in found if isinstance(cost, Unmeasured)]
        lost = [(output, cost) for output, cost in failed if cost.transient]
        if lost:
            return Unmeasured(lost[0][1].reason, tuple(output for output, _ in lost), transient=True)
        priced = [(output, layer, cost) for output, layer, cost in found if isinstance(cost, _Cost)]
        rows = tuple(self._row(*item) for item in priced)
        return Measurement(
            latency_us=self._target.cycles_to_us(sum(cost.cycles for _, _, cost in priced)),
            rows=rows,
            weight_bytes=sum(row.weight_bytes for row in rows),
            details=_details(cost for _, _, cost in priced),
            unpriced=(*plan.unpriced, *(output for output, _ in failed)),
        )

    def _row(self, output: str, layer: Layer, cost: _Cost) -> Row:
        outermost = self._target.memories[-1].bytes_per_cycle
        transfer_cycles = cost.off_chip_bytes / outermost
        return Row(
            output=output,
            latency_us=self._target.cycles_to_us(cost.cycles),
            macs=layer.macs,
            off_chip_bytes=round(cost.off_chip_bytes),
            weight_bytes=layer.weight_bytes,
            bound="compute" if cost.compute_cycles >= transfer_cycles else "off_chip",
        )


def _details(costs: Iterable[_Cost]) -> dict[str, float]:
    items = list(costs)
    return {
        "cycles": sum(cost.cycles for cost in items),
        "compute_cycles": sum(cost.compute_cycles for cost in items),
        "energy_pj": sum(cost.energy_pj for cost in items),
    }


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
    waiting = [{layer.to_json() for _, layer in plan.layers} for plan in plans]
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
