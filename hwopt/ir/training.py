"""How a model may be trained further (`training_info`): onnx_ir does not read it, so it is carried along.

It speaks of weights by name. Those it names stay as they are (`hwopt.nodes.constant` does not see them as
constants), so that it still holds for the model that is written.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx_ir as ir

from hwopt.nodes import TRAINED

_TRAINING = "hwopt.training"  # in graph.meta, which survives clones


def keep_training(proto: onnx.ModelProto, model: ir.Model) -> None:
    """Remembers what the file says of training, and marks the weights that it names."""
    if not proto.training_info:
        return
    model.graph.meta[_TRAINING] = tuple(
        info.SerializeToString(deterministic=True) for info in proto.training_info
    )
    for info in proto.training_info:
        for name in _named(info):
            if name in model.graph.initializers:
                model.graph.initializers[name].meta[TRAINED] = True


def add_training(model: ir.Model, proto: onnx.ModelProto) -> None:
    """Writes into a message what the model's file said of training."""
    for data in model.graph.meta.get(_TRAINING, ()):
        proto.training_info.append(onnx.TrainingInfoProto.FromString(data))


def _named(info: onnx.TrainingInfoProto) -> Iterator[str]:
    for binding in (*info.initialization_binding, *info.update_binding):
        yield binding.key
    for graph in (info.initialization, info.algorithm):
        yield from _read(graph)


def _read(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _read(attribute.g)
            for inner in attribute.graphs:
                yield from _read(inner)
