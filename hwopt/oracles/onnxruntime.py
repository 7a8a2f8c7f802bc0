"""ONNX Runtime as oracle: the CPU of this machine, measured.

    target = load_target("cpu")
    with OnnxRuntimeOracle(target) as oracle:
        answer, = oracle.measure([Job(model_bytes)])

The models of a chunk are run in turns in one worker process that is bound to its own core, and
the fastest run of each counts. `Measurement.details` says how far that can be trusted: `noise`
is the spread of the minima of independent sets of runs, relative to the latency. The latency
is that of the operators; what a call of the runtime costs stands beside it as `call_us`. Rows
come from the runtime's profiler and add up to the latency of the runs without it.

Measured on whatever machine this runs on: figures of two machines must not be mixed, so the
processor's name is part of the identity.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import TracebackType

from hwopt.errors import BadInput
from hwopt.oracles import asking
from hwopt.oracles.onnxruntime_options import LAST_CORE, OrtOptions, options_of
from hwopt.oracles.onnxruntime_session import known_providers
from hwopt.oracles.onnxruntime_worker import decode_answers, encode_chunk
from hwopt.oracles.protocol import Answer, Job, Progress, Unmeasured
from hwopt.oracles.workers import FIGURES_BYTES, Crash, Timeout, WorkerPool
from hwopt.target import Target

METHOD_VERSION = 1  # raise it with every change to what a figure means
_WORKER = "hwopt.oracles.onnxruntime_worker:measure_chunk"
_CHUNK_JOBS = 16
_TIMEOUT_S = 300.0
_CHUNK_BYTES = 200_000_000  # of models whose sessions are open together


class OnnxRuntimeOracle:
    """Measures jobs on this machine with the provider, precision and threads of one target.

    A job with `in_context` is a part of a network: it runs among other parts, between small
    convolutions, and only its own operators count (see `onnxruntime_join`, `onnxruntime_context`).
    Any other job is a whole network, timed as it is, run after run.

    timeout_s: limit for a chunk of up to 16 jobs, and then for each alone. Raises BadInput for an
    unknown option or provider.
    """

    name = "onnxruntime"
    source = "measured"

    def __init__(self, target: Target, timeout_s: float | None = None) -> None:
        self._options = options_of(target)
        known = known_providers()
        if self._options.provider not in known:
            raise BadInput(
                f"{target.folder / 'target.toml'}: this ONNX Runtime has no provider "
                f"'{self._options.provider}'; there is {', '.join(known)}"
            )
        self._pool = WorkerPool(
            _WORKER, 1, timeout_s or asking.timeout_s(_TIMEOUT_S), FIGURES_BYTES
        )  # one: two timings disturb each other

    @property
    def options(self) -> OrtOptions:
        """What the models are run with."""
        return self._options

    @property
    def identity(self) -> str:
        """Name, version, processor and all options but the core: figures of other machines are not reused."""
        runtime = f"onnxruntime={version('onnxruntime')} method={METHOD_VERSION}"
        options = replace(self._options, core=LAST_CORE).to_json()
        return f"{self.name} {runtime} processor={processor_name()} options={options}"

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        """One answer per job, in order; jobs are compared fairly where they are given together."""
        answers: list[Answer] = []
        for chunk in _chunks(jobs):
            answers += self._measure_chunk(chunk)
            if progress is not None:
                progress(len(answers), len(jobs))
        return answers

    def _measure_chunk(self, jobs: Sequence[Job]) -> list[Answer]:
        """A chunk together; where that takes its process down, each job alone."""
        (result,) = self._pool.run([encode_chunk(self._options, jobs)])
        if isinstance(result, bytes):
            answers = decode_answers(result)
            if len(answers) == len(jobs):
                return answers
            result = Crash(f"its worker gave {len(answers)} answers to {len(jobs)} jobs")
        if len(jobs) > 1:
            return [answer for job in jobs for answer in self._measure_chunk([job])]
        if isinstance(result, Timeout):
            return [Unmeasured(f"ONNX Runtime took longer than {result.seconds:g} s", transient=True)]
        return [Unmeasured(f"ONNX Runtime failed: {result.reason}", transient=True)]

    def close(self) -> None:
        """Ends the worker process; the oracle can still be used and starts it again."""
        self._pool.close()

    def __enter__(self) -> OnnxRuntimeOracle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _chunks(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Consecutive jobs, as many as may be open together."""
    chunk: list[Job] = []
    for job in jobs:
        size = sum(len(item.model) for item in chunk) + len(job.model)
        if chunk and (len(chunk) == _CHUNK_JOBS or size > _CHUNK_BYTES):
            yield chunk
            chunk = []
        chunk.append(job)
    if chunk:
        yield chunk


def processor_name() -> str:
    """What the processor calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
