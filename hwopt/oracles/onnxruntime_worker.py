"""What runs inside a worker process: a chunk of jobs, timed in turns, each with rows per operator."""

from __future__ import annotations

import json
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from hwopt.oracles.cache import answer_from_json, answer_to_json
from hwopt.oracles.onnxruntime_context import add_guards, name_nodes, static_shape
from hwopt.oracles.onnxruntime_options import LAST_CORE, OrtOptions, allowed_cores
from hwopt.oracles.onnxruntime_quant import quantised
from hwopt.oracles.onnxruntime_rows import charged, node_times, owners, producers, settle
from hwopt.oracles.onnxruntime_session import BoundSession
from hwopt.oracles.onnxruntime_timing import Before, Subject, Timing, interleave
from hwopt.oracles.protocol import Answer, Job, Measurement, Row, Unmeasured

_SIZE = struct.Struct("<Q")
_CHAIN = 33  # operators that do nothing, to tell what a call costs from what an operator costs


@dataclass(frozen=True)
class _Prepared:
    """A job with its two sessions: one as anybody would run it, one that is profiled."""

    in_context: bool
    outputs: tuple[str, ...]  # first output of each node of the given model
    owner: Mapping[str, int]
    plain: BoundSession
    profiled: BoundSession


def encode_chunk(options: OrtOptions, jobs: Sequence[Job]) -> bytes:
    """A worker's message: options and flags as a line of JSON, then the models with their lengths."""
    head = json.dumps({"options": options.to_json(), "in_context": [job.in_context for job in jobs]})
    return head.encode() + b"\n" + b"".join(_SIZE.pack(len(job.model)) + job.model for job in jobs)


def decode_chunk(message: bytes) -> tuple[OrtOptions, list[Job]]:
    """The reverse of `encode_chunk`."""
    head, _, body = message.partition(b"\n")
    table = json.loads(head)
    jobs, at = [], 0
    for in_context in table["in_context"]:
        (size,) = _SIZE.unpack_from(body, at)
        at += _SIZE.size
        jobs.append(Job(body[at : at + size], in_context))
        at += size
    return OrtOptions(**json.loads(table["options"])), jobs


def encode_answers(answers: Sequence[Answer]) -> bytes:
    """A worker's reply: one line of JSON per answer."""
    return "\n".join(answer_to_json(answer) for answer in answers).encode()


def decode_answers(reply: bytes) -> list[Answer]:
    """The reverse of `encode_answers`."""
    return [answer_from_json(line) for line in reply.decode().splitlines()]


def measure_chunk(message: bytes) -> bytes:
    """Jobs as `encode_chunk` writes them, measured in turns; the answers as `encode_answers` does."""
    options, jobs = decode_chunk(message)
    with tempfile.TemporaryDirectory(prefix="hwopt-ort-") as folder, _bound(options):
        return encode_answers(_measure(jobs, options, Path(folder)))


def _measure(jobs: Sequence[Job], options: OrtOptions, folder: Path) -> list[Answer]:
    prepared: dict[int, _Prepared] = {}
    answers: dict[int, Answer] = {}
    for i, job in enumerate(jobs):
        try:
            prepared[i] = _prepare(job, options, folder, str(i))
        except Exception as error:  # protobuf, onnx and ONNX Runtime raise many types
            answers[i] = Unmeasured(f"ONNX Runtime: {_first_line(error)}")
    call_us = _call_us(options)
    evict = _evictor(options.cold)
    order = list(prepared)
    plain = _timed([prepared[i] for i in order], options, evict, profiled=False)
    profiled = _timed([prepared[i] for i in order], options, evict, profiled=True)
    for i, timing, profile in zip(order, plain, profiled, strict=True):
        skip = profile.runs and options.warmup + 1
        times = node_times(Path(prepared[i].profiled.end_profiling()), prepared[i].owner.keys(), skip)
        answers[i] = _measurement(prepared[i], timing, times, call_us)
    return [answers[i] for i in range(len(jobs))]


def _timed(
    prepared: Sequence[_Prepared], options: OrtOptions, evict: Before, profiled: bool
) -> list[Timing]:
    subjects = [
        Subject((item.profiled if profiled else item.plain).run, evict if item.in_context else None)
        for item in prepared
    ]
    return interleave(subjects, options.budget_ms, options.rounds, options.warmup)


def _prepare(job: Job, options: OrtOptions, folder: Path, name: str) -> _Prepared:
    model = onnx.load_model_from_string(job.model)
    name_nodes(model)
    outputs = tuple(node.output[0] for node in model.graph.node)
    producer = producers(model)
    if job.in_context:
        add_guards(model, _interface_shapes(model))
    if options.precision == "int8":
        model = quantised(model, folder / f"{name}.int8.onnx")
    data = model.SerializeToString()
    optimised = folder / f"{name}.optimised.onnx"
    plain = BoundSession(data, options, optimised=str(optimised))
    owner = owners(onnx.load_model(optimised, load_external_data=False), producer)
    optimised.unlink()
    profiled = BoundSession(data, options, profile=str(folder / name))
    return _Prepared(job.in_context, outputs, owner, plain, profiled)


def _interface_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of inputs and outputs, inferred where the model does not say."""
    values = [*model.graph.input, *model.graph.output]
    if any(static_shape(value) is None for value in values):
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        values = [*inferred.graph.input, *inferred.graph.output]
    return {value.name: shape for value in values if (shape := static_shape(value)) is not None}


def _measurement(item: _Prepared, timing: Timing, times: Mapping[str, float], call_us: float) -> Answer:
    net_us = max(timing.best_us - call_us, 0.0)
    profiled_us = sum(times.values())
    rows = tuple(
        Row(output=item.outputs[index], latency_us=time)
        for index, time in charged(settle(times, net_us), item.owner).items()
    )
    own_us = sum(row.latency_us for row in rows) if item.in_context else net_us
    details = {
        "noise": timing.noise,
        "runs": float(timing.runs),
        "call_us": call_us,
        "run_us": timing.best_us,
        "profiled_us": profiled_us,
        "operators": float(len(times)),
    }
    return Measurement(own_us, rows, details=details)


def _call_us(options: OrtOptions) -> float:
    """What calling the runtime costs without any operator, in microseconds."""
    subjects = [Subject(BoundSession(_chain(count), options).run) for count in (1, _CHAIN)]
    one, many = (t.best_us for t in interleave(subjects, min(options.budget_ms, 20.0), options.rounds, 3))
    return max(one - (many - one) / (_CHAIN - 1), 0.0)


def _chain(count: int) -> bytes:
    nodes = [helper.make_node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("v0", f"v{count}")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def _evictor(size: int) -> Before:
    """A function that reads this many bytes, so that little else is left in the nearer caches."""
    block = np.ones(max(size // 4, 1), np.float32)

    def evict() -> None:
        block.sum()

    return evict


@contextmanager
def _bound(options: OrtOptions) -> Iterator[None]:
    """This process on its own cores, where the system can do that."""
    before = allowed_cores()
    if not before:
        yield
        return
    os.sched_setaffinity(0, chosen_cores(options, before))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def chosen_cores(options: OrtOptions, allowed: Sequence[int]) -> set[int]:
    """The cores to bind to: `threads` of them, from the option's on, else the last that are allowed."""
    if options.core == LAST_CORE:
        return set(list(allowed)[-options.threads :])
    return set(range(options.core, options.core + options.threads))


def _first_line(error: Exception) -> str:
    text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text.strip()[:200]
