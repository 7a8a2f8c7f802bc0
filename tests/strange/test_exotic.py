"""Models with strange features: nothing crashes, nothing changes but what may, nothing is lost.

All of them through all that the passes can do; through `optimize` a sample by default, with `-m slow` all.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

import tests.strange.exotic  # noqa: F401 -- fills EXOTIC
from hwopt.choice import Risk, Stage, in_order
from hwopt.errors import RewriteFailed
from hwopt.find import canonicalise, with_places
from hwopt.ir import load_model, save_model
from hwopt.pipeline import optimize
from hwopt.registry import all_passes
from hwopt.rewrite import carry_out_steps
from hwopt.target import read_target
from tests.small_models import FOLDER, offered
from tests.strange.exotic.models import EXOTIC, Exotic
from tests.strange.holding import broken

TARGETS = ("edge-npu", "ethos-u55-256")


def _sampled(every: int, start: int) -> list[object]:
    """Every so many of the models, the others as slow ones."""
    return [
        pytest.param(name, marks=() if number % every == start else pytest.mark.slow)
        for number, name in enumerate(EXOTIC)
    ]


def _written(found: Exotic, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(found.proto.SerializeToString())
    return path


def rewritten(model: ir.Model) -> ir.Model:
    """Every fold, and then one exact value of every choice, as far as they can stand together."""
    changed = canonicalise(model, all_passes(), read_target(FOLDER / TARGETS[0])).model
    taken = set[str]()
    for value in in_order(v for v in offered(changed) if v.risk == Risk.EXACT):
        if value.stage == Stage.CANONICALISE or value.choice in taken:
            continue
        try:
            changed = carry_out_steps(changed, [value])
        except RewriteFailed:
            continue
        taken.add(value.choice)
    return changed


@pytest.mark.parametrize("name", EXOTIC)
def test_whatever_the_passes_can_do_at_once_is_exact(name: str, tmp_path: Path) -> None:
    """No price is asked: everything that is legal is done."""
    found = EXOTIC[name]()
    changed = rewritten(with_places(load_model(_written(found, tmp_path))))
    saved = save_model(changed, tmp_path / "changed.onnx")
    assert broken(found, saved.path.read_bytes()) == []


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", _sampled(40, 7))
def test_optimize_gives_back_a_model_that_does_the_same(name: str, target: str, tmp_path: Path) -> None:
    found = EXOTIC[name]()
    path, out = _written(found, tmp_path), tmp_path / "out.onnx"
    result = optimize(path, target=target, output=out, input_shapes=dict(found.given))
    assert broken(found, out.read_bytes()) == []
    if found.runs and found.changes and target == TARGETS[0]:
        assert result.plan.steps, "nothing was rewritten: the model shows nothing"
    if not found.runs:
        assert out.read_bytes() == path.read_bytes(), "nobody can prove what was rewritten"
