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
from statistics import pstdev

import numpy as np
import onnx
from onnx import TensorProto, helper

from hwopt.oracles.answers import answer_to_json, read_answer
from hwopt.oracles.onnxruntime_join import Joined, join, joinable
from hwopt.oracles.onnxruntime_options import LAST_CORE, OrtOptions, allowed_cores
from hwopt.oracles.onnxruntime_rows import charged, node_times, owners, settle
from hwopt.oracles.onnxruntime_session import BoundSession
from hwopt.oracles.onnxruntime_timing import Before, Subject, Timing, interleave
from hwopt.oracles.protocol import Answer, Job, Measurement, Row, Unmeasured
from hwopt.wording import said

_SIZE = struct.Struct("<Q")
_CALL_ROUNDS = 4
_CHAIN = 33  # operators that do nothing, to tell what a call costs from what an operator costs


@dataclass(frozen=True)
class _Bundle:
    """Jobs that run as one model, in two sessions: one as anybody would run it, one that is profiled."""

    jobs: tuple[int, ...]
    in_context: bool
    joined: Joined
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
    """The reverse of `encode_answers`; a line that is no answer is an Unmeasured that may pass."""
    return [read_answer(line) for line in reply.splitlines()]


def measure_chunk(message: bytes) -> bytes:
    """Jobs as `encode_chunk` writes them, measured in turns; the answers as `encode_answers` does."""
    options, jobs = decode_chunk(message)
    with tempfile.TemporaryDirectory(prefix="hwopt-ort-") as folder, _bound(options):
        return encode_answers(_measure(jobs, options, Path(folder)))


def _measure(jobs: Sequence[Job], options: OrtOptions, folder: Path) -> list[Answer]:
    answers: dict[int, Answer] = {}
    bundles: list[_Bundle] = []
    for group in _groups(jobs, answers):
        bundles += _prepare_all(group, jobs, options, folder, answers)
    call_us = _call_us(options)
    evict = _evictor(options) if options.cold else None
    plain = _timed(bundles, options, evict, profiled=False)
    _timed(bundles, options, evict, profiled=True)
    for bundle, timing in zip(bundles, plain, strict=True):
        path = Path(bundle.profiled.end_profiling())
        times = node_times(path, bundle.owner.keys(), options.warmup + 1)
        answers.update(_answers(bundle, timing, times, call_us))
        path.unlink()
    return [answers[i] for i in range(len(jobs))]


def _groups(jobs: Sequence[Job], answers: dict[int, Answer]) -> list[list[int]]:
    """Which jobs run as one model: parts of networks together, everything else alone."""
    together: dict[str, list[int]] = {}
    for i, job in enumerate(jobs):
        try:
            word = joinable(onnx.load_model_from_string(job.model)) if job.in_context else None
        except Exception as error:  # protobuf raises many types
            answers[i] = Unmeasured(f"not a model: {said(error)}")
            continue
        together.setdefault(word or f"alone {i}", []).append(i)
    return list(together.values())


def _prepare_all(
    group: Sequence[int], jobs: Sequence[Job], options: OrtOptions, folder: Path, answers: dict[int, Answer]
) -> list[_Bundle]:
    """The group as one bundle; where that does not run, what runs alone, each with its reason."""
    try:
        return [_prepare(group, jobs, options, folder)]
    except Exception as error:  # onnx and ONNX Runtime raise many types
        if len(group) == 1:
            answers[group[0]] = Unmeasured(f"ONNX Runtime: {said(error)}")
            return []
    half = len(group) // 2
    parts = (group[:half], group[half:])
    return [bundle for part in parts for bundle in _prepare_all(part, jobs, options, folder, answers)]


def _timed(
    bundles: Sequence[_Bundle], options: OrtOptions, evict: Before | None, profiled: bool
) -> list[Timing]:
    subjects = [Subject((item.profiled if profiled else item.plain).run, evict) for item in bundles]
    budget_ms = options.budget_ms / 2 if profiled else options.budget_ms  # shares, not a total, are asked
    return interleave(subjects, budget_ms, options.rounds, options.warmup)


def _prepare(group: Sequence[int], jobs: Sequence[Job], options: OrtOptions, folder: Path) -> _Bundle:
    models = [onnx.load_model_from_string(jobs[i].model) for i in group]
    in_context = jobs[group[0]].in_context
    joined = join(models, guards=in_context)
    model = joined.model
    if options.precision == "int8":
        from hwopt.oracles.onnxruntime_quant import quantised  # takes seconds to import

        model = quantised(model, folder / "int8.onnx")
    data = model.SerializeToString()
    optimised = folder / "optimised.onnx"
    plain = BoundSession(data, options, optimised=str(optimised))
    owner = owners(onnx.load_model(optimised, load_external_data=False), joined.producer)
    optimised.unlink()
    profiled = BoundSession(data, options, profile=str(folder / str(group[0])))
    return _Bundle(tuple(group), in_context, joined, owner, plain, profiled)


def _answers(
    bundle: _Bundle, timing: Timing, times: Sequence[Mapping[str, float]], call_us: float
) -> dict[int, Answer]:
    net_us = max(timing.best_us - call_us, 0.0)
    tables = [_rows_by_job(bundle, settle(table, net_us)) for table in times]
    return {
        job: _measurement(bundle, [table[i] for table in tables], timing, net_us, call_us)
        for i, job in enumerate(bundle.jobs)
    }


def _rows_by_job(bundle: _Bundle, times: Mapping[str, float]) -> list[tuple[Row, ...]]:
    rows: list[list[Row]] = [[] for _ in bundle.jobs]
    for number, time in charged(times, bundle.owner).items():
        rows[bundle.joined.model_of(number)].append(Row(bundle.joined.outputs[number], time))
    return [tuple(found) for found in rows]


def _measurement(
    bundle: _Bundle, tables: Sequence[tuple[Row, ...]], timing: Timing, net_us: float, call_us: float
) -> Measurement:
    """The answer for one job: a whole network's own time, or the sum of a part's rows."""
    sums = [sum(row.latency_us for row in rows) for rows in tables]
    details = {"noise": timing.noise, "runs": float(timing.runs), "call_us": call_us}
    if not bundle.in_context:
        return Measurement(net_us, tables[0] if tables else (), details=details)
    if sums and sums[0] > 0:
        details["noise"] = max(pstdev(sums[1:]) / sums[0], timing.noise)
    return Measurement(sums[0] if sums else net_us, tables[0] if tables else (), details=details)


def _call_us(options: OrtOptions) -> float:
    """What calling the runtime costs without any operator, in microseconds."""
    subjects = [Subject(BoundSession(_chain(count), options).run) for count in (1, _CHAIN)]
    one, many = (t.best_us for t in interleave(subjects, 0, _CALL_ROUNDS, options.warmup))
    return max(one - (many - one) / (_CHAIN - 1), 0.0)


def _chain(count: int) -> bytes:
    nodes = [helper.make_node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("v0", f"v{count}")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def _evictor(options: OrtOptions) -> Before:
    """Takes the caches away from data, not from code: reads other memory, then runs a small network."""
    block = np.ones(max(options.cold // 4, 1), np.float32)
    other = BoundSession(_small_network(), options)

    def evict() -> None:
        block.max()
        other.run()

    return evict


def _small_network() -> bytes:
    """A few operators of the kinds that most networks are made of."""
    text = """<ir_version: 8, opset_import: ["" : 13]>
    small (float[1,3,16,16] x) => (float[1,16] y) {
      a = Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(x, wa)
      b = Relu(a)
      c = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=16>(b, wc)
      d = Relu(c)
      e = Conv<kernel_shape=[1,1]>(d, we)
      f = Add(e, b)
      g = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(f, wg)
      h = Relu(g)
      i = GlobalAveragePool(h)
      j = Flatten<axis=1>(i)
      y = Gemm(j, wy)
    }"""
    model = onnx.parser.parse_model(text)
    shapes = {
        "wa": (16, 3, 3, 3),
        "wc": (16, 1, 3, 3),
        "we": (16, 16, 1, 1),
        "wg": (16, 16, 3, 3),
        "wy": (16, 16),
    }
    for name, shape in {**shapes, "wy": (16, 16)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    return bytes(model.SerializeToString())


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
