"""Ids of choices and names of values are those of the network, whoever exported it, and how."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import onnx
import pytest

import hwopt
from hwopt.choice import Risk
from hwopt.find import canonicalise, find_choices, with_places
from hwopt.ir import load_model, model_sha256, save_model
from hwopt.registry import all_passes, load_target
from tests.channel_nets import random_net
from tests.reexport import reexport

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "models" / "figures" / "figures.onnx"
TARGET = "ethos-u55-256"  # lists sparsity, too: every pass has something to offer


def decisions(path: Path) -> set[tuple[str, str]]:
    """(choice, value) of every fold and every value of any risk."""
    target, passes = load_target(TARGET), all_passes()
    canonical = canonicalise(with_places(load_model(path)), passes, target)
    choices, _ = find_choices(canonical.model, passes, target, frozenset(Risk))
    return {(fold.choice, fold.name) for fold in canonical.folds} | {
        (choice.id, value.name) for choice in choices for value in choice.values
    }


@pytest.mark.parametrize(
    ("seed", "options"),
    [(1, {}), (2, {"strip": True}), (3, {"interface": True})],
    ids=["renamed", "nameless", "interface renamed"],
)
def test_ids_survive_renaming_and_reordering(tmp_path: Path, seed: int, options: dict[str, bool]) -> None:
    reexport(FIGURES, tmp_path / "again.onnx", seed, **options)
    before, after = onnx.load(FIGURES).graph, onnx.load(tmp_path / "again.onnx").graph
    assert not {node.name for node in before.node} & {node.name for node in after.node}
    expected = decisions(FIGURES)
    assert len(expected) > 200
    assert decisions(tmp_path / "again.onnx") == expected


@pytest.mark.parametrize("seed", range(12))
def test_ids_survive_in_networks_with_branches(tmp_path: Path, seed: int) -> None:
    """Residuals, gates, concatenations, splits: many topological orders, and twins."""
    save_model(random_net(seed), tmp_path / "net.onnx")
    reexport(tmp_path / "net.onnx", tmp_path / "again.onnx", seed, interface=True)
    assert decisions(tmp_path / "again.onnx") == decisions(tmp_path / "net.onnx")


def test_another_order_is_really_another(tmp_path: Path) -> None:
    save_model(random_net(0), tmp_path / "net.onnx")
    reexport(tmp_path / "net.onnx", tmp_path / "again.onnx", 1)
    orders = [[n.op_type for n in onnx.load(tmp_path / f).graph.node] for f in ("net.onnx", "again.onnx")]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


@pytest.mark.parametrize("name", ["efficientnet_lite0.onnx", "fetched/ppocr_det.onnx"])
def test_ids_of_real_networks_survive(tmp_path: Path, name: str) -> None:
    folder = os.environ.get("HWOPT_DATA")
    if folder is None or not (Path(folder) / name).is_file():
        pytest.skip(f"needs {name} in the folder that HWOPT_DATA names")
    reexport(Path(folder) / name, tmp_path / "again.onnx", 5, interface=True, strip=True)
    assert decisions(tmp_path / "again.onnx") == decisions(Path(folder) / name)


def test_ids_survive_an_export_by_pytorch_under_other_names(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("needs the extra: pip install 'hwopt[train]'")
    import torch

    from models.figures.train import Network

    torch.manual_seed(0)
    network = Network().eval()
    outer = torch.nn.Sequential()
    outer.add_module("anything", network)  # every parameter and node gets another prefix
    for module, name, image in ((network, "one.onnx", "image"), (outer, "two.onnx", "x")):
        with pytest.warns(DeprecationWarning, match="legacy"):
            torch.onnx.export(
                module, (torch.zeros(1, 3, 64, 64),), str(tmp_path / name), dynamo=False,
                opset_version=13, input_names=[image],
            )  # fmt: skip
    one, two = (onnx.load(tmp_path / name).graph for name in ("one.onnx", "two.onnx"))
    assert {node.name for node in one.node} != {node.name for node in two.node}
    assert decisions(tmp_path / "one.onnx") == decisions(tmp_path / "two.onnx")


def test_hints_and_plans_work_on_another_export(tmp_path: Path) -> None:
    reexport(FIGURES, tmp_path / "again.onnx", 7)
    (tmp_path / "hints.toml").write_text('schema_version = 1\n[pin]\n"form:conv-b7048e8bc9" = "dense"\n')
    made = [
        hwopt.optimize(path, target="edge-npu", refine=0, hints=tmp_path / "hints.toml")
        for path in (FIGURES, tmp_path / "again.onnx")
    ]
    steps = [{(step.choice, step.value) for step in result.plan.steps} for result in made]
    assert steps[0] == steps[1]
    assert ("form:conv-b7048e8bc9", "dense") in steps[0]
    plan = made[0].plan.to_json()
    plan["model_sha256"] = model_sha256(tmp_path / "again.onnx")
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    replayed = hwopt.optimize(
        tmp_path / "again.onnx", target="edge-npu", refine=0, plan=tmp_path / "plan.json"
    )
    assert {(step.choice, step.value) for step in replayed.plan.steps} == steps[0]
    assert replayed.report.after == made[1].report.after
