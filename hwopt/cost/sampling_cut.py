"""Cutting small models out of larger ones: a block, a few operators, one fused group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from hwopt.cost.sampling_ground import BLOCK_KEY
from hwopt.cost.sampling_shapes import dims
from hwopt.nodes import attr_int, attr_ints, constant, is_op

SINGLE_SHARE = 0.45
PAIR_OF_BLOCKS = 0.2
MAX_WORKING_SET = 1_900_000  # elements read and written by one operator
MAX_MACS = 8e8
ACTIVATIONS = ("Clip", "Relu", "LeakyRelu", "HardSwish", "Sigmoid", "HardSigmoid", "Tanh", "PRelu", "Gelu")
NEVER_ALONE = (*ACTIVATIONS, "Reshape", "Flatten")  # part of what stands before them, or free


def cut(model: ir.Model, nodes: Sequence[ir.Node]) -> ir.Model:
    """A model of these nodes alone, in graph order; values keep their names, constants are copied along.

    What enters from outside becomes an input, what leaves (or nobody reads) an output.
    """
    chosen = set(nodes)
    copies: dict[ir.Value, ir.Value] = {}
    inputs: list[ir.Value] = []
    initializers: list[ir.Value] = []
    copied_nodes: list[ir.Node] = []
    for node in (n for n in model.graph if n in chosen):
        for value in node.inputs:
            if value is None or value in copies:
                continue
            copies[value] = _copy(value)
            (initializers if constant(value) is not None else inputs).append(copies[value])
        copied_nodes.append(_copy_node(node, copies))
    outputs = [copies[v] for n in model.graph if n in chosen for v in n.outputs if _leaves(v, chosen)]
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=copied_nodes,
        initializers=initializers,
        opset_imports=dict(model.graph.opset_imports),
        name=model.graph.name,
    )
    return ir.Model(graph, ir_version=model.ir_version)


def without_unused_inputs(model: ir.Model) -> ir.Model:
    """The same model without the inputs that no node reads."""
    return cut(model, list(model.graph))


def random_part(model: ir.Model, rng: np.random.Generator) -> ir.Model:
    """One operator with its activation, one block, or two neighbouring blocks."""
    nodes = list(model.graph)
    if rng.random() < SINGLE_SHARE:
        anchors = [n for n in nodes if n.op_type not in NEVER_ALONE]
        anchor = anchors[int(rng.integers(len(anchors)))]
        return cut(model, [anchor, *_followers(anchor, ACTIVATIONS)])
    blocks = sorted({_block(n) for n in nodes})
    first = int(rng.integers(len(blocks)))
    length = 2 if rng.random() < PAIR_OF_BLOCKS else 1
    wanted = set(blocks[first : first + length])
    return cut(model, [n for n in nodes if _block(n) in wanted])


def fused_groups(model: ir.Model, ops: frozenset[str]) -> list[list[ir.Node]]:
    """Each operator of the given kinds with the activation that follows it alone."""
    anchors = [n for n in model.graph if _kind(n) in ops and n.op_type not in ACTIVATIONS]
    return [[n, *_followers(n, ACTIVATIONS)] for n in anchors]


def shape_key(node: ir.Node) -> tuple[object, ...]:
    """Equal for operators that do the same work: kind, shapes, strides, dilations, groups."""
    shapes = tuple(dims(v) for v in (*node.inputs, *node.outputs) if v is not None)
    attributes = tuple(attr_ints(node, name, (1, 1)) for name in ("strides", "dilations"))
    return (node.op_type, shapes, attributes, attr_int(node, "group", 1))


def affordable(model: ir.Model, limit: float = MAX_MACS) -> bool:
    """Whether every operator's working set fits on chip and the whole stays under a number of MACs."""
    nodes = list(model.graph)
    return all(_working_set(n) <= MAX_WORKING_SET for n in nodes) and sum(map(macs, nodes)) <= limit


def macs(node: ir.Node) -> int:
    """Multiply-adds of a convolution or matrix product; 0 for anything else."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    data = node.inputs[0] if node.inputs else None
    if not is_op(node, "Conv", "ConvTranspose", "Gemm", "MatMul") or weight is None or weight.shape is None:
        return 0
    assert data is not None
    if is_op(node, "Conv"):
        return int(np.prod(dims(node.outputs[0]))) * int(np.prod(dims(weight)[1:]))
    if is_op(node, "ConvTranspose"):
        return int(np.prod(dims(data))) * int(np.prod(dims(weight)[1:]))
    return int(np.prod(dims(node.outputs[0]))) * dims(data)[-1]


def peak_elements(model: ir.Model) -> int:
    """The most elements of feature maps that are needed at one time, operators in graph order."""
    last: dict[ir.Value, int] = {}
    nodes = list(model.graph)
    for number, node in enumerate(nodes):
        last.update((v, number) for v in node.inputs if v is not None and constant(v) is None)
    last.update((v, len(nodes)) for v in model.graph.outputs)
    live = {v: int(np.prod(dims(v))) for v in model.graph.inputs}
    peak = 0
    for number, node in enumerate(nodes):
        live.update((v, int(np.prod(dims(v)))) for v in node.outputs)
        peak = max(peak, sum(live.values()))
        live = {v: size for v, size in live.items() if last.get(v, number) > number}
    return peak


def _working_set(node: ir.Node) -> int:
    """Elements of a node's inputs and outputs that are not constants."""
    values = [v for v in (*node.inputs, *node.outputs) if v is not None and constant(v) is None]
    return sum(int(np.prod(dims(v))) for v in values)


def _followers(node: ir.Node, kinds: tuple[str, ...]) -> list[ir.Node]:
    """The activation that reads the node's output, with the product that completes SiLU or hard swish."""
    readers = [u.node for u in node.outputs[0].uses()]
    if len(readers) == 1 and is_op(readers[0], *kinds):
        return readers
    gates = [r for r in readers if is_op(r, "Sigmoid", "HardSigmoid")]
    products = [r for r in readers if is_op(r, "Mul")]
    if len(readers) == 2 and len(gates) == len(products) == 1 and "Sigmoid" in kinds:
        return [*gates, *products] if products[0] in [u.node for u in gates[0].outputs[0].uses()] else []
    return []


def _kind(node: ir.Node) -> str:
    depthwise = is_op(node, "Conv") and attr_int(node, "group", 1) > 1
    return "DepthwiseConv" if depthwise else node.op_type


def _block(node: ir.Node) -> int:
    return int(node.meta[BLOCK_KEY])


def _leaves(value: ir.Value, chosen: set[ir.Node]) -> bool:
    readers = [use.node for use in value.uses()]
    return value.is_graph_output() or not readers or any(reader not in chosen for reader in readers)


def _copy(value: ir.Value) -> ir.Value:
    return ir.Value(
        name=value.name,
        type=value.type,
        shape=None if value.shape is None else ir.Shape(value.shape),
        const_value=constant(value),
    )


def _copy_node(node: ir.Node, copies: dict[ir.Value, ir.Value]) -> ir.Node:
    for output in node.outputs:
        copies[output] = _copy(output)
    return ir.Node(
        node.domain,
        node.op_type,
        [None if v is None else copies[v] for v in node.inputs],
        list(node.attributes.values()),
        outputs=[copies[v] for v in node.outputs],
        name=node.name,
    )
