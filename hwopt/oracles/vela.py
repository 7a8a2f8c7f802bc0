"""Arm's Vela compiler as oracle for Ethos-U: compiled cycles, arena and encoded weights.

    target = load_target("ethos-u55-256")
    with VelaOracle(target) as oracle:
        answer, = oracle.measure([Job(model_bytes)])

Vela's figures are a compiler's own deterministic estimate, not silicon: "Vela-estimated".
A job is lowered to int8 TFLite and compiled in a worker process, because a file that Vela
does not expect can end the process that it runs in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import TracebackType

from hwopt.errors import BadInput
from hwopt.oracles import asking
from hwopt.oracles.answers import read_answer
from hwopt.oracles.protocol import Answer, Job, Progress, Unmeasured
from hwopt.oracles.vela_config import LOWERING_VERSION, config_of, encode_job
from hwopt.oracles.workers import FIGURES_BYTES, Crash, Result, Timeout, WorkerPool
from hwopt.target import Target

_WORKER = "hwopt.oracles.vela_worker:measure_job"
_PACKAGE = "ethos-u-vela"
_TIMEOUT_S = 300.0


class VelaOracle:
    """Measures subgraphs and whole models for the Ethos-U of one target.

    A job with `in_context` is compiled between max-pool guards and counts its own operators
    only; it is Unmeasured if any of them has no figure. Any other job counts everything that
    the NPU runs, and names the rest in `Measurement.unpriced`.

    workers: processes; timeout_s: limit of one compilation. Raises BadInput where the `ethos`
    extra is not installed, or an oracle option of the target is not known to Vela.
    """

    name = "vela"
    source = "compiled"

    def __init__(self, target: Target, workers: int | None = None, timeout_s: float | None = None) -> None:
        self._version = _installed_version()
        self._config = config_of(target)
        self._pool = WorkerPool(_WORKER, workers, timeout_s or asking.timeout_s(_TIMEOUT_S), FIGURES_BYTES)

    @property
    def identity(self) -> str:
        """Name, compiler version, lowering version, and a hash over every option."""
        options = hashlib.sha256(self._config.to_json().encode()).hexdigest()[:16]
        return f"{self.name} {_PACKAGE}={self._version} lowering={LOWERING_VERSION} options={options}"

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        """One answer per job, in order; a job that crashes or hangs is Unmeasured and transient."""
        payloads = [encode_job(self._config, job.model, job.in_context) for job in jobs]
        return [_answer(result) for result in self._pool.run(payloads, progress)]

    def close(self) -> None:
        """Ends the worker processes; the oracle can still be used and starts them again."""
        self._pool.close()

    def __enter__(self) -> VelaOracle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _installed_version() -> str:
    try:
        if find_spec("ethosu") is not None:
            return version(_PACKAGE)
    except PackageNotFoundError:
        pass
    raise BadInput("Arm's Vela compiler is not installed: pip install 'hwopt[ethos]'")


def _answer(result: Result) -> Answer:
    if isinstance(result, Timeout):
        return Unmeasured(f"Vela took longer than {result.seconds:g} s", transient=True)
    if isinstance(result, Crash):
        return Unmeasured(f"Vela failed: {result.reason}", transient=True)
    return read_answer(result)
