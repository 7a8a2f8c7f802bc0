"""The ground of sampled networks: a static ONNX graph that grows node by node, weights drawn lazily.

It exists because a sampled network is built only to have one block cut out of it: thousands of
networks are built, few of their weights are ever read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from hwopt.cost.sampling_weights import WeightStyle, lazy_weight

BLOCK_KEY = "hwopt.cost.sampling.block"
OPSET = 13
Seed = tuple[int, ...]
Attributes = Mapping[str, int | float | str | Sequence[int]]


def _attribute(name: str, value: int | float | str | Sequence[int]) -> ir.Attr:
    """An attribute of the type that its value has (onnx_ir's own conversion takes ten times as long)."""
    if isinstance(value, int):
        return ir.AttrInt64(name, value)
    if isinstance(value, float):
        return ir.AttrFloat32(name, value)
    if isinstance(value, str):
        return ir.AttrString(name, value)
    return ir.AttrInt64s(name, [int(item) for item in value])


class Ground:
    """Nodes, inputs and initializers of a model under construction; batch 1."""

    def __init__(self, name: str, style: WeightStyle, seed: Seed) -> None:
        self.name = name
        self.style = style
        self.seed = seed
        self.rng = np.random.default_rng((*seed, 1))
        self.centred = bool(self.rng.random() < 0.6)  # PyTorch's padding; else TensorFlow's SAME
        self.block = 0
        self._opset = OPSET
        self._nodes: list[ir.Node] = []
        self._inputs: list[ir.Value] = []
        self._initializers: list[ir.Value] = []

    def input(self, *shape: int) -> ir.Value:
        """A new graph input."""
        value = ir.val(f"in{len(self._inputs)}", ir.DataType.FLOAT, shape)
        self._inputs.append(value)
        return value

    def next_block(self) -> None:
        """Everything appended from here on belongs to the next block."""
        self.block += 1

    def model(self, *outputs: ir.Value) -> ir.Model:
        """The finished model; its outputs are those given, and nothing in it is computed in vain."""
        nodes = _needed(self._nodes, outputs)
        read = {id(value) for node in nodes for value in node.inputs}
        graph = ir.Graph(
            self._inputs,
            list(outputs),
            nodes=nodes,
            initializers=[value for value in self._initializers if id(value) in read],
            opset_imports={"": self._opset},
            name=self.name,
        )
        return ir.Model(graph, ir_version=8)

    def vector(self, size: int) -> ir.Value:
        """A constant vector of this size, drawn like a weight."""
        return self._initializer(lazy_weight((size, 1), self.style, self._weight_seed()), (size,))

    def constant(self, array: np.ndarray) -> ir.Value:
        """An initializer that holds this array."""
        return self._initializer(ir.tensor(array))

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        shape: tuple[int, ...],
        attributes: Attributes | None = None,
        opset: int = OPSET,
    ) -> ir.Value:
        """Appends an operator of one output of this shape, known since `opset`."""
        self._opset = max(self._opset, opset)
        return self.node_of_many(op_type, inputs, [shape], attributes)[0]

    def node_of_many(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        shapes: Sequence[tuple[int, ...]],
        attributes: Attributes | None = None,
    ) -> list[ir.Value]:
        """Appends an operator of several outputs of these shapes."""
        name = f"t{len(self._nodes)}"
        names = [name] if len(shapes) == 1 else [f"{name}_{i}" for i in range(len(shapes))]
        outputs = [ir.val(n, ir.DataType.FLOAT, shape) for n, shape in zip(names, shapes, strict=True)]
        listed = [_attribute(key, value) for key, value in (attributes or {}).items()]
        node = ir.Node("", op_type, list(inputs), listed, outputs=outputs, name=f"{op_type}_{name}")
        node.meta[BLOCK_KEY] = self.block
        self._nodes.append(node)
        return outputs

    def _weight(self, shape: tuple[int, ...], style: WeightStyle) -> ir.Value:
        return self._initializer(lazy_weight(shape, style, self._weight_seed()))

    def _weight_seed(self) -> Seed:
        return (*self.seed, 100 + len(self._initializers))  # low numbers are other streams'

    def _initializer(self, tensor: ir.TensorProtocol, shape: tuple[int, ...] | None = None) -> ir.Value:
        if shape is not None:
            source = tensor
            tensor = ir.LazyTensor(
                lambda: ir.tensor(source.numpy().reshape(shape)),
                dtype=ir.DataType.FLOAT,
                shape=ir.Shape(shape),
                cache=True,
            )
        name = f"w{len(self._initializers)}"
        value = ir.Value(
            name=name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(tensor.shape.numpy()),
            const_value=tensor,
        )
        self._initializers.append(value)
        return value


def _needed(nodes: Sequence[ir.Node], outputs: Sequence[ir.Value]) -> list[ir.Node]:
    """The nodes, in their order, that the outputs depend on."""
    wanted = {id(value) for value in outputs}
    kept = []
    for node in reversed(nodes):
        if any(id(value) in wanted for value in node.outputs):
            kept.append(node)
            wanted.update(id(value) for value in node.inputs)
    return kept[::-1]
