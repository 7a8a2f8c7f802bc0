"""Samples cut along the target's fused groups: for oracles that only know the time of a whole model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from hwopt.cost.sampling import Sample
from hwopt.cost.sampling_cut import cut
from hwopt.partition import partition
from hwopt.shapes import infer_shapes
from hwopt.signature import VIEW, Signature
from hwopt.target import Target


def single_groups(origins: Iterable[Sample], target: Target) -> Iterator[Sample]:
    """The groups that the target runs as one, each as a model of its own; equal ones once.

    Two groups are equal that differ in their neighbours only: alone, neither has any.
    """
    seen: set[Signature] = set()
    for origin in origins:
        parts = partition(origin.model, infer_shapes(origin.model, {}), target).subgraphs
        for index, group in enumerate(parts):
            alone = replace(group.signature, producers=(), consumers=(), shared=0)
            if group.priced and group.kind != VIEW and alone not in seen:
                seen.add(alone)
                model = cut(origin.model, group.nodes)
                yield Sample(f"{origin.name}.{index}", origin.family, origin.network, model)
