"""Random small networks with every operator that the channel analysis understands."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper
import onnx_ir as ir

from hwopt.places import assign_places

SIZE = 8  # height and width throughout


@dataclass
class Builder:
    """A graph in the making; every method appends an operator and returns its output's name."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    width: dict[str, int] = field(default_factory=dict)

    def node(self, op: str, inputs: list[str], channels: int, **attributes: object) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        made = oh.make_node(op, inputs, [name], name=f"n_{name}")
        made.attribute.extend(oh.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(made)
        self.width[name] = channels
        return name

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(onnx.numpy_helper.from_array(array, name))
        return name

    def normal(self, *shape: int) -> str:
        return self.constant((0.5 * self.rng.standard_normal(shape)).astype(np.float32))

    def conv(self, x: str, out: int, kernel: int = 3, group: int = 1) -> str:
        weight = self.normal(out, self.width[x] // group, kernel, kernel)
        pads = [kernel // 2] * 4
        return self.node("Conv", [x, weight, self.normal(out)], out, group=group, pads=pads)

    def depthwise(self, x: str, multiplier: int = 1) -> str:
        return self.conv(x, self.width[x] * multiplier, group=self.width[x])

    def transposed(self, x: str, out: int) -> str:
        weight = self.normal(self.width[x], out, 3, 3)
        return self.node("ConvTranspose", [x, weight, self.normal(out)], out, pads=[1] * 4)

    def norm(self, x: str) -> str:
        count = self.width[x]
        variance = self.constant(np.abs(self.rng.standard_normal(count)).astype(np.float32) + 0.5)
        parameters = [self.normal(count), self.normal(count), self.normal(count), variance]
        return self.node("BatchNormalization", [x, *parameters], count)

    def act(self, x: str) -> str:
        kind = str(self.rng.choice(["Relu", "HardSwish", "Sigmoid", "PRelu", "Scale"]))
        if kind == "PRelu":
            return self.node("PRelu", [x, self.normal(self.width[x], 1, 1)], self.width[x])
        if kind == "Scale":
            return self.node("Mul", [x, self.normal(1, self.width[x], 1, 1)], self.width[x])
        return self.node(kind, [x], self.width[x])

    def gate(self, x: str) -> str:
        """Squeeze and excite, as convolutions or as Gemm between Flatten and Reshape."""
        count = self.width[x]
        if self.rng.random() < 0.5:
            pooled = self.node("ReduceMean", [x], count, axes=[2, 3], keepdims=1)
            squeezed = self.node("Relu", [self.conv(pooled, 4, 1)], 4)
            gate = self.node("Sigmoid", [self.conv(squeezed, count, 1)], count)
        else:
            pooled = self.node("Flatten", [self.node("GlobalAveragePool", [x], count)], count)
            squeezed = self.node("Relu", [self.gemm(pooled, count, 4)], 4)
            flat = self.node("HardSigmoid", [self.gemm(squeezed, 4, count)], count)
            gate = self.node("Reshape", [flat, self.constant(np.array([-1, count, 1, 1]))], count)
        return self.node("Mul", [x, gate], count)

    def gemm(self, x: str, rows: int, out: int) -> str:
        return self.node("Gemm", [x, self.normal(rows, out), self.normal(out)], out)

    def concat(self, *inputs: str) -> str:
        return self.node("Concat", list(inputs), sum(self.width[x] for x in inputs), axis=1)

    def split(self, x: str) -> list[str]:
        halves = [self.width[x] // 2, self.width[x] - self.width[x] // 2]
        names = [f"split{len(self.nodes)}_{i}" for i in range(2)]
        inputs = [x, self.constant(np.array(halves))] if halves[0] != halves[1] else [x]
        self.nodes.append(oh.make_node("Split", inputs, names, axis=1))
        self.width.update(zip(names, halves, strict=True))
        return names

    def moved(self, x: str) -> str:
        """There and back: transposed, padded, resized by one."""
        count = self.width[x]
        last = self.node("Transpose", [x], count, perm=[0, 2, 3, 1])
        back = self.node("Transpose", [self.node("Abs", [last], count)], count, perm=[0, 3, 1, 2])
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        large = self.node("Resize", [back, "", scales], count, mode="nearest")
        return self.node("MaxPool", [large], count, kernel_shape=[2, 2], strides=[2, 2])


def random_net(seed: int, steps: int = 12) -> ir.Model:
    """A classifier over 3x8x8 images with ten outputs."""
    made = Builder(np.random.default_rng(seed))
    rng = made.rng
    made.width["x"] = 3
    pool = [made.act(made.conv("x", 8))]
    for _ in range(steps):
        x = pool[int(rng.integers(max(len(pool) - 3, 0), len(pool)))]
        alike = [t for t in pool if made.width[t] == made.width[x]]
        match str(
            rng.choice(["conv", "dw", "group", "norm", "add", "concat", "split", "gate", "up", "move"])
        ):
            case "conv":
                pool.append(made.act(made.conv(x, int(rng.choice([4, 6, 8, 12])), int(rng.choice([1, 3])))))
            case "dw":
                pool.append(made.act(made.depthwise(x, int(rng.choice([1, 1, 2])))))
            case "group":
                pool.append(made.act(made.conv(made.conv(x, 8), 12, group=4)))
            case "norm":
                pool.append(made.act(made.norm(x)))
            case "add":
                pool.append(made.node("Add", [x, alike[int(rng.integers(len(alike)))]], made.width[x]))
            case "concat":
                pool.append(made.concat(x, pool[int(rng.integers(len(pool)))]))
            case "split":
                pool.extend(made.split(x))
            case "gate":
                pool.append(made.gate(x))
            case "up":
                pool.append(made.transposed(x, 6))
            case "move":
                pool.append(made.moved(x))
    last = made.node("AveragePool", [pool[-1]], made.width[pool[-1]], kernel_shape=[4, 4], strides=[4, 4])
    count = made.width[last]
    flat = made.node("Flatten", [last], count) if seed % 2 else made.node(
        "Reshape", [last, made.constant(np.array([0, -1]))], count)  # fmt: skip
    made.width["y"] = 10
    made.nodes.append(oh.make_node("Gemm", [flat, made.normal(4 * count, 10)], ["y"]))
    graph = oh.make_graph(
        made.nodes, f"random{seed}",
        [oh.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [oh.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 10])], made.weights,
    )  # fmt: skip
    model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", 16)], ir_version=8)
    loaded = ir.from_proto(model)
    assign_places(loaded)
    return loaded
