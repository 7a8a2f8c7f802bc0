"""A model as shape inference wants it: its graph as protobuf, large tensors only announced."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir import serde

from hwopt.nodes import is_op

_DATA_UP_TO = 1024  # elements; larger constants cannot be shapes, axes or sizes
_INFO_IN_FUNCTIONS = 10  # the IR version from which on a function may hold shapes of its values


def without_weight_data(model: ir.Model) -> onnx.ModelProto:
    """The model without the data of large tensors, and without what it records of inner shapes.

    It is written in a moment, whatever the weights weigh, and the model is neither copied nor edited.
    """
    proto = onnx.ModelProto(ir_version=model.ir_version)
    for domain, version in model.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    _write_graph(proto.graph, model)
    for function in model.functions.values():
        has_info = model.ir_version >= _INFO_IN_FUNCTIONS
        serde.serialize_function_into(proto.functions.add(), function, create_value_info=has_info)
    return proto


def _write_graph(graph: onnx.GraphProto, model: ir.Model) -> None:
    graph.name = model.graph.name or ""
    for value in model.graph.inputs:
        serde.serialize_value_into(graph.input.add(), value)
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            tensor = graph.initializer.add()
            serde.serialize_tensor_into(tensor, _light(value.const_value))
            tensor.name = value.name or ""
    for node in model.graph:
        serde.serialize_node_into(graph.node.add(), _light_node(node), model_ir_version=model.ir_version)
    for value in model.graph.outputs:
        serde.serialize_value_into(graph.output.add(), value)


def _light_node(node: ir.Node) -> ir.Node:
    """The node itself, or one like it that announces its large constant."""
    held = node.attributes.get("value") if is_op(node, "Constant") else None
    if held is None or held.is_ref() or held.as_tensor().size <= _DATA_UP_TO:
        return node
    light = ir.node("Constant", [], {"value": _light(held.as_tensor())}, name=node.name)
    light.outputs[0].name = node.outputs[0].name
    return light


def _light(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if tensor.size <= _DATA_UP_TO:
        return tensor
    shape = ir.Shape(tensor.shape.numpy())
    return ir.ExternalTensor("absent", None, None, tensor.dtype, shape=shape, name=tensor.name or "")
