"""Planted bugs in EfficientNet-Lite0: found in few checks, and shrunk to a few nodes."""

from __future__ import annotations

import os
from math import ceil, log2
from pathlib import Path
from time import perf_counter

import pytest

from hwopt.debug.bisect.material import Material
from hwopt.debug.bisect.run import Hunt, bisect_plan
from hwopt.ir import load_model
from hwopt.settings import Options
from tests.planted import Which, plan_of_all, planted, plug_in

DATA = os.environ.get("HWOPT_DATA")
MODEL = Path(DATA or "") / "efficientnet_lite0.onnx"
STEPS = 49  # one per convolution
SECONDS = 120

pytestmark = pytest.mark.skipif(not DATA, reason="HWOPT_DATA does not name a folder with EfficientNet-Lite0")


def hunted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **bug: Which | tuple[Which, Which]
) -> tuple[Hunt, float]:
    """What was found, and in how many seconds."""
    passes = planted(**bug)  # type: ignore[arg-type]
    plug_in(monkeypatch, passes)
    plan = folder / "plan.json"
    plan.write_text(plan_of_all(MODEL, "edge-npu", passes).text())
    begin = perf_counter()
    found = bisect_plan(MODEL, Material("edge-npu", Options(plan=plan, refine=0)), output=folder / "case")
    return found, perf_counter() - begin


def require_small_case(folder: Path, found: Hunt) -> None:
    assert found.case is not None
    assert found.case.verified
    assert found.case.nodes == load_model(folder / "case" / "before.onnx").graph.num_nodes() < 10


@pytest.mark.parametrize(("bug", "kind"), [("wrong", "numeric"), ("raising", "crash")])
def test_a_single_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str, kind: str) -> None:
    found, seconds = hunted(tmp_path, monkeypatch, **{bug: "b9.d"})
    assert found.culprit is not None
    assert (found.culprit.nodes, found.bisection.finding.kind) == (("b9.d",), kind)
    assert (found.bisection.planned, found.partners) == (STEPS, ())
    assert found.bisection.checks <= ceil(log2(STEPS)) + 2
    assert seconds < SECONDS
    require_small_case(tmp_path, found)


def test_a_pair_that_is_right_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, seconds = hunted(tmp_path, monkeypatch, pair=("b6.p", "b7.d"))
    assert found.culprit is not None
    assert found.culprit.nodes[0] == "b7.d"
    assert [partner.nodes for partner in found.partners] == [("b6.p",)]
    assert seconds < SECONDS
    require_small_case(tmp_path, found)
