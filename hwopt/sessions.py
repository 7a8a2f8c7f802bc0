"""How every ONNX Runtime session of hwopt runs; light to import, for the guard's worker.

Thread counts are fixed and threads do not spin, so a run gives the same bits on the same
processor however busy it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from hwopt.files.data_file import Identity, unchanged

Array = npt.NDArray[np.generic]  # hwopt.nodes has it too, and takes half a second to import
THREADS = 2


@dataclass(frozen=True)
class Outside:
    """A weight that lies in a file. dtype: numpy's name; path: absolute; identity: of the file as it was
    looked at (`DataFile`).
    """

    name: str
    path: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    identity: Identity = ()

    @property
    def nbytes(self) -> int:
        """Its size."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize


def session_options(threads: int = THREADS, entries: Mapping[str, str] | None = None) -> ort.SessionOptions:
    """Settings of a session on the CPU. entries: ONNX Runtime's own settings."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what goes wrong is raised, and said by whoever catches it
    for name, value in (entries or {}).items():
        options.add_session_config_entry(name, value)
    return options


def unoptimised_options(threads: int = THREADS) -> ort.SessionOptions:
    """Settings of a session that runs each node as it stands."""
    options = session_options(threads)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def open_session(
    model: bytes, outside: Mapping[str, Array], options: ort.SessionOptions
) -> ort.InferenceSession:
    """A session on the CPU.

    outside: weights that the model only names. They must live as long as the session does.
    """
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in outside.values()]
    if values:
        options.add_external_initializers(list(outside), values)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def outside_arrays(places: Iterable[Outside]) -> dict[str, Array]:
    """Weights that lie in files, by name: mapped, and read only where somebody looks.

    Raises BadInput where a file is gone, or is not the one any more that was looked at.
    """
    return {one.name: _mapped(one) for one in places}


def _mapped(place: Outside) -> Array:
    with (
        unchanged(place.path, place.identity) as descriptor,
        open(descriptor, "rb", buffering=0, closefd=False) as file,
    ):
        return np.memmap(file, np.dtype(place.dtype), "r", place.offset, place.shape)
