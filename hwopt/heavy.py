"""Layers heavy enough in weights to decide about them one by one: what sparsity and codebooks share."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from hwopt.choice import Skip
from hwopt.nodes import constant, is_op, label
from hwopt.repair.linear import as_linear


def weight_elements(node: ir.Node) -> int:
    """How many weights a convolution or Gemm has as a constant; 0 for everything else."""
    tensor = constant(node.inputs[1]) if is_op(node, "Conv", "Gemm") and len(node.inputs) > 1 else None
    return 0 if tensor is None else int(tensor.size)


def why_not(node: ir.Node) -> str:
    """The reason why a heavy layer keeps its weights; empty where the repair can constrain them."""
    tensor = constant(node.inputs[1])
    if tensor is None or tensor.dtype != ir.DataType.FLOAT:
        return "its weight is not a float32 constant"
    linear = as_linear(node)
    if linear is None:
        return "its weights are not known to the repair"
    return "it is a grouped convolution" if linear.shape[0] > 1 else ""


def heavy_layers(model: ir.Model, pass_name: str, share: float) -> Iterator[ir.Node | Skip]:
    """Convolutions and Gemms with at least this share of all weights, or why one is left alone."""
    smallest = share * sum(weight_elements(node) for node in model.graph)
    for node in model.graph:
        if is_op(node, "Gemm", "Conv") and weight_elements(node) >= smallest:
            reason = why_not(node)
            yield Skip(pass_name, label(node), reason) if reason else node
