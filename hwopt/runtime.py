"""A thin, deterministic layer over ONNX Runtime: sessions, batched runs, parts of a model.

Thread counts are fixed and threads do not spin, so a run gives the same bits on the same
processor however busy it is. Several sessions over parts of a model agree with one session
over the whole up to float rounding: the optimiser fuses across what is no longer a boundary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from hwopt.nodes import Array

THREADS = 2
BATCH = 10
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
        options = self._options(threads)
        for name, value in (entries or {}).items():
            options.add_session_config_entry(name, value)
        data = model if isinstance(model, bytes) else ir.to_proto(model).SerializeToString(deterministic=True)
        self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.inputs = tuple(
            InputSpec(spec.name, tuple(d if isinstance(d, int) else None for d in spec.shape))
            for spec in self._session.get_inputs()
        )
        self.outputs = tuple(str(spec.name) for spec in self._session.get_outputs())

    def _options(self, threads: int) -> ort.SessionOptions:
        """How every session runs."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what goes wrong is raised, and said by whoever catches it
        return options

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


class FrugalSession(Session):
    """A session whose second run takes no more memory than its first, for runs in several shapes.

    ONNX Runtime would plan one block for all that a run allocates, beside what it already holds.
    """

    def _options(self, threads: int) -> ort.SessionOptions:
        options = super()._options(threads)
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
    inputs = [str(v.name) for v in model.graph.inputs]
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
    """A graph in a model of the same version; outputs without a known type become floats."""
    for value in graph.outputs:
        if value.type is None:
            value.type = ir.TensorType(ir.DataType.FLOAT)
    return ir.Model(graph, ir_version=model.ir_version, functions=tuple(model.functions.values()))
