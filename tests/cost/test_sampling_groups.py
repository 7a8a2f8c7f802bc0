"""Samples for oracles that time whole models: every one is a single group, and none comes twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from hwopt.cost.campaign import CampaignPlan, draw
from hwopt.cost.measure import rows_of
from hwopt.cost.sampling import samples
from hwopt.cost.sampling_groups import single_groups
from hwopt.oracles.protocol import Measurement
from hwopt.partition import partition
from hwopt.registry import load_target
from hwopt.shapes import infer_shapes
from hwopt.signature import VIEW, Signature
from hwopt.target.file import Fusion, OracleSpec, Target


@dataclass(frozen=True)
class Rules:
    """Fusion rules under a name that a test can show."""

    name: str
    fusions: tuple[Fusion, ...]


NONE = Rules("none", ())
SOME = Rules("clip", (Fusion(frozenset({"Conv", "DepthwiseConv"}), (frozenset({"Clip"}),)),))


@pytest.fixture
def target() -> Target:
    return replace(load_target("ethos-u55-256"), oracle=OracleSpec("command"))


def alone(signatures: Sequence[Signature]) -> Counter[Signature]:
    return Counter(replace(s, producers=(), consumers=(), shared=0) for s in signatures)


@pytest.mark.parametrize("rules", [NONE, SOME], ids=lambda rules: rules.name)
def test_every_group_of_the_samples_is_there_once(rules: Rules, target: Target) -> None:
    target = replace(target, fusions=rules.fusions)
    origins = list(samples(9, 0, 12))
    expected: list[Signature] = []
    for origin in origins:
        for group in partition(origin.model, infer_shapes(origin.model, {}), target).subgraphs:
            if group.priced and group.kind != VIEW:
                expected.append(group.signature)
    dropped: Counter[str] = Counter()
    cut = list(single_groups(origins, target))
    rows = [row for item in cut for row in rows_of(item, Measurement(5.0), target, dropped)]
    assert dropped == {}
    assert [row.latency_us for row in rows] == [5.0] * len(cut)
    assert alone([row.signature for row in rows]) == Counter(alone(expected).keys())
    assert {item.family for item in cut} <= {origin.family for origin in origins}


def test_a_campaign_for_a_command_draws_groups_and_no_networks(target: Target) -> None:
    drawn = list(draw(CampaignPlan(6, whole=2, layers=True), target))
    assert drawn
    assert not any(item.whole for item in drawn)
    parts = list(draw(CampaignPlan(6, whole=2, layers=False), target))
    assert sum(item.whole for item in parts) == 2
