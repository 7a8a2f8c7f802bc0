"""A short training of a network that values of our passes gave: its accuracy, as far as time goes.

Every convolution gets a batch normalisation of its own for the time of the training: the canonical
model's are folded, and without one deep networks hardly train. Training starts from repaired weights, as
with a candidate, and learns the outputs of the shipped model on images drawn for it. Needs PyTorch.
"""

# torch is optional, and without it mypy sees its classes as Any.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from hwopt.nodes import is_op
from hwopt.resolution import image_inputs, resized
from hwopt.runtime import run
from hwopt.tuning.operators import Operator
from hwopt.tuning.program import Program, Step, compiled, needed
from models.figures.data import Images, Labels
from models.figures.train import shrink

EPSILON: Final = 1e-3
CALIBRATION: Final = 128  # images that batch normalisations are set from
DIVERGED: Final = 400


@dataclass(frozen=True)
class Recipe:
    """How to train; one pass over the images, the rate warmed up and then half a cosine to 0."""

    images: int = 1_600
    batch: int = 16
    rate: float = 5e-4
    weight_decay: float = 0.02
    warm_up: float = 0.1

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return self.images // self.batch

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, as a fraction of the highest."""
        done = step / self.steps
        return min(1.0, done / self.warm_up) * 0.5 * (1.0 + math.cos(math.pi * done))


class Normed:
    """A convolution followed by batch normalisation, in the place of its bias."""

    def __init__(self, conv: Operator, channels: int) -> None:
        self.norm = nn.BatchNorm2d(channels, eps=EPSILON, momentum=0.05)
        self.conv = conv
        self.keeping = False

    def __call__(self, inputs: Sequence[Tensor | None]) -> Sequence[Tensor]:
        plain = self.conv(inputs[:2])[0]
        if self.keeping:
            self._keep(plain, inputs[2] if len(inputs) > 2 else None)
        return (self.norm(plain),)

    def _keep(self, plain: Tensor, bias: Tensor | None) -> None:
        """Scale and shift with which the normalised output is what it was without normalising."""
        mean, variance = plain.mean(dim=(0, 2, 3)), plain.var(dim=(0, 2, 3))
        norm = self.norm
        norm.running_mean, norm.running_var = mean, variance
        norm.weight.copy_((variance + EPSILON).sqrt())
        norm.bias.copy_(mean if bias is None else mean + bias)


class Student(nn.Module):
    """A model of operators that have gradients, ready to be trained."""

    def __init__(self, model: ir.Model) -> None:
        super().__init__()
        self._image = next(iter(image_inputs(model)))
        outputs = [str(v.name) for v in model.graph.outputs]
        program = compiled(model, [self._image.name], outputs)
        nodes = needed(model, [self._image.name], outputs)
        self._normed: list[Normed] = []
        self._weights: dict[str, nn.Parameter] = {}
        self._program = replace(program, steps=tuple(self._steps(nodes, program)))
        self.norms = nn.ModuleList(normed.norm for normed in self._normed)
        self.params = nn.ParameterList(self._weights.values())

    @property
    def size(self) -> int:
        """The height of the images that the model was made for."""
        return self._image.size[0]

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch."""
        values = self._program.run({self._image.name: images}, self._weights)
        return next(iter(values.values()))

    def keep(self, images: Tensor) -> None:
        """Sets batch normalisations so that the model computes what it did without them."""
        self.eval()
        for normed in self._normed:
            normed.keeping = True
        with torch.no_grad():
            self(images)
        for normed in self._normed:
            normed.keeping = False
        self.train()

    def _steps(self, nodes: Sequence[ir.Node], program: Program) -> Iterator[Step]:
        for node, step in zip(nodes, program.steps, strict=True):
            trained = {"Conv": step.reads[1:2], "Gemm": step.reads[1:], "MatMul": step.reads[1:]}
            for name in trained.get(node.op_type, ()):
                if name is not None and name in program.constants:
                    self._weights[name] = nn.Parameter(program.constants[name].clone())
            if is_op(node, "Conv"):
                weight = program.constants[str(step.reads[1])]
                self._normed.append(Normed(step.operator, weight.shape[0]))
                step = replace(step, operator=self._normed[-1])
            yield step


def images_at(images: Tensor, size: int) -> Tensor:
    """Float images at another size."""
    return shrink(images.float(), size).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Truth:
    """Images to learn from, what the shipped model says of them, and labelled images to judge on."""

    images: Tensor
    teacher: Tensor
    judged: Tensor
    labels: Tensor

    @classmethod
    def of(cls, base: ir.Model, data: tuple[Images, Labels], judge: tuple[Images, Labels]) -> Truth:
        """base: the shipped model, whose outputs are learned."""
        logits = _run(base, torch.from_numpy(data[0]))
        images, labels = (torch.from_numpy(array) for array in judge)
        return cls(torch.from_numpy(data[0]), logits, images, labels)

    def of_model(self, model: ir.Model, recipe: Recipe, seed: int) -> tuple[float, float, float, float]:
        """(accuracy, divergence before training; accuracy, cross-entropy after it); one thread.

        model: repaired, so that the untrained one is run as it is.
        """
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        student = Student(model)
        student.keep(images_at(self.images[:CALIBRATION], student.size))
        untrained = _run(model, self.judged), _run(model, self.images[:DIVERGED])
        divergence = float(_divergence(untrained[1], self.teacher[:DIVERGED]))
        self._train(student, recipe, seed)
        logits = _outputs(student, self.judged)
        loss = float(nn.functional.cross_entropy(logits, self.labels))
        return self._hits(untrained[0]), divergence, self._hits(logits), loss

    def _train(self, student: Student, recipe: Recipe, seed: int) -> None:
        """The student learns the shipped model's outputs (Hinton et al., 2015)."""
        optimizer = torch.optim.AdamW(student.parameters(), recipe.rate, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.rate_at)
        order = torch.randperm(recipe.images, generator=torch.Generator().manual_seed(seed))
        for chosen in order.split(recipe.batch):
            loss = _divergence(student(images_at(self.images[chosen], student.size)), self.teacher[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    def _hits(self, logits: Tensor) -> float:
        """The share of the judged images that are put into the right class."""
        return float((logits.argmax(1) == self.labels).float().mean())


def _run(model: ir.Model, images: Tensor) -> Tensor:
    """Logits by ONNX Runtime, which is faster forward."""
    image = next(iter(image_inputs(model)))
    parts = [
        run(model, {image.name: resized(part.numpy().astype(np.float32), image.axes, image.size)})
        for part in images.split(200)
    ]
    return torch.from_numpy(np.concatenate([next(iter(part.values())) for part in parts]))


def _outputs(student: Student, images: Tensor) -> Tensor:
    student.eval()
    with torch.no_grad():
        logits = torch.cat([student(images_at(part, student.size)) for part in images.split(100)])
    student.train()
    return logits


def _divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of a batch from what is wanted, in nats."""
    return nn.functional.kl_div(
        logits.log_softmax(1), wanted.log_softmax(1), log_target=True, reduction="batchmean"
    )
