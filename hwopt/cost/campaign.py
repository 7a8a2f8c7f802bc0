"""What a measurement campaign draws, and how its rows join those that are there already.

General samples are blocks of real network families and random operators (hwopt.cost.sampling),
with whole networks to judge a fit by; samples around a model are its own operators and blocks,
mutated as a search would (hwopt.cost.sampling_around).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

import onnx_ir as ir

from hwopt.cost import dataset
from hwopt.cost.sampling import Sample, distinct_layers, operators, samples, whole_networks
from hwopt.cost.sampling_around import around
from hwopt.cost.sampling_groups import single_groups
from hwopt.errors import BadInput
from hwopt.ir import model_bytes
from hwopt.oracles.options import ORACLE_FACTS
from hwopt.target import Target

_KEY_DIGITS = 8

Shape = tuple[int, ...]
OnDrawn = Callable[[int], None]  # models drawn so far


@dataclass(frozen=True)
class CampaignPlan:
    """How many models to draw, and how they are cut.

    samples: parts of networks and operators, or variants of `model` where one is given.
    whole: complete networks of each of `whole_seeds` seeds in a row, held out by fits. layers: every
    part is cut into single layers and each distinct one is measured once: right for oracles that
    price layers alone. Where the oracle only times whole models the cut is along fused groups,
    and no whole network is drawn: it would teach nothing. only: kinds of hwopt.cost.sampling_ops;
    where given, samples are random operators of these kinds and nothing else.
    """

    samples: int
    whole: int = 0
    seed: int = 1
    layers: bool = False
    model: ir.Model | None = None
    whole_seeds: int = 1
    input_shapes: Mapping[str, Shape] = field(default_factory=dict)
    only: tuple[str, ...] = ()

    @property
    def drawn(self) -> int:
        """How many models will be drawn."""
        return self.samples + self.whole * self.whole_seeds


def draw(plan: CampaignPlan, target: Target, on_drawn: OnDrawn | None = None) -> Iterator[Sample]:
    """The samples of a campaign, made while they are asked for; a plan always draws the same ones.

    Raises BadInput where there is nothing to vary in the model that samples shall lie around.
    """
    parts = _parts(plan)
    seeds = range(plan.seed, plan.seed + plan.whole_seeds)
    whole = chain.from_iterable(whole_networks(seed, plan.whole) for seed in seeds)
    tell = on_drawn or (lambda drawn: None)
    if not plan.layers:
        return _counted(chain(parts, whole), tell, 0)
    if ORACLE_FACTS[target.oracle.name].totals_only:
        return single_groups(_counted(parts, tell, 0), target)
    ops = frozenset(op for engine in target.engines for op in engine.ops)
    layers = distinct_layers(_counted(parts, tell, 0), ops)
    return chain(layers, _counted(whole, tell, plan.samples))


def _parts(plan: CampaignPlan) -> Iterator[Sample]:
    """What is drawn beside whole networks."""
    if plan.model is not None:
        return _around(plan, plan.model)
    if plan.only:
        return operators(plan.seed, 0, plan.samples, plan.only)
    return samples(plan.seed, 0, plan.samples)


def _counted(items: Iterable[Sample], tell: OnDrawn, before: int) -> Iterator[Sample]:
    for number, item in enumerate(items, before + 1):
        tell(number)
        yield item


def _around(plan: CampaignPlan, model: ir.Model) -> Iterator[Sample]:
    """Variants of a model, under names that tell apart which model they are variants of."""
    key = hashlib.sha256(model_bytes(model)).hexdigest()[:_KEY_DIGITS]
    empty = True
    for item in around(model, plan.samples, plan.seed, plan.input_shapes):
        empty = False
        first, _, rest = item.name.partition("-")
        yield replace(item, name=f"{first}-{key}-{rest}", network=f"{first}-{key}")
    if empty and plan.samples:
        raise BadInput(f"model '{model.graph.name}': no operator in it that samples can be drawn around")


def merged(old: Iterable[dataset.Sample], new: Iterable[dataset.Sample]) -> list[dataset.Sample]:
    """Rows of both: what is new stands behind what was there, as incremental fits want it.

    A sample that was measured again takes the place that it had.
    """
    fresh: dict[str, list[dataset.Sample]] = {}
    for row in new:
        fresh.setdefault(row.sample, []).append(row)
    rows: list[dataset.Sample] = []
    placed: set[str] = set()
    for row in old:
        if row.sample not in fresh:
            rows.append(row)
        elif row.sample not in placed:
            rows += fresh[row.sample]
            placed.add(row.sample)
    return rows + [row for name, found in fresh.items() if name not in placed for row in found]
