"""The landscape of a target: what an operator costs as its channels grow.

Predicted, and as the oracle sees it. Steps in it are why some numbers of channels are worth
choosing: the multiples that target.toml lists are the curated ones. Inputs and outputs have
equally many channels; weights are drawn from one normal distribution.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from hwopt.cost.protocol import Pricer
from hwopt.errors import BadInput
from hwopt.ir import model_bytes
from hwopt.oracles.asking import measure_cached
from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Job, Measurement, Oracle, Progress
from hwopt.partition import partition
from hwopt.shapes import infer_shapes
from hwopt.signature import VIEW
from hwopt.target import Target

FILE_NAME = "landscape.csv"
OPERATORS = ("conv 3x3", "pointwise", "depthwise 3x3")
SIZES = (56, 28, 14)  # height and width
PREDICTED = tuple(range(8, 161, 2))
MEASURED = (*range(8, 48, 4), 48, 56, 60, 64, 72, 80, 88, 96, 104, 112, 120, 128, 136, 144, 160)
_COLUMNS = ("operator", "size", "channels", "latency_us")


@dataclass(frozen=True)
class Point:
    """One operator on one size of image, with its latency."""

    operator: str
    size: int
    channels: int
    latency_us: float


def point_model(operator: str, size: int, channels: int) -> ir.Model:
    """The operator with a ReLU behind it, as a model of its own."""
    kernel, group = (1 if operator == "pointwise" else 3), (channels if "depthwise" in operator else 1)
    rng = np.random.default_rng(channels)
    weight = rng.normal(0.0, 0.05, (channels, channels // group, kernel, kernel)).astype(np.float32)
    bias = rng.normal(0.0, 0.05, channels).astype(np.float32)
    shape = [1, channels, size, size]
    pads = [kernel // 2] * 4
    nodes = [
        helper.make_node(
            "Conv", ["x", "w", "b"], ["c"], kernel_shape=[kernel, kernel], pads=pads, group=group
        ),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "landscape",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ir.from_proto(proto)


def predict(target: Target, pricer: Pricer, channels: Sequence[int] = PREDICTED) -> list[Point]:
    """The predicted landscape."""
    places = list(_places(channels))
    groups = []
    for place in places:
        model = point_model(*place)
        parts = partition(model, infer_shapes(model, {}), target)
        groups.append([g.signature for g in parts.subgraphs if g.priced and g.kind != VIEW])
    prices = pricer.predict([signature for group in groups for signature in group])
    found, start = [], 0
    for place, group in zip(places, groups, strict=True):
        latency = sum(estimate.value for estimate in prices[start : start + len(group)])
        start += len(group)
        found.append(Point(*place, latency))
    return found


def measure(
    oracle: Oracle,
    cache: Cache,
    channels: Sequence[int] = MEASURED,
    progress: Progress | None = None,
) -> list[Point]:
    """The oracle's landscape on a coarser grid; what it has no figure for is left out."""
    places = list(_places(channels))
    jobs = [Job(model_bytes(point_model(*place)), in_context=True) for place in places]
    answers = measure_cached(oracle, jobs, cache, progress)
    return [
        Point(*place, answer.latency_us)
        for place, answer in zip(places, answers, strict=True)
        if isinstance(answer, Measurement) and answer.latency_us > 0
    ]


def _places(channels: Sequence[int]) -> Iterable[tuple[str, int, int]]:
    return ((operator, size, c) for operator in OPERATORS for size in SIZES for c in channels)


def write_points(path: Path, points: Iterable[Point]) -> None:
    """Writes points as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows((p.operator, p.size, p.channels, f"{p.latency_us:.7g}") for p in points)
    path.write_text(text.getvalue(), "utf-8")


def read_points(path: Path) -> list[Point]:
    """Reads points. Raises BadInput where the file is missing, or naming the line at fault."""
    try:
        reader = csv.reader(io.StringIO(path.read_text("utf-8")))
    except FileNotFoundError:
        raise BadInput(f"no landscape at {path}: run `python -m bench.cost_landscape` first") from None
    if tuple(next(reader, ())) != _COLUMNS:
        raise BadInput(f"{path}: the first line must be {','.join(_COLUMNS)}")
    points = []
    for row in reader:
        try:
            operator, size, channels, latency = row
            points.append(Point(operator, int(size), int(channels), float(latency)))
        except ValueError as error:
            raise BadInput(f"{path}, line {reader.line_num}: not a point: {error}") from None
    return points


def marked(channels: int, multiples: Sequence[int]) -> int:
    """The largest of the target's multiples that divides the channels; 0 where none does."""
    return max((m for m in multiples if channels % m == 0), default=0)
