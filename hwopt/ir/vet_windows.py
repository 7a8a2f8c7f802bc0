"""Windows, steps and borders of standard operators against the weights that the model holds.

A kernel of two axes with steps along one, or a weight of fewer axes than its operator works on, is
nothing that could be run. `onnx.checker` would say so, but stops at the first operator that it does not
know; what stands behind that one would reach passes that rely on it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping, Sequence

import onnx
import onnx.numpy_helper

from hwopt.ir.vet_functions import Key, key_of
from hwopt.ir.vet_graphs import graphs_of, title
from hwopt.ir.vet_tensors import MOST_AXES
from hwopt.ir.vet_words import Unsound, shown

Dims = tuple[int, ...]
Known = ChainMap[str, onnx.TensorProto | None]  # constants by name; None: anything else

_LARGEST_PAD = 2**31 - 1

_STANDARD = ("", "ai.onnx")
_WEIGHT_AT = {"Conv": 1, "ConvTranspose": 1, "ConvInteger": 1, "QLinearConv": 3}
_POOLS = ("MaxPool", "AveragePool", "LpPool")
_TIMES = {"strides": 1, "dilations": 1, "output_padding": 1, "pads": 2}  # numbers for each axis of the window
_AUTO = (b"", b"NOTSET", b"SAME_UPPER", b"SAME_LOWER", b"VALID")
_RANKS: Mapping[str, Mapping[int, int]] = {  # of constant inputs, by place
    "Gemm": {0: 2, 1: 2},
    "Reshape": {1: 1},
    "Slice": {1: 1, 2: 1, 3: 1, 4: 1},
    "Split": {1: 1},
    "ConstantOfShape": {0: 1},
}


def check_windows(graph: onnx.GraphProto, functions: Collection[Key], outer: Known | None = None) -> None:
    """Raises Unsound where a node's constants or attributes cannot fit each other, graphs in nodes included.

    functions: those of the model, which stand before operators of the same name. outer: what is known
    around the graph.
    """
    known: Known = ChainMap() if outer is None else outer.new_child()
    known.update({info.name: None for info in graph.input})
    known.update({sparse.values.name: None for sparse in graph.sparse_initializer})
    known.update({tensor.name: tensor for tensor in graph.initializer})
    check_bodies(graph.node, functions, known)


def check_bodies(nodes: Iterable[onnx.NodeProto], functions: Collection[Key], known: Known) -> None:
    """The same for nodes in order; what they compute is added to `known`."""
    for node in nodes:
        if node.domain in _STANDARD and key_of(node) not in functions:
            _check_node(node, known)
        for graph in graphs_of(node):
            check_windows(graph, functions, known)
        known.update({name: _constant(node) for name in node.output})


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    if node.op_type != "Constant" or node.domain not in _STANDARD:
        return None
    return next((item.t for item in node.attribute if item.name == "value" and item.HasField("t")), None)


def _check_node(node: onnx.NodeProto, known: Known) -> None:
    constants = [known.get(name) if name else None for name in node.input]
    dims = [None if tensor is None else tuple(tensor.dims) for tensor in constants]
    for place, rank in _RANKS.get(node.op_type, {}).items():
        found = dims[place] if place < len(dims) else None
        if found is not None and len(found) != rank:
            raise Unsound(
                f"the input {shown(node.input[place])} of {title(node)} has {_axes(found)}, not {rank}"
            )
    if node.op_type == "Pad" and len(constants) > 1 and constants[1] is not None:
        _check_borders(node, constants[1])
    if node.op_type in _WEIGHT_AT:
        place = _WEIGHT_AT[node.op_type]
        weight = dims[place] if place < len(dims) else None
        if weight is not None:
            _check_weight(node, weight)
        _check_lengths(node, None if weight is None else len(weight) - 2)
    elif node.op_type in _POOLS:
        _check_lengths(node, None)


def _check_borders(node: onnx.NodeProto, tensor: onnx.TensorProto) -> None:
    """ONNX Runtime takes one row of a table, too."""
    dims, where = list(tensor.dims), f"the pads of {title(node)}"
    if not (len(dims) == 1 or (len(dims) == 2 and dims[0] == 1)) or dims[-1] % 2 or dims[-1] > 2 * MOST_AXES:
        raise Unsound(f"{where} are of shape {dims[:8]}: two for each axis were expected")
    if tensor.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.INT32):
        raise Unsound(f"{where} are no whole numbers")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return
    wrong = [
        pad for pad in onnx.numpy_helper.to_array(tensor).reshape(-1).tolist() if abs(pad) > _LARGEST_PAD
    ]
    if wrong:
        raise Unsound(f"{where} hold {wrong[0]}")


def _check_weight(node: onnx.NodeProto, weight: Dims) -> None:
    if len(weight) < 3 or 0 in weight:
        raise Unsound(f"the weight of {title(node)} has the shape {list(weight)[:8]}, which no kernel has")
    group = next((item.i for item in node.attribute if item.name == "group" and not item.ref_attr_name), 1)
    if group < 1 or weight[0] % group:
        raise Unsound(f"{title(node)} has {weight[0]} channels in its weight: no multiple of group {group}")
    kernel = _numbers(node, "kernel_shape")
    if kernel and tuple(kernel) != weight[2:]:
        raise Unsound(f"{title(node)} says the kernel {kernel[:8]}, its weight has {list(weight[2:])[:8]}")


def _check_lengths(node: onnx.NodeProto, axes: int | None) -> None:
    """axes: of the window, where its weight says how many. An empty list is one that is left out."""
    axes = axes or len(_numbers(node, "kernel_shape")) or None
    for name, times in _TIMES.items():
        found = len(_numbers(node, name))
        if axes is not None and found and found != times * axes:
            raise Unsound(f"{title(node)} has {found} {name} for a window of {axes} axes")
    for item in node.attribute:
        if item.name == "auto_pad" and not item.ref_attr_name and item.s not in _AUTO:
            raise Unsound(f"{title(node)} has the unknown auto_pad {shown(item.s)}")


def _numbers(node: onnx.NodeProto, name: str) -> Sequence[int]:
    return next((list(item.ints) for item in node.attribute if item.name == name), [])


def _axes(dims: Dims) -> str:
    return f"{len(dims)} axes" if len(dims) != 1 else "1 axis"
