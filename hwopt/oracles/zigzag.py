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
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import isfinite

from hwopt.oracles.asking import Failures, timeout_s
from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Answer, Job, Measurement, Progress, Row, Unmeasured
from hwopt.oracles.workers import FIGURES_BYTES, Crash, Result, Timeout, WorkerPool
from hwopt.oracles.zigzag_bytes import Moved
from hwopt.oracles.zigzag_files import read_description
from hwopt.oracles.zigzag_plan import Plan, Unit, plan_of
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
        self._failures = Failures()  # layers, that the same one in another network is not waited for again
        self._pool = WorkerPool(_WORKER, workers, timeout_s(_TIMEOUT_S), FIGURES_BYTES)

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
        plans = [plan_of(job, self._target, self._description) for job in jobs]
        asked = {text: unit for plan in plans for text, unit in plan.asked.items()}
        costs = self._costs(asked, _job_progress(plans, progress))
        return [self._answer(plan, costs) for plan in plans]

    def close(self) -> None:
        """Ends the worker processes; they are started again when needed."""
        self._pool.close()

    def _costs(
        self, asked: Mapping[str, Unit], on_known: Callable[[str], None]
    ) -> dict[str, _Cost | Unmeasured]:
        """The cost of each layer by its text: from the cache, else from the workers."""
        cache = self._cache = self._cache or Cache()
        keys = {text: self._key(text) for text in asked}
        stored = cache.get_many(keys.values())
        known = {text: _read_stored(stored[key]) for text, key in keys.items() if key in stored}
        costs = {text: cost for text, cost in known.items() if cost is not None}
        for text in costs:
            on_known(text)
        for text in asked:
            if text not in costs and (lost := self._failures.given_up(text)) is not None:
                costs[text] = lost
                on_known(text)
        missing = [text for text in asked if text not in costs]

        def keep(index: int, result: Result) -> None:
            text = missing[index]
            cost = costs[text] = _read(result)
            if isinstance(cost, Unmeasured):
                self._failures.note(text, cost)
            if isinstance(result, bytes) and not (isinstance(cost, Unmeasured) and cost.transient):
                cache.put_many({keys[text]: result.decode()})
            on_known(text)

        self._pool.run([asked[text].request(self._description) for text in missing], on_result=keep)
        return costs

    def _key(self, text: str) -> str:
        return hashlib.sha256(f"{self.layer_identity}\n{text}".encode()).hexdigest()

    def _answer(self, plan: Plan, costs: dict[str, _Cost | Unmeasured]) -> Answer:
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

    def _row(self, unit: Unit, cost: _Cost) -> Row:
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
    try:
        table = json.loads(result)
        if "error" in table:
            return Unmeasured(str(table["error"]))
        cost = _Cost(**table)
        if all(isfinite(figure) and figure >= 0 for figure in asdict(cost).values()):
            return cost
    except (ValueError, TypeError, RecursionError):
        pass
    shown = result[:60].decode("utf-8", "replace")
    return Unmeasured(f"ZigZag's answer for a layer cannot be used: {shown}", transient=True)


def _read_stored(text: str) -> _Cost | Unmeasured | None:
    """A cached answer; one that cannot be read counts as missing."""
    cost = _read(text.encode())
    return None if isinstance(cost, Unmeasured) and cost.transient else cost


def _job_progress(plans: Sequence[Plan], progress: Progress | None) -> Callable[[str], None]:
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
