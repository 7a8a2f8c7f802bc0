"""Seeded small models that a cost model is trained on, and whole networks that it is tested on.

70% are blocks of real network families with mutated channels, resolution, kernel, stride,
expansion and form, 45% of those cut down to one operator; 30% are operators with log-uniform
shapes. Sample i of a seed is always the same model, whatever else is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.cost.sampling_blocks import Draw
from hwopt.cost.sampling_cut import (
    affordable,
    cut,
    fused_groups,
    peak_elements,
    random_part,
    shape_key,
    without_unused_inputs,
)
from hwopt.cost.sampling_families import FAMILIES, FAMILY_WEIGHTS
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_ops import OPERATOR_WEIGHTS, OPERATORS, operator_net
from hwopt.cost.sampling_weights import random_style
from hwopt.errors import BadInput
from hwopt.wording import unknown

FAMILY_SHARE = 0.7
OPERATOR_FAMILY = "operators"
_CHOSEN = 2  # tells the random streams of chosen kinds apart from all others
INPUT_SIZES = (96, 112, 128, 160, 192, 224)
WHOLE_SIZES = (224, 192, 160, 128, 96)
ACTS = ("relu6", "relu6", "relu6", "relu", "relu", "relu", "hswish", "leaky", "leaky", "silu", "silu")
WIDTHS = (0.35, 0.5, 0.75, 0.85, 0.9, 1.0, 1.1, 1.25, 1.4)
SIZE_MULTIPLES = {
    **dict.fromkeys(("unet", "yolo", "efficientdet", "deeplab", "densenet", "convnext", "vit"), 32),
    "enet": 16,
}
SMALL_INPUTS = {"keyword_spotting": (32, 49, 64), "ssd": (160, 192, 224)}
BOTTLENECK_FAMILIES = ("mobilenet_v2", "efficientnet_lite", "mnasnet", "efficientnet_edgetpu", "mobilenet_v3")
WHOLE_NETWORK_LIMIT = 1.2e9  # multiply-adds
WHOLE_NETWORK_PEAK = 1_700_000  # elements at one time: 2 MiB of int8 with something to spare


@dataclass(frozen=True)
class Sample:
    """One model to measure, with where it comes from.

    name: unique within a campaign. family: the network family, or "operators". network: the
    member of the family that it was cut from, so that a fit can hold out whole networks.
    whole: the model is a complete network, to be measured as it is and not as a part.
    """

    name: str
    family: str
    network: str
    model: ir.Model
    whole: bool = False


def sample(seed: int, index: int) -> Sample:
    """The index-th training sample of a seed."""
    rng = np.random.default_rng((seed, index))
    if rng.random() >= FAMILY_SHARE:
        model = operator_net((seed, index), OPERATORS, OPERATOR_WEIGHTS)
        return Sample(_name("op", seed, index), OPERATOR_FAMILY, "", without_unused_inputs(model))
    family = _family(rng)
    while True:
        network = _network(family, _draw(rng, 0.35), _input_shape(family, rng), (seed, index))
        part = random_part(network, rng)
        if affordable(part):
            name = _name(family, seed, index)
            return Sample(name, family, name, part)


def samples(seed: int, start: int, stop: int) -> Iterator[Sample]:
    """Training samples start..stop-1 of a seed."""
    for index in range(start, stop):
        yield sample(seed, index)


def operators(seed: int, start: int, stop: int, kinds: Sequence[str]) -> Iterator[Sample]:
    """Random operators of these kinds only: for what a target's measurements have too few of.

    Raises BadInput for a kind that nothing draws.
    """
    for kind in kinds:
        if kind not in OPERATORS:
            raise BadInput(unknown("kind of operator", kind, sorted(OPERATORS)))
    chosen = {kind: OPERATORS[kind] for kind in kinds}
    for index in range(start, stop):
        model = operator_net((seed, _CHOSEN, index), chosen, {})
        yield Sample(_name("only", seed, index), OPERATOR_FAMILY, "", without_unused_inputs(model))


def whole_networks(seed: int, count: int = 76) -> Iterator[Sample]:
    """Complete networks of every family; inverted bottlenecks at 224, 192, 160, 128 and 96 first."""
    plan = [(family, size) for family in BOTTLENECK_FAMILIES for size in WHOLE_SIZES]
    others = [family for family in FAMILIES if family not in BOTTLENECK_FAMILIES]
    plan += [(family, size) for size in (128, 96, 160) for family in others]
    for index, (family, size) in enumerate(plan[:count]):
        yield _whole(seed, index, family, size)


def distinct_layers(origins: Iterable[Sample], ops: frozenset[str]) -> Iterator[Sample]:
    """The fused operators of the samples one by one, of these kinds only, each shape once.

    For accelerators whose oracle prices layers alone and looks at no weight value.
    """
    seen: set[tuple[object, ...]] = set()
    for origin in origins:
        for index, nodes in enumerate(fused_groups(origin.model, ops)):
            key = shape_key(nodes[0])
            if key not in seen:
                seen.add(key)
                name = f"{origin.name}.{index}"
                yield Sample(name, origin.family, origin.network, cut(origin.model, nodes))


def _whole(seed: int, index: int, family: str, size: int) -> Sample:
    rng = np.random.default_rng((seed, 1_000_000, index))
    multiple = SIZE_MULTIPLES.get(family, 1)
    shape = (1, 3, -(-size // multiple) * multiple, -(-size // multiple) * multiple)
    for attempt in range(50):
        network = _network(
            family, _draw(rng, float(rng.choice([0.05, 0.1, 0.2]))), shape, (seed, 1_000_000 + index, attempt)
        )
        if affordable(network, WHOLE_NETWORK_LIMIT) and peak_elements(network) <= WHOLE_NETWORK_PEAK:
            break
    name = f"whole-{family}-{size}-{seed}-{index}"
    return Sample(name, family, name, network, whole=True)


def _network(family: str, draw: Draw, shape: tuple[int, ...], seed: tuple[int, ...]) -> ir.Model:
    net = Net(family, random_style(draw.rng), seed)
    return net.model(*FAMILIES[family](net, draw, net.input(*shape)))


def _draw(rng: np.random.Generator, jitter: float) -> Draw:
    act = ACTS[int(rng.integers(len(ACTS)))]
    multiple = 8 if rng.random() < 0.8 else int(rng.choice([4, 16]))
    return Draw(rng, float(rng.choice(WIDTHS)), multiple, act, jitter)


def _family(rng: np.random.Generator) -> str:
    names = sorted(FAMILIES)
    share = np.array([FAMILY_WEIGHTS[name] for name in names], np.float64)
    return names[int(rng.choice(len(names), p=share / share.sum()))]


def _input_shape(family: str, rng: np.random.Generator) -> tuple[int, ...]:
    """Mostly the sizes that networks use, else any; sometimes wide, as text lines are."""
    sizes = SMALL_INPUTS.get(family, INPUT_SIZES)
    h = int(rng.choice(sizes)) if rng.random() < 0.7 else int(rng.integers(64, 225))
    w = h if rng.random() < 0.85 else int(np.clip(h * rng.uniform(0.5, 2.0), 48, 320))
    multiple = SIZE_MULTIPLES.get(family, 1)
    return 1, 3, -(-h // multiple) * multiple, -(-w // multiple) * multiple


def _name(kind: str, seed: int, index: int) -> str:
    return f"{kind}-{seed}-{index:05d}"
