"""Whether two stretches of models are the same: node for node, with the same weights, bit for bit.

What cannot be told cheaply counts as different: nested graphs, operators that a model defines itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

import onnx_ir as ir

from hwopt.guard.client import Place, same_bytes
from hwopt.ir.stored import BLOCK_BYTES, StoredTensor

_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def same_nodes(one: Sequence[ir.Node], two: Sequence[ir.Node]) -> bool:
    """Whether they compute the same values, under the same names, from values of the same names."""
    return len(one) == len(two) and all(map(_same_node, one, two))


def _same_node(one: ir.Node, two: ir.Node) -> bool:
    return (
        (one.domain, one.op_type, one.overload) == (two.domain, two.op_type, two.overload)
        and [value.name for value in one.outputs] == [value.name for value in two.outputs]
        and len(one.inputs) == len(two.inputs)
        and one.attributes.keys() == two.attributes.keys()
        and all(map(_same_value, one.inputs, two.inputs))
        and all(_same_attribute(value, two.attributes[name]) for name, value in one.attributes.items())
    )


def _same_value(one: ir.Value | None, two: ir.Value | None) -> bool:
    if one is None or two is None:
        return one is two
    if one.is_initializer() or two.is_initializer():
        return one.const_value is not None and same_tensor(one.const_value, two.const_value)
    return one.name == two.name


def _same_attribute(one: ir.Attr, two: ir.Attr) -> bool:
    if one.type != two.type or one.type in _GRAPHS or one.is_ref() or two.is_ref():
        return False
    if one.type == ir.AttributeType.TENSOR:
        return same_tensor(one.as_tensor(), two.as_tensor())
    if one.type == ir.AttributeType.TENSORS:
        return len(one.value) == len(two.value) and all(map(same_tensor, one.value, two.value))
    return bool(one.value == two.value)


def same_tensor(one: ir.TensorProtocol, two: ir.TensorProtocol | None) -> bool:
    """Whether both hold the same, bit for bit; read in blocks where they do not lie at the same place."""
    if one is two:
        return True
    if two is None or one.dtype != two.dtype or list(one.shape) != list(two.shape):
        return False
    if one.dtype == ir.DataType.STRING:
        return bool((one.numpy() == two.numpy()).all())
    if _place(one) == _place(two):
        return True
    if isinstance(one, StoredTensor) and isinstance(two, StoredTensor):
        return one.nbytes == two.nbytes and _same_stored(one, two)
    return all(a == b for a, b in zip_longest(_blocks(one), _blocks(two)))


def _same_stored(one: StoredTensor, two: StoredTensor) -> bool:
    """Both looked at here, so that nobody has put another file there, and read by the guard's worker."""
    with one.store.opened(), two.store.opened():
        return same_bytes(_in_file(one), _in_file(two), one.nbytes)


def _in_file(tensor: StoredTensor) -> Place:
    return Place(tensor.store.path, tensor.start, tensor.store.identity)


def _place(tensor: ir.TensorProtocol) -> object:
    """Where it lies; a tensor in memory is a place of its own."""
    return (tensor.store, tensor.start) if isinstance(tensor, StoredTensor) else id(tensor)


def _blocks(tensor: ir.TensorProtocol) -> Iterator[bytes]:
    if isinstance(tensor, StoredTensor):
        with tensor.opened() as reading:
            yield from reading.blocks(tensor.nbytes)
        return
    data = memoryview(tensor.tobytes())
    for start in range(0, len(data), BLOCK_BYTES):
        yield bytes(data[start : start + BLOCK_BYTES])
