"""A job made ready for ONNX Runtime: nodes that can be found again, and a network's surroundings.

ONNX Runtime keeps images in blocks of channels between convolutions, reads what the operator
before has just written, and fuses across operators. A part of a network that is run alone has
none of it: it starts and ends with plain tensors in cold memory. So a part gets a small
convolution before each image that enters (with an activation, so that nothing is fused into
it), and one after each image that leaves; their own cost is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GUARD = "hwoptguard"
_NODE = re.compile(r"hwopt\d+x")
_FEW = 4  # an image of so few channels is the network's own input: a stem reads it as it is
_GUARD_INPUTS = 3  # channels that an entry guard reads: few, so that it costs little
_GUARD_OUTPUTS = 16
_GUARD_STRIDE = 4


def name_nodes(model: onnx.ModelProto, first: int = 0) -> None:
    """Gives each node of the main graph a number that survives fusion in its name: see `given_name`."""
    for index, node in enumerate(model.graph.node, first):
        node.name = f"hwopt{index}x"


def given_name(name: str) -> str | None:
    """The first name that `name_nodes` gave in the name of an optimised node; None where there is none."""
    found = _NODE.search(name)
    return None if found is None else found.group()


def add_guards(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Puts the model between guards, in place; values keep their names.

    shapes: of the model's inputs and outputs; those that are no images of floats stay as they are.
    """
    rng = np.random.default_rng(0)
    floats = {value.name for value in (*model.graph.input, *model.graph.output) if _is_float(value)}
    for value in list(model.graph.input):
        shape = shapes.get(value.name, ())
        if value.name in floats and len(shape) == 4 and shape[1] > _FEW:
            _guard_input(model.graph, value, shape, rng)
    for value in list(model.graph.output):
        shape = shapes.get(value.name, ())
        if value.name in floats and len(shape) == 4:
            _guard_output(model.graph, value, shape, rng)


def _guard_input(
    graph: onnx.GraphProto, value: onnx.ValueInfoProto, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    """image of 3 channels  -->  Conv 1x1, LeakyRelu  -->  the value."""
    name = value.name
    source, weight, plain = (f"{GUARD}_{part}_{name}" for part in ("in", "w", "conv"))
    graph.initializer.append(_weight(weight, (shape[1], _GUARD_INPUTS, 1, 1), rng))
    nodes = [
        helper.make_node("Conv", [source, weight], [plain], name=f"{GUARD}0_{name}", kernel_shape=[1, 1]),
        helper.make_node("LeakyRelu", [plain], [name], name=f"{GUARD}1_{name}"),
    ]
    for node in reversed(nodes):
        graph.node.insert(0, node)
    size = (shape[0], _GUARD_INPUTS, *shape[2:])
    value.CopyFrom(helper.make_tensor_value_info(source, TensorProto.FLOAT, size))


def _guard_output(
    graph: onnx.GraphProto, value: onnx.ValueInfoProto, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    """the value  -->  Conv 1x1 of stride 4  -->  a small output."""
    name = value.name
    weight, end = f"{GUARD}_v_{name}", f"{GUARD}_out_{name}"
    graph.initializer.append(_weight(weight, (_GUARD_OUTPUTS, shape[1], 1, 1), rng))
    strides = [_GUARD_STRIDE, _GUARD_STRIDE]
    guard = helper.make_node("Conv", [name, weight], [end], name=f"{GUARD}2_{name}", strides=strides)
    graph.node.append(guard)
    size = (shape[0], _GUARD_OUTPUTS, *(-(-edge // _GUARD_STRIDE) for edge in shape[2:]))
    value.CopyFrom(helper.make_tensor_value_info(end, TensorProto.FLOAT, size))


def interface_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of inputs and outputs, inferred where the model does not say; open ones are left out."""
    values = [*model.graph.input, *model.graph.output]
    if any(static_shape(value) is None for value in values):
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        values = [*inferred.graph.input, *inferred.graph.output]
    return {value.name: shape for value in values if (shape := static_shape(value)) is not None}


def _weight(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> onnx.TensorProto:
    values = rng.normal(0.0, (2.0 / shape[1]) ** 0.5, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.FLOAT)


def static_shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The shape of a value, or None where a dimension is open."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    sizes = tuple(int(dim.dim_value) for dim in dims)
    return sizes if all(dim.HasField("dim_value") for dim in dims) and all(s > 0 for s in sizes) else None


def is_guard(names: Iterable[str]) -> bool:
    """Whether one of these names is a guard's, or made from it."""
    return any(GUARD in name for name in names)
