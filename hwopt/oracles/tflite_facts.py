"""What is known of a model's values before lowering: static shapes and folded constants.

Walks the graph once. A node whose inputs are all constant is evaluated with ONNX's reference
implementation (shape arithmetic, transposed weights), Shape of a known shape is a constant,
and everything else gets its shape from ONNX's own inference of that one operator. So neither
recorded shapes nor simplified graphs are needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from hwopt.nodes import ONNX_DOMAINS, Array, constant_array, is_op

_DATA_UP_TO = 4096  # elements of a constant that shape inference may need to see
_NEVER_FOLDED = (
    "If",
    "Loop",
    "Scan",
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
)


@dataclass
class Facts:
    """Shapes and constants by value name; a value whose shape is not static is missing."""

    opset: int
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[str, int] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)

    def constant(self, value: ir.Value | None) -> Array | None:
        """The value's data where it is, or folds to, a constant."""
        return None if value is None else self.constants.get(value.name or "")

    def shape(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """The value's static shape, if known."""
        return None if value is None else self.shapes.get(value.name or "")


def find_facts(model: ir.Model) -> Facts:
    """Shapes and constants of every value of the main graph.

    Input shapes must be static, except that an unknown first axis (the batch) counts as 1.
    """
    facts = Facts(model.opset_imports.get("", model.opset_imports.get("ai.onnx", 1)))
    for value in model.graph.initializers.values():
        array = constant_array(value)
        if array is not None:
            _set_constant(facts, value, array)
    for value in model.graph.inputs:
        if value.name not in facts.constants:
            _set_input(facts, value)
    for node in model.graph:
        _visit(facts, node)
    return facts


def _set_constant(facts: Facts, value: ir.Value, array: Array) -> None:
    name = value.name or ""
    facts.constants[name] = array
    facts.shapes[name] = tuple(array.shape)
    facts.dtypes[name] = int(ir.DataType.from_numpy(array.dtype))


def _set_input(facts: Facts, value: ir.Value) -> None:
    if value.shape is None or value.dtype is None:
        return
    dims = [dim if isinstance(dim, int) else None for dim in value.shape]
    if dims and dims[0] is None:
        dims[0] = 1
    if all(dim is not None and dim > 0 for dim in dims):
        facts.shapes[value.name or ""] = tuple(int(dim or 0) for dim in dims)
        facts.dtypes[value.name or ""] = int(value.dtype)


def _visit(facts: Facts, node: ir.Node) -> None:
    if node.domain not in ONNX_DOMAINS:
        return
    if is_op(node, "Constant"):
        array = constant_array(node.outputs[0])
        if array is not None:
            _set_constant(facts, node.outputs[0], array)
        return
    shape = facts.shape(node.inputs[0]) if node.inputs else None
    if is_op(node, "Shape") and shape is not None:
        start = node.attributes["start"].as_int() if "start" in node.attributes else 0
        end = node.attributes["end"].as_int() if "end" in node.attributes else len(shape)
        _set_constant(facts, node.outputs[0], np.asarray(shape[start:end], np.int64))
    elif _foldable(facts, node):
        _fold(facts, node)
    else:
        _infer(facts, node)


def _foldable(facts: Facts, node: ir.Node) -> bool:
    known = all(value is None or value.name in facts.constants for value in node.inputs)
    return known and node.op_type not in _NEVER_FOLDED


def _proto(node: ir.Node) -> onnx.NodeProto:
    proto = ir.to_proto(node)
    assert isinstance(proto, onnx.NodeProto)
    return proto


def _fold(facts: Facts, node: ir.Node) -> None:
    """Evaluates a node of constants; leaves the outputs unknown where that is not possible."""
    feeds = {
        value.name or "": facts.constants[value.name or ""] for value in node.inputs if value is not None
    }
    inputs = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in feeds.items()
    ]
    outputs = [onnx.ValueInfoProto(name=value.name) for value in node.outputs if value.name]
    graph = onnx.helper.make_graph([_proto(node)], "fold", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", facts.opset)])
    try:
        results = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # the reference implementation does not know it: no constant
        return
    for value, result in zip((v for v in node.outputs if v.name), results, strict=False):
        if isinstance(result, np.ndarray | np.generic):
            _set_constant(facts, value, np.asarray(result))


def _infer(facts: Facts, node: ir.Node) -> None:
    """Shapes of one operator's outputs by ONNX's shape inference for that operator alone."""
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in node.inputs:
        if value is None:
            continue
        name = value.name or ""
        if name not in facts.shapes:
            return
        types[name] = onnx.helper.make_tensor_type_proto(facts.dtypes[name], facts.shapes[name])
        array = facts.constants.get(name)
        if array is not None and array.size <= _DATA_UP_TO:
            data[name] = onnx.numpy_helper.from_array(array, name)
    try:
        schema = onnx.defs.get_schema(node.op_type, facts.opset, "")
        inferred = onnx.shape_inference.infer_node_outputs(
            schema, _proto(node), types, data, opset_imports=[onnx.helper.make_opsetid("", facts.opset)]
        )
    except Exception:  # unknown operator, or inconsistent shapes: the lowering names the node
        return
    for name, kind in inferred.items():
        _set_inferred(facts, name, kind)


def _set_inferred(facts: Facts, name: str, kind: onnx.TypeProto) -> None:
    tensor = kind.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
    if kind.HasField("tensor_type") and tensor.HasField("shape") and all(dim >= 0 for dim in dims):
        facts.shapes[name] = tuple(dims)
        facts.dtypes[name] = tensor.elem_type
