"""From ONNX Runtime's profile to a cost for each node of the model as it was given.

The profiler tells how long each node of the *optimised* graph took. Fused operators carry the
name of the node they grew from; changes of layout are found by what they read or write and
charged to the operator that has them done.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from hwopt.describe import VIEWS
from hwopt.oracles.onnxruntime_context import is_guard, node_index

GUARDED = -1  # owner of what belongs to no node of the model
_QUIET = 0.5  # share of the runs that count: the fastest
_HALF_TICK_US = 0.5  # the profiler cuts durations down to whole microseconds
_SUFFIX = "_kernel_time"

Owners = Mapping[str, int]  # optimised node's name -> index of the node it is charged to


def owners(optimised: onnx.ModelProto, producer: Mapping[str, int]) -> dict[str, int]:
    """Which node of the given model (by index) each node of the optimised graph is charged to.

    producer: the node that each value of the given model is charged to (see `producers`).
    A node that carries a given node's name, or computes its value, is charged to that one; else to
    the first reader of what it computes; else to what computes its input. GUARDED: to none.
    """
    nodes = optimised.graph.node
    found = {node.name: own for node in nodes if (own := _own(node, producer)) is not None}
    readers = {name: node.name for node in reversed(nodes) for name in node.input}
    for node in reversed(nodes):
        if node.name not in found:
            known = [found[r] for name in node.output if (r := readers.get(name)) in found]
            found.update({node.name: index for index in known[:1]})
    makers = {name: node.name for node in nodes for name in node.output}
    for node in nodes:
        if node.name not in found:
            known = [found[m] for name in node.input if (m := makers.get(name)) in found]
            found[node.name] = known[0] if known else GUARDED
    return found


def producers(given: onnx.ModelProto) -> dict[str, int]:
    """Index of the node that each value is charged to; GUARDED for the inputs.

    Views cost next to nothing and have no price: they belong to what computes their input.
    """
    found = {value.name: GUARDED for value in given.graph.input}
    for index, node in enumerate(given.graph.node):
        source = found.get(node.input[0], GUARDED) if node.input else GUARDED
        owner = source if node.op_type in VIEWS and source != GUARDED else index
        found.update({name: owner for name in node.output})
    return found


def _own(node: onnx.NodeProto, producer: Mapping[str, int]) -> int | None:
    if is_guard((node.name, *node.output)):
        return GUARDED
    index = node_index(node.name)
    if index is not None:
        return index
    return next((producer[name] for name in node.output if name in producer), None)


def node_times(profile: Path, names: Sequence[str], skip: int) -> dict[str, float]:
    """Microseconds per run of each node of these names, over the quieter half of the runs.

    skip: runs at the beginning that do not count.
    """
    wanted = set(names)
    times: dict[str, list[float]] = defaultdict(list)
    for name, duration in _events(profile):
        if name in wanted:
            times[name].append(duration)
    runs = min((len(found) for found in times.values()), default=0)
    if runs <= skip:
        return {}
    kept = list(times)
    table = np.array([times[name][skip:runs] for name in kept], np.float64)  # [nodes, runs]
    return dict(zip(kept, quiet_mean(table).tolist(), strict=True))


def quiet_mean(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean of each row over its smaller half: minima alone would lose the microsecond's fractions."""
    count = max(1, int(table.shape[1] * _QUIET))
    return np.asarray(np.sort(table, axis=1)[:, :count].mean(axis=1) + _HALF_TICK_US)


def _events(profile: Path) -> Iterator[tuple[str, float]]:
    for event in json.loads(profile.read_text("utf-8")):
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith(_SUFFIX):
            yield str(event["name"])[: -len(_SUFFIX)], float(event["dur"])


def spread(times: Mapping[str, float], total_us: float) -> dict[str, float]:
    """The times of the nodes, brought to this sum.

    What is missing is the time between nodes, the same for each; what is too much is the
    profiler's own doing, and grows with the nodes.
    """
    missing = total_us - sum(times.values())
    if missing >= 0:
        return {name: time + missing / len(times) for name, time in times.items()}
    factor = total_us / sum(times.values())
    return {name: time * factor for name, time in times.items()}


def charged(times: Mapping[str, float], owner: Owners) -> dict[int, float]:
    """Microseconds per node of the given model, in its order; what guards cost is left out."""
    sums: dict[int, float] = defaultdict(float)
    for name, time in times.items():
        index = owner.get(name, GUARDED)
        if index != GUARDED:
            sums[index] += time
    return dict(sorted(sums.items()))
