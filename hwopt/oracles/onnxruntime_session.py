"""One model in ONNX Runtime, bound to fixed inputs and outputs, ready to be run again and again."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from hwopt.oracles.onnxruntime_options import OrtOptions

_SLACK_NS = 6000  # by so much processor time was seen to fall short of a run's true length
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}


class BoundSession:
    """A session whose inputs and outputs stay where they are: a run copies nothing.

    optimised: where the optimised graph is written; profile: prefix of the profiler's file.
    run: runs once and returns nanoseconds.
    Raises ValueError for inputs of open shapes or unknown types, and what ONNX Runtime raises.
    """

    def __init__(self, model: bytes, options: OrtOptions, optimised: str = "", profile: str = "") -> None:
        self._session = ort.InferenceSession(
            model, _session_options(options, optimised, profile), providers=_providers(options)
        )
        self._binding = self._session.io_binding()
        self.run = self._run_on_a_shared_core if options.counts_own_time else self._run
        rng = np.random.default_rng(0)
        for spec in self._session.get_inputs():
            self._binding.bind_cpu_input(spec.name, _values(spec, rng))
        names = [spec.name for spec in self._session.get_outputs()]
        for name in names:
            self._binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(self._binding)
        for name, value in zip(names, self._binding.get_outputs(), strict=True):
            if value.is_tensor():
                self._binding.bind_ortvalue_output(name, value)

    def _run(self) -> int:
        """Runs once; nanoseconds that went by."""
        session, binding = self._session, self._binding
        start = time.perf_counter_ns()
        session.run_with_iobinding(binding)
        return time.perf_counter_ns() - start

    def _run_on_a_shared_core(self) -> int:
        """Runs once; nanoseconds that went by, or that were worked where others had the core in between.

        Processor time may be some microseconds short (interrupts are taken off): those are added,
        so that it never beats a run that nobody disturbed.
        """
        session, binding = self._session, self._binding
        worked = time.thread_time_ns()
        start = time.perf_counter_ns()
        session.run_with_iobinding(binding)
        passed = time.perf_counter_ns() - start
        worked = time.thread_time_ns() - worked
        return passed if passed - worked < _SLACK_NS + passed // 100 else worked + _SLACK_NS

    def end_profiling(self) -> str:
        """The file that the profiler wrote."""
        return str(self._session.end_profiling())


def known_providers() -> list[str]:
    """The execution providers of the installed build."""
    return [str(name) for name in ort.get_available_providers()]


def _providers(options: OrtOptions) -> list[str]:
    return list(dict.fromkeys((options.provider, "CPUExecutionProvider")))


def _session_options(options: OrtOptions, optimised: str, profile: str) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    if optimised:
        settings.optimized_model_filepath = optimised
    if profile:
        settings.enable_profiling = True
        settings.profile_file_prefix = profile
    return settings


def _values(spec: ort.NodeArg, rng: np.random.Generator) -> npt.NDArray[np.generic]:
    """Random numbers for floats, zeros for whatever may be an index."""
    shape = [size if isinstance(size, int) else 0 for size in spec.shape]
    if any(size < 1 for size in shape):
        raise ValueError(f"input '{spec.name}' has no fixed shape: {spec.shape}")
    dtype = _DTYPES.get(spec.type)
    if dtype is None:
        raise ValueError(f"input '{spec.name}' is of type {spec.type}")
    if np.issubdtype(dtype, np.floating):
        return np.ascontiguousarray(rng.random(shape, np.float32).astype(dtype))
    return np.zeros(shape, dtype)
