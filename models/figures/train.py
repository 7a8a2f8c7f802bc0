"""Train the network and write the ONNX file. Needs torch, which nothing else here does.

    python -m models.figures.train -o models/figures/figures.onnx

Images are drawn once and varied by quarter turns, mirroring and swapped colour channels,
none of which changes a figure's class. Training begins on shrunken images, which costs
a quarter, and ends on whole ones (progressive resizing; Howard 2018, fast.ai). On one
thread the result depends on nothing but the seed, the version of torch and the
processor's instruction set.
"""

# torch is optional, and without it mypy sees its classes as Any.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.figures.data import CLASSES, SIZE, Images, Labels, make
from models.figures.network import (
    BLOCKS,
    BN_EPSILON,
    HEAD,
    IMAGE_MEAN,
    IMAGE_SCALE,
    STEM,
    Block,
    ConvBn,
    Weights,
    build,
)

REPORT_EVERY: Final = 250
SIZES: Final = ((0.4, SIZE // 2), (0.7, 3 * SIZE // 4), (1.0, SIZE))
"""Up to which part of the steps, images of which height and width."""


@dataclass(frozen=True)
class Recipe:
    """How to train; the learning rate is warmed up, then follows half a cosine to 0."""

    images: int = 40_000
    epochs: float = 5.0
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warm_up: float = 0.05
    threads: int = 1
    seed: int = 0

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return int(self.epochs * self.images / self.batch)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, as a fraction of the highest."""
        done = step / self.steps
        warm = min(1.0, done / self.warm_up)
        return warm * 0.5 * (1.0 + math.cos(math.pi * done))

    def size_at(self, step: int) -> int:
        """Height and width in pixels that images are shrunk to."""
        return next(size for until, size in SIZES if step < until * self.steps)


class TorchBlock(nn.Module):
    """A block of the table; a residual one begins as the identity (Goyal et al. 2017)."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.residual = block.residual
        self.convs = nn.Sequential(*(_conv_bn(conv) for conv in block.convs()))
        if block.residual:
            nn.init.zeros_(self.convs[-1][1].weight)

    def forward(self, value: Tensor) -> Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride."""
        result: Tensor = self.convs(value)
        return value + result if self.residual else result


def _conv_bn(conv: ConvBn) -> nn.Sequential:
    parts: list[nn.Module] = [
        nn.Conv2d(
            conv.inputs,
            conv.outputs,
            conv.kernel,
            conv.stride,
            conv.padding,
            groups=conv.groups,
            bias=False,
        ),
        nn.BatchNorm2d(conv.outputs, eps=BN_EPSILON, momentum=0.02),
    ]
    if conv.relu6:
        parts.append(nn.ReLU6(inplace=True))
    return nn.Sequential(*parts)


class Network(nn.Module):
    """Images (N x 3 x 64 x 64, 0 to 255) to logits (N x classes)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv_bn(STEM)
        self.blocks = nn.ModuleList(TorchBlock(block) for block in BLOCKS)
        self.head = _conv_bn(HEAD)
        self.classifier = nn.Linear(HEAD.outputs, len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch."""
        value = self.stem((images - IMAGE_MEAN) / IMAGE_SCALE)
        for block in self.blocks:
            value = block(value)
        logits: Tensor = self.classifier(self.head(value).mean(dim=(2, 3)))
        return logits

    def weights(self) -> Weights:
        """The trained arrays under the names that `network.build` expects."""
        named = {f"classifier.{name}": value for name, value in self.classifier.state_dict().items()}
        for conv, parts in self._convs():
            convolution, norm = parts[0], parts[1]
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            named[f"{conv.name}.weight"] = convolution.weight
            named[f"{conv.name}.bn.scale"] = norm.weight
            named[f"{conv.name}.bn.bias"] = norm.bias
            moments = norm.state_dict()
            named[f"{conv.name}.bn.mean"] = moments["running_mean"]
            named[f"{conv.name}.bn.var"] = moments["running_var"]
        return {name: value.detach().numpy().copy() for name, value in named.items()}

    def _convs(self) -> list[tuple[ConvBn, nn.Sequential]]:
        pairs = [(STEM, self.stem), (HEAD, self.head)]
        for block, module in zip(BLOCKS, self.blocks, strict=True):
            pairs += zip(block.convs(), module.convs, strict=True)
        return pairs


def vary(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, mirror and recolour a batch: one way for all, so that it costs little."""
    turns = int(torch.randint(4, (1,), generator=generator))
    images = torch.rot90(images, turns, dims=(2, 3))
    if int(torch.randint(2, (1,), generator=generator)):
        images = images.flip(3)
    return images[:, torch.randperm(3, generator=generator)]


def shrink(images: Tensor, size: int) -> Tensor:
    """Smaller images, smoothed as a camera would."""
    if images.shape[2] == size:
        return images
    return functional.interpolate(images, (size, size), mode="bilinear", antialias=True)


def batches(recipe: Recipe, images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """`recipe.steps` batches of varied float images and their labels, reshuffled every epoch."""
    generator = torch.Generator().manual_seed(recipe.seed)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(recipe.steps):
        if len(order) < recipe.batch:
            order = torch.randperm(len(images), generator=generator)
        chosen, order = order[: recipe.batch], order[recipe.batch :]
        batch = shrink(vary(images[chosen], generator).float(), recipe.size_at(step))
        yield batch.contiguous(memory_format=torch.channels_last), labels[chosen]


class Learner:
    """A network in training."""

    def __init__(self, recipe: Recipe) -> None:
        self.network: Network = Network().to(memory_format=torch.channels_last)
        parameters = self.network.parameters()
        self._optimizer = torch.optim.AdamW(
            parameters, recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, recipe.rate_at)
        self._loss_of = nn.CrossEntropyLoss()

    def learn(self, images: Tensor, labels: Tensor) -> float:
        """One optimiser step; the batch's loss before it."""
        loss = self._loss_of(self.network(images), labels)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._schedule.step()
        return float(loss.item())

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """The share of images that the network puts into the right class."""
        self.network.eval()
        with torch.no_grad():
            logits = [self.network(batch.float()) for batch in images.split(50)]
        self.network.train()
        return float((torch.cat(logits).argmax(1) == labels).float().mean())


def train(recipe: Recipe, data: tuple[Images, Labels], check: tuple[Images, Labels]) -> Network:
    """Train on `data`, print progress and accuracy on `check`, return the network."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    learner = Learner(recipe)
    images, labels = (torch.from_numpy(part) for part in data)
    check_images, check_labels = (torch.from_numpy(part) for part in check)
    started, loss = time.monotonic(), 0.0
    for step, batch in enumerate(batches(recipe, images, labels), start=1):
        loss += learner.learn(*batch) / REPORT_EVERY
        if step % REPORT_EVERY == 0:
            score = learner.accuracy(check_images, check_labels)
            spent = time.monotonic() - started
            progress = f"step {step}/{recipe.steps} loss {loss:.3f} accuracy {score:.4f}"
            print(f"{progress} {spent:.0f} s", flush=True)
            loss = 0.0
    return learner.network


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: draw the images, train, write."""
    default = Recipe()
    parser = argparse.ArgumentParser(prog="python -m models.figures.train")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--images", type=int, default=default.images)
    parser.add_argument("--epochs", type=float, default=default.epochs)
    parser.add_argument("--threads", type=int, default=default.threads)
    parser.add_argument("--seed", type=int, default=default.seed)
    options = parser.parse_args(arguments)
    recipe = Recipe(images=options.images, epochs=options.epochs, threads=options.threads, seed=options.seed)
    trained = train(recipe, make("train", recipe.images), make("calib", 400))
    onnx.save(build(trained.weights()), options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
