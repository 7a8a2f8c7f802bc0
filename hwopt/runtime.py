"""A thin, deterministic layer over ONNX Runtime: sessions, batched runs, parts of a model.

How a session runs is in `sessions.py`. Several sessions over parts of a model agree with one session
over the whole up to float rounding: the optimiser fuses across what is no longer a boundary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from hwopt.guard.client import Serial
from hwopt.ir.stored import StoredTensor
from hwopt.nodes import Array
from hwopt.sessions import THREADS as THREADS
from hwopt.sessions import Outside, open_session, outside_arrays, session_options

BATCH = 10
_OUTSIDE_FROM = 4096  # bytes; ONNX Runtime reads smaller constants while it loads: shapes, axes
_PLAIN = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.INT8,
                    ir.DataType.UINT8, ir.DataType.INT32, ir.DataType.INT64})  # fmt: skip
Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class InputSpec:
    """One input of a session as ONNX Runtime sees it; dimensions that are not fixed are None."""

    name: str
    shape: tuple[int | None, ...]


class Session:
    """A model ready to run on the CPU. entries: ONNX Runtime's own settings of a session."""

    def __init__(
        self, model: ir.Model | bytes, threads: int = THREADS, entries: Mapping[str, str] | None = None
    ) -> None:
        options = self._options(threads, entries)
        serial = Serial(model) if isinstance(model, bytes) else serialised(model)
        self._outside = outside_arrays(serial.outside)  # mapped: they must live as long as the session
        self._session = open_session(serial.data, self._outside, options)
        self.inputs = tuple(
            InputSpec(spec.name, tuple(d if isinstance(d, int) else None for d in spec.shape))
            for spec in self._session.get_inputs()
        )
        self.outputs = tuple(str(spec.name) for spec in self._session.get_outputs())

    def _options(self, threads: int, entries: Mapping[str, str] | None) -> ort.SessionOptions:
        """How every session runs."""
        return session_options(threads, entries)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """All outputs for one set of inputs, exactly as given."""
        values = self._session.run(list(self.outputs), dict(feeds))
        return {name: np.asarray(value) for name, value in zip(self.outputs, values, strict=True)}

    def batches(self, feeds: Feeds, batch: int) -> Iterator[tuple[slice, dict[str, Array]]]:
        """Outputs for consecutive slices of the samples on axis 0 of every input.

        The last slice is filled up by repeating its last sample, and cut again, because a model
        with a fixed batch takes nothing else.
        """
        count = len(next(iter(feeds.values())))
        for start in range(0, count, batch):
            part = slice(start, min(start + batch, count))
            outputs = self.run(
                {name: _filled(np.asarray(array[part]), batch) for name, array in feeds.items()}
            )
            kept = part.stop - part.start
            yield part, {name: value[:kept] for name, value in outputs.items()}


def serialised(model: ir.Model, outputs: Sequence[str] = ()) -> Serial:
    """The model as bytes for ONNX Runtime; weights that lie in files are named, not read.

    outputs: values of the main graph that are to be outputs, too. Raises ValueError where what lies in
    memory does not fit into protobuf's 2 GB.
    """
    proto = ir.to_proto(model)
    known = {info.name for info in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in known)
    outside = list[Outside]()
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            held = model.graph.initializers[tensor.name].const_value
            assert isinstance(held, ir.ExternalTensor)
            if (place := _place(held, tensor.name)) is None:
                tensor.CopyFrom(ir.to_proto(ir.Tensor(held.numpy(), held.dtype, name=tensor.name)))
            else:
                outside.append(place)
    return Serial(proto.SerializeToString(deterministic=True), tuple(outside), len(proto.graph.node))


def _place(tensor: ir.ExternalTensor, name: str) -> Outside | None:
    """Where a weight lies; None for one that is small, or of a type that numpy has no name for."""
    if tensor.nbytes < _OUTSIDE_FROM or tensor.dtype not in _PLAIN:
        return None
    shape = tuple(int(dim) for dim in tensor.shape.numpy())
    identity = tensor.store.identity if isinstance(tensor, StoredTensor) else ()
    return Outside(name, str(tensor.path), tensor.dtype.numpy().name, tensor.offset or 0, shape, identity)


class FrugalSession(Session):
    """A session whose second run takes no more memory than its first, for runs in several shapes.

    ONNX Runtime would plan one block for all that a run allocates, beside what it already holds.
    """

    def _options(self, threads: int, entries: Mapping[str, str] | None) -> ort.SessionOptions:
        options = super()._options(threads, entries)
        options.enable_mem_pattern = False
        return options


def _filled(array: Array, batch: int) -> Array:
    missing = batch - len(array)
    return array if missing == 0 else np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])


def fixed_batch(model: ir.Model) -> int | None:
    """The batch that the model's inputs insist on, or None where the first axis is free."""
    sizes = {
        value.shape[0]
        for value in model.graph.inputs
        if value.shape is not None and len(value.shape) > 0 and isinstance(value.shape[0], int)
    }
    return min(int(size) for size in sizes if isinstance(size, int)) if sizes else None


def batch_of(model: ir.Model) -> int:
    """How many samples to run at once: the model's fixed batch, else a small fixed number."""
    return fixed_batch(model) or BATCH


def run(model: ir.Model, feeds: Feeds, outputs: Sequence[str] | None = None) -> dict[str, Array]:
    """Run the whole model on all samples, in batches on axis 0.

    outputs: names of any values of the main graph; None: the model's own outputs.
    """
    names = [str(v.name) for v in model.graph.outputs] if outputs is None else list(outputs)
    session = Session(model if outputs is None else with_outputs(model, names))
    parts: dict[str, list[Array]] = {name: [] for name in names}
    for _, values in session.batches(feeds, batch_of(model)):
        for name in names:
            parts[name].append(values[name])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def with_outputs(model: ir.Model, outputs: Sequence[str]) -> ir.Model:
    """A model that computes the named values from the model's own inputs, and nothing else."""
    inputs = [str(v.name) for v in model.graph.inputs if not v.is_initializer()]
    return _as_model(model, ir.convenience.extract(model.graph, inputs, list(outputs)))


def part(model: ir.Model, inputs: Mapping[str, Array], outputs: Sequence[str]) -> ir.Model:
    """The part of a model between some of its values.

    inputs: example arrays by value name; only their type and rank are used, every dimension is
        left open.
    outputs: names of the values to compute.
    Raises ValueError where the outputs need more than these inputs.
    """
    graph = ir.convenience.extract(model.graph, list(inputs), list(outputs))
    for value in graph.inputs:
        example = inputs[str(value.name)]
        value.type = ir.TensorType(ir.DataType.from_numpy(example.dtype))
        value.shape = ir.Shape([None] * example.ndim)
    return _as_model(model, graph)


def _as_model(model: ir.Model, graph: ir.Graph) -> ir.Model:
    """A graph in a model of the same version; ONNX Runtime finds the types of outputs by itself."""
    return ir.Model(graph, ir_version=model.ir_version, functions=tuple(model.functions.values()))
