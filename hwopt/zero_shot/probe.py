"""A network made ready to be scored without training: its own structure, weights drawn from a seed.

    Conv -> Clip  -->  Conv with drawn weights -> (x - mean) / deviation -> Clip, and on the side
                       the codes of the activations, multiplied sample by sample

Scores of untrained networks are defined with batch normalisation in training mode, and canonical
models have none: it is folded. So every layer's output is normalised over the batch on its way, in
the graph itself, and the deviations are handed out beside what a score is made of. One forward run
gives everything; no code of an activation ever leaves the graph, only the product of all pairs of
samples, so memory is that of the network's own maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx_ir as ir

from hwopt.edit import AttributeValue, add_constant, set_constant
from hwopt.nodes import attr_ints, constant_array, is_op
from hwopt.runtime import with_outputs

KINKED = ("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "HardSwish", "HardSigmoid", "Gelu", "Sigmoid")
LAYERS = ("Conv", "ConvTranspose")
EPSILON = 1e-5
AXES_AS_INPUT = 18  # the opset from which ReduceMean takes its axes as an input


class Weights(StrEnum):
    """What a network is scored with."""

    DRAWN = "drawn"  # from a normal distribution, no bias, every layer normalised
    KEPT = "kept"  # those in the file, biases too, nothing normalised


@dataclass(frozen=True)
class Probe:
    """A model that computes what scores are made of.

    features: the output before pooling, [batch, channels, ...]. codes: the outputs [batch, batch]
    with agreeing minus disagreeing activation codes per layer. deviations: per normalised layer,
    [1, channels, 1, ...]. moments: per linear layer, the products of its channels [channels, channels].
    """

    model: ir.Model
    features: str
    codes: tuple[str, ...]
    deviations: tuple[str, ...]
    moments: tuple[str, ...]


def make_probe(model: ir.Model, weights: Weights, seed: int = 0) -> Probe:
    """The probe of a model; the model itself is not touched.

    Weights are drawn layer by layer in graph order, whatever their names. Raises ValueError where
    the model has no convolution before its features.
    """
    end = features_of(model)
    cut = with_outputs(model, [str(end.name)])
    for value in cut.graph.inputs:
        _free_batch(value)
    graph = cut.graph
    writer = _Writer(graph)
    layers = [node for node in graph if is_op(node, *LAYERS) and constant_array(node.inputs[1]) is not None]
    if not layers:
        raise ValueError("no convolution with constant weights: there is nothing to score")
    kinks = [node for node in graph if is_op(node, *KINKED)]
    linear = [node for node in layers if not any(is_op(use.node, *KINKED) for use in node.outputs[0].uses())]
    deviations, outputs = [], {id(node): node.outputs[0] for node in layers}
    for number, node in enumerate(layers if weights is Weights.DRAWN else ()):
        draw(node, np.random.default_rng((seed, number)))
        outputs[id(node)], deviation = writer.normalised(node)
        deviations.append(deviation)
    codes = [writer.agreement(node) for node in kinks]
    moments = [writer.moment(outputs[id(node)]) for node in linear]
    features = graph.outputs[0]
    graph.outputs.clear()
    graph.outputs.extend([features, *codes, *deviations, *moments])
    for value in graph.outputs:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    names = [_names(group) for group in (codes, deviations, moments)]
    return Probe(cut, str(features.name), *names)


def features_of(model: ir.Model) -> ir.Value:
    """The input of the last pooling over all pixels; the first output where there is none."""
    for node in reversed(list(model.graph)):
        if (pooled := _pooled(node)) is not None:
            return pooled
    return model.graph.outputs[0]


def _pooled(node: ir.Node) -> ir.Value | None:
    if is_op(node, "GlobalAveragePool", "GlobalMaxPool"):
        return node.inputs[0]
    if not is_op(node, "ReduceMean", "ReduceMax"):
        return None
    given = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = attr_ints(node, "axes", ()) if given is None else tuple(int(a) for a in given)
    return node.inputs[0] if {a % 4 for a in axes} == {2, 3} else None


def draw(node: ir.Node, rng: np.random.Generator) -> None:
    """Weights from the standard normal distribution, as in Lin et al., 2021; zeros for the bias.

    Their scale is He's (by fan-in) in effect: the output is normalised, and what it was before is
    part of the Zen-score.
    """
    old = constant_array(node.inputs[1])
    assert old is not None
    set_constant(node, 1, rng.standard_normal(old.shape).astype(np.float32))
    bias = constant_array(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    if bias is not None:
        set_constant(node, 2, np.zeros_like(bias))


def _free_batch(value: ir.Value) -> None:
    if value.shape is not None and len(value.shape) > 0:
        value.shape = ir.Shape(["N", *value.shape.dims[1:]])


def _names(values: Sequence[ir.Value]) -> tuple[str, ...]:
    return tuple(str(value.name) for value in values)


class _Writer:
    """Writes nodes into a graph, each right behind what it reads."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._axes_as_input = graph.opset_imports.get("", 0) >= AXES_AS_INPUT
        self._count = 0

    def normalised(self, node: ir.Node) -> tuple[ir.Value, ir.Value]:
        """(a layer's output less its mean over its deviation, read by all who read the layer; the deviation).

        Both per channel, over the batch and all pixels.
        """
        y = node.outputs[0]
        readers = [(use.node, use.idx) for use in y.uses()]
        weight = constant_array(node.inputs[1])
        assert weight is not None
        axes = [0, *range(2, weight.ndim)]
        mean = self._mean(node, y, axes)
        centred = self._node(mean.producer(), "Sub", [y, mean])
        square = self._node(centred.producer(), "Mul", [centred, centred])
        variance = self._mean(square.producer(), square, axes)
        epsilon = add_constant(self._graph, np.array(EPSILON, np.float32), "probe.epsilon")
        above_zero = self._node(variance.producer(), "Add", [variance, epsilon])
        deviation = self._node(above_zero.producer(), "Sqrt", [above_zero])
        result = self._node(deviation.producer(), "Div", [centred, deviation])
        for reader, index in readers:
            reader.replace_input_with(index, result)
        if y.is_graph_output():
            self._graph.outputs[list(self._graph.outputs).index(y)] = result
        return result, deviation

    def agreement(self, node: ir.Node) -> ir.Value:
        """[batch, batch]: activations of a layer on the same side of zero, less those on two sides."""
        x = node.inputs[0]
        zero = add_constant(self._graph, np.array(0.0, np.float32), "probe.zero")
        one = add_constant(self._graph, np.array(1.0, np.float32), "probe.one")
        minus = add_constant(self._graph, np.array(-1.0, np.float32), "probe.minus_one")
        on = self._node(node, "Greater", [x, zero])
        code = self._node(on.producer(), "Where", [on, one, minus])
        return self._products(self._node(code.producer(), "Flatten", [code], axis=1))

    def moment(self, value: ir.Value) -> ir.Value:
        """[channels, channels]: products of a map's channels, summed over the batch and all pixels."""
        turned = self._node(value.producer(), "Transpose", [value], perm=[1, 0, 2, 3])
        return self._products(self._node(turned.producer(), "Flatten", [turned], axis=1))

    def _products(self, flat: ir.Value) -> ir.Value:
        """[rows, rows]: the products of all pairs of rows."""
        turned = self._node(flat.producer(), "Transpose", [flat], perm=[1, 0])
        return self._node(turned.producer(), "MatMul", [flat, turned])

    def _mean(self, behind: ir.Node | None, value: ir.Value, axes: Sequence[int]) -> ir.Value:
        if self._axes_as_input:
            given = add_constant(self._graph, np.array(axes, np.int64), "probe.axes")
            return self._node(behind, "ReduceMean", [value, given], keepdims=1)
        return self._node(behind, "ReduceMean", [value], axes=list(axes), keepdims=1)

    def _node(
        self,
        behind: ir.Node | None,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        **attributes: AttributeValue,
    ) -> ir.Value:
        assert behind is not None
        node = ir.node(op_type, list(inputs), attributes=dict(attributes))
        self._count += 1
        node.outputs[0].name = f"probe.{self._count}"
        behind.append(node)
        return node.outputs[0]
