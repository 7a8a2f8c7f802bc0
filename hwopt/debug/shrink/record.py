"""What flows through a model on some inputs, kept in files, a few tensors of it in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx_ir as ir

from hwopt.debug.shrink.cut import input_arrays
from hwopt.files.scratch import temporary_folder
from hwopt.nodes import Array
from hwopt.runtime import Feeds, Session, with_outputs

FIRST_RUN, LARGEST_RUN = 4, 32  # tensors; later runs take as many as fit, by the largest that was met
RUN_BYTES = 128 << 20
_PLAIN = "fiub"  # kinds of numpy types that a file holds as they are


class Tensors:
    """The values of a model's main graph, recorded when they are asked for."""

    def __init__(self, model: ir.Model, feeds: Feeds, folder: Path) -> None:
        self._model = model
        self._feeds = input_arrays(model, feeds)
        self._folder = folder
        self._known: dict[str, Array | Path | None] = dict(self._feeds)
        self._largest = 0  # bytes

    def __call__(self, value: ir.Value) -> Array | None:
        """What the value holds; None where it cannot be told. Read-only: it may be a mapped file."""
        self.record([value])
        found = self._known[str(value.name)]
        return np.load(found, mmap_mode="r") if isinstance(found, Path) else found

    def record(self, values: Iterable[ir.Value]) -> None:
        """Runs the model, as often as memory asks for, so that all these values are known."""
        missing = [str(value.name) for value in values if str(value.name) not in self._known]
        while missing:
            fitting = RUN_BYTES // self._largest if self._largest else FIRST_RUN
            taken = min(max(1, fitting), LARGEST_RUN)
            self._run(missing[:taken])
            missing = missing[taken:]

    def _run(self, names: Sequence[str]) -> None:
        """Records these values; where they do not all come out, one by one."""
        try:
            found = _session(self._model, names).run(self._feeds)
        except Exception:  # whatever ONNX Runtime, or the model, has against it
            if len(names) > 1:
                for name in names:
                    self._run([name])
            else:
                self._known[names[0]] = None
            return
        for name in names:
            self._known[name] = self._kept(found[name])

    def _kept(self, array: Array) -> Array | Path | None:
        self._largest = max(array.nbytes, self._largest)
        if array.dtype.kind not in _PLAIN:
            return array
        path = self._folder / f"{len(self._known)}.npy"
        np.save(path, array)
        return path


def _session(model: ir.Model, names: Sequence[str]) -> Session:
    """The part of the model that makes these values; what type they have ONNX Runtime finds out."""
    proto = ir.to_proto(with_outputs(model, names))
    for info in proto.graph.output:
        info.ClearField("type")
    return Session(proto.SerializeToString(deterministic=True))


@contextmanager
def recording(model: ir.Model, feeds: Feeds) -> Iterator[Tensors]:
    """The model's tensors on these inputs; their files are gone afterwards."""
    with temporary_folder() as folder:
        yield Tensors(model, feeds, Path(folder))
