"""Repair on EfficientNet-Lite0 and its calibration images: held-out damage stays where it was measured."""

from __future__ import annotations

import os
from pathlib import Path

import onnx_ir as ir
import pytest

from hwopt.calibration.data import load_calibration
from hwopt.damage.measure import price_damage
from hwopt.find import with_places
from hwopt.nodes import as_conv
from hwopt.passes.fuse_ibn import fuse
from hwopt.passes.prune_channels import prune_to
from hwopt.places import place_of
from hwopt.repair.reference import Reference
from hwopt.repair.saliency import annotate
from hwopt.widths import NamedGroup, named_groups

pytestmark = pytest.mark.skipif("HWOPT_DATA" not in os.environ, reason="HWOPT_DATA is not set")


@pytest.fixture(scope="module")
def reference() -> Reference:
    data = Path(os.environ["HWOPT_DATA"])
    model = ir.load(data / "efficientnet_lite0.onnx")
    return Reference(with_places(model), load_calibration(data / "imagenet" / "calib", model))


def test_fusing_a_residual_block_costs_little(reference: Reference) -> None:
    changed = reference.base.clone()
    node = next(node for node in changed.graph if node.outputs[0].name == "b2.d")
    conv = as_conv(node)
    assert conv is not None
    fuse(changed, place_of(node), (3, 3))
    # Without repair the agreement is 68%, with separate closed-form fits 96% and KL 0.024.
    found = price_damage(reference, changed, seed=0)
    assert found.divergence < 0.015
    assert found.agreement is not None
    assert found.agreement >= 0.92


def test_channels_chosen_with_data_cost_less(reference: Reference) -> None:
    def pruned() -> float:
        changed = reference.base.clone()
        group = next(
            found
            for found in named_groups(reference.base)
            if isinstance(found, NamedGroup) and any(v.name == "b1.d" for v in found.group.values)
        )
        prune_to(changed, group.ref, 80)
        return price_damage(reference, changed, seed=0).divergence

    by_magnitude = pruned()
    annotate(reference, seed=0)
    assert pruned() < 0.5 * by_magnitude
