"""From ONNX Runtime's profile to a cost for each node of the model as it was given.

The profiler tells how long each node of the *optimised* graph took. Fused operators carry the
name of the node they grew from; changes of layout are found by what they read or write and
charged to the operator that has them done.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from hwopt.describe import VIEWS
from hwopt.oracles.onnxruntime_context import given_name, is_guard

GUARDED = -1  # owner of what belongs to no node of the model
_QUIET = 0.25  # quantile of a node's times; what lies more than a tick above it was disturbed
_TICK_US = 1.0
_SETS = 4  # of runs, whose times are compared
_LEAST_SHARE = 0.02
_MOST_PAUSE_US = 7.0  # of the profiler, at one node: 3 us in chains of equal nodes, 5 us in networks
_SUFFIX = "_kernel_time"
_BLOCKED = "_nchwc"  # an operator on blocked channels is named after the value it computes

Times = npt.NDArray[np.float64]
Owners = Mapping[str, int]  # optimised node's name -> index of the node it is charged to


def owners(optimised: onnx.ModelProto, producer: Mapping[str, int]) -> dict[str, int]:
    """Which node of the given model (by index) each node of the optimised graph is charged to.

    producer: the node that each value and node of the given model is charged to (see `producers`).
    A node that carries a given node's name, or computes its value, is charged to that one; else to
    the first reader of what it computes; else to what computes its input. GUARDED: to none.
    """
    nodes = optimised.graph.node
    found = {node.name: own for node in nodes if (own := _own(node, producer)) is not None}
    readers = {name: node.name for node in reversed(nodes) for name in node.input}
    for node in reversed(nodes):
        if node.name not in found:
            known = [found[r] for name in node.output if (r := readers.get(name)) in found]
            found.update(zip([node.name], known, strict=False))
    makers = {name: node.name for node in nodes for name in node.output}
    for node in nodes:
        if node.name not in found:
            known = [found[m] for name in node.input if (m := makers.get(name)) in found]
            found[node.name] = known[0] if known else GUARDED
    return found


def producers(given: onnx.ModelProto) -> dict[str, int]:
    """Index of the node that each value and each node's name is charged to; GUARDED for the inputs.

    Views cost next to nothing and have no price: they belong to what computes their input.
    """
    found = {value.name: GUARDED for value in given.graph.input}
    for index, node in enumerate(given.graph.node):
        source = found.get(node.input[0], GUARDED) if node.input else GUARDED
        owner = source if node.op_type in VIEWS and source != GUARDED else index
        found.update(dict.fromkeys((node.name, *node.output), owner))
    return found


def _own(node: onnx.NodeProto, producer: Mapping[str, int]) -> int | None:
    if is_guard((node.name, *node.output)):
        return GUARDED
    names = (given_name(node.name), node.name.removesuffix(_BLOCKED), *node.output)
    return next((producer[name] for name in names if name in producer), None)


def node_times(profile: Path, names: Collection[str], skip: int) -> list[dict[str, float]]:
    """Microseconds between the start of each node and that of the next, over the quieter runs.

    The profiler cuts times down to whole microseconds; of starts that fall anywhere between two
    ticks the mean difference is right to a fraction. names: nodes of the optimised graph; skip:
    runs at the beginning that do not count. Returns the times over all runs, then those over each
    of some sets of runs apart; nothing where there are too few runs.
    """
    order, starts, ends = _runs(profile, names)
    starts, ends = starts[skip:], ends[skip:]
    sets = [slice(None), *(slice(i, None, _SETS) for i in range(_SETS))]
    if len(starts) < _SETS or not order:
        return []
    return [_mean_times(order, starts[chosen], ends[chosen]) for chosen in sets]


def _mean_times(order: Sequence[str], starts: Times, ends: Times) -> dict[str, float]:
    means, lengths = quiet_mean(np.diff(starts, axis=1)), quiet_mean(ends - starts)
    pause = float(np.median(means - lengths[:-1])) if len(means) else 0.0
    return dict(zip(order, [*means.tolist(), float(lengths[-1]) + pause], strict=True))


def quiet_mean(table: Times) -> Times:
    """Mean of each column over its quieter values: up to a tick above the lower quartile."""
    limit = np.quantile(table, _QUIET, axis=0) + _TICK_US if table.size else np.zeros(table.shape[1])
    kept = table <= limit
    return np.asarray((table * kept).sum(axis=0) / np.maximum(kept.sum(axis=0), 1))


def _runs(profile: Path, names: Collection[str]) -> tuple[list[str], Times, Times]:
    """Names in order of execution, and start and end of each node in each complete run."""
    events = [event for event in _events(profile) if event[0] in names]
    order = list(dict.fromkeys(name for name, _, _ in events))
    whole = len(events) // max(len(order), 1)
    numbers = [event[1:] for event in events[: whole * len(order)]]
    table = np.array(numbers, np.float64).reshape(whole, len(order), 2)
    return order, table[:, :, 0], table[:, :, 0] + table[:, :, 1]


def _events(profile: Path) -> Iterator[tuple[str, float, float]]:
    for event in json.loads(profile.read_text("utf-8")):
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith(_SUFFIX):
            yield str(event["name"])[: -len(_SUFFIX)], float(event["ts"]), float(event["dur"])


def settle(times: Mapping[str, float], total_us: float) -> dict[str, float]:
    """The times of the nodes without the profiler's share, brought to the sum of a run without it.

    The profiler takes about the same time at each node, whatever the node does; no node ends up
    below a small share of its time. A difference that this cannot explain is the machine's doing
    and grows with the nodes.
    """
    values = np.array(list(times.values()))
    if not values.size or values.sum() <= 0 or total_us <= 0:
        return {}
    pause = (values.sum() - total_us) / len(values)
    settled = np.maximum(values - min(max(pause, 0.0), _MOST_PAUSE_US), _LEAST_SHARE * values)
    return dict(zip(times, (settled * (total_us / settled.sum())).tolist(), strict=True))


def charged(times: Mapping[str, float], owner: Owners) -> dict[int, float]:
    """Microseconds per node of the given model, in its order; what guards cost is left out."""
    sums: dict[int, float] = defaultdict(float)
    for name, time in times.items():
        index = owner.get(name, GUARDED)
        if index != GUARDED:
            sums[index] += time
    return dict(sorted(sums.items()))
