"""`--rewrite-limit N`: the first N steps of the plan, as they are numbered, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import hwopt
from hwopt.debug.bisect.stepwise import Stepwise, steps_of_run
from hwopt.errors import BadInput, BudgetNotMet
from hwopt.find import canonicalise, with_places
from hwopt.ir import load_model, model_bytes, save_model
from hwopt.registry import all_passes, load_target
from hwopt.report.schema import Outcome
from hwopt.settings import settings
from hwopt.steps import find
from hwopt.trace import ModelMade, Recorder, RewriteApplied
from hwopt.verify import EXACT_TOLERANCE
from hwopt.work import open_work
from tests.graphs import CLASSIFIER, CLASSIFIER_WEIGHTS, Weights, model_of, output_of
from tests.planted import plan_of_all, planted, plug_in

TARGET = "edge-npu"
FOLDS, SPLITS = 2, 3  # steps of the exact plan

NORMED = CLASSIFIER.replace(
    "s = Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(x, ws, bs)",
    "s0 = Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(x, ws, bs)\n"
    "  s = BatchNormalization(s0, ns, nb, nm, nv)",
).replace(
    "h = Conv<kernel_shape=[1,1]>(r, wh, bh)",
    "h0 = Conv<kernel_shape=[1,1]>(r, wh, bh)\n  h = BatchNormalization(h0, ms, mb, mm, mv)",
)
NORMED_WEIGHTS: Weights = {
    **CLASSIFIER_WEIGHTS, "ns": (12,), "nb": (12,), "nm": (12,), "nv": (12,),
    "ms": (60,), "mb": (60,), "mm": (60,), "mv": (60,),
}  # fmt: skip


def normed() -> ir.Model:
    """The classifier with two BatchNorms to be folded, variances positive."""
    model = model_of(NORMED, NORMED_WEIGHTS)
    for name in ("nv", "mv"):
        value = model.graph.initializers[name]
        assert value.const_value is not None
        array = np.abs(value.const_value.numpy()) + np.float32(0.5)
        value.const_value = ir.tensor(array.astype(np.float32), name=name)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model.onnx`, `calib.npz`, and `exact.json`: the plan of both folds and some exact values."""
    folder = tmp_path_factory.mktemp("limit")
    model = normed()
    save_model(model, folder / "model.onnx")
    x = np.random.default_rng(7).standard_normal((60, 3, 16, 16)).astype(np.float32)
    np.savez(folder / "calib.npz", x=x, labels=output_of(model, x).argmax(axis=1))
    few = [f"planted-{number:03d}" for number in range(SPLITS)]
    plan = plan_of_all(
        folder / "model.onnx", TARGET, planted(), wanted=lambda choice: choice.id.split(":")[0] in few
    )
    assert len(plan.steps) == FOLDS + SPLITS
    (folder / "exact.json").write_text(plan.text())
    return folder


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, planted())


def stepwise(folder: Path, plan: Path, calib: Path | None = None) -> Stepwise:
    work = open_work(folder / "model.onnx", TARGET, settings(plan=plan), calib)
    return steps_of_run(work, find(work))


def graph_of(model: ir.Model) -> list[object]:
    """The structure: nodes with their attributes, and what kind of constants there are."""
    nodes = [
        (n.op_type, n.name, [v and v.name for v in n.inputs], [v.name for v in n.outputs], str(n.attributes))
        for n in model.graph
    ]
    return [*nodes, *((name, str(v.shape), v.dtype) for name, v in model.graph.initializers.items())]


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize("limit", [*range(1, FOLDS + SPLITS + 1), 1000])
def test_the_first_steps_are_made_and_no_others(folder: Path, tmp_path: Path, limit: int) -> None:
    heard, out = Recorder(), tmp_path / "out.onnx"
    result = hwopt.optimize(
        folder / "model.onnx", target=TARGET, plan=folder / "exact.json", rewrite_limit=limit, refine=0,
        output=out, listeners=(heard,),
    )  # fmt: skip
    made = min(limit, FOLDS + SPLITS)
    steps = stepwise(folder, folder / "exact.json")
    expected = steps.structure(range(1, made + 1))
    assert model_bytes(result.model) == model_bytes(expected)
    x = np.random.default_rng(1).standard_normal((3, 3, 16, 16)).astype(np.float32)
    before, after = (output_of(load_model(p), x) for p in (folder / "model.onnx", out))
    assert np.abs(after - before).max() <= EXACT_TOLERANCE * np.abs(before).max()
    told = [event for event in heard.events if isinstance(event, RewriteApplied)]
    assert [event.step for event in told] == list(range(1, made + 1))
    whole = json.loads((folder / "exact.json").read_text())["steps"]
    assert json.loads((tmp_path / "out.plan.json").read_text())["steps"] == whole[:made]
    assert f"{made} of {FOLDS + SPLITS} steps were made (--rewrite-limit {limit})" in result.report.notes
    assert result.report.outcome == Outcome.CHANGED


@pytest.mark.usefixtures("offered")
def test_no_steps_give_the_input(folder: Path, tmp_path: Path) -> None:
    result = hwopt.optimize(
        folder / "model.onnx", target=TARGET, plan=folder / "exact.json", rewrite_limit=0, refine=0,
        output=tmp_path / "none.onnx",
    )  # fmt: skip
    assert (tmp_path / "none.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    assert json.loads((tmp_path / "none.plan.json").read_text())["steps"] == []
    assert result.report.outcome == Outcome.UNCHANGED


@pytest.mark.parametrize("limit", [1, FOLDS, FOLDS + 1])
def test_what_comes_behind_the_last_step_may_break_down(
    folder: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(monkeypatch, planted(raising=1))
    result = hwopt.optimize(
        folder / "model.onnx", target=TARGET, plan=folder / "exact.json", rewrite_limit=limit, refine=0
    )
    assert len(result.plan.steps) == limit


def test_only_so_many_folds_are_made() -> None:
    model, target = with_places(normed()), load_target(TARGET)
    every = canonicalise(model, all_passes(), target)
    assert len(every.folds) == FOLDS
    for most in range(FOLDS + 2):
        some = canonicalise(model, all_passes(), target, most=most)
        expected = every.folds[:most]
        assert [(f.choice, f.name) for f in some.folds] == [(f.choice, f.name) for f in expected]
        assert len(some.model.graph) == len(model.graph) - len(expected)


@pytest.fixture(scope="module")
def lossy(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what a whole search gives, and a cache that all searches here share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWOPT_CACHE", str(tmp_path_factory.mktemp("cache")))
        searched(folder, "whole")
        plan = json.loads((folder / "whole.plan.json").read_text())
        assert len(plan["steps"]) > FOLDS + 1
        yield folder


def searched(folder: Path, name: str, **options: object) -> hwopt.Result:
    return hwopt.optimize(
        folder / "model.onnx", target=TARGET, calib=folder / "calib.npz", max_divergence=0.5, refine=0,
        output=folder / f"{name}.onnx", force=True, **options,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_search_goes_on_with_the_first_steps_of_its_plan(lossy: Path) -> None:
    heard, limit = Recorder(), FOLDS + 1
    result = searched(lossy, "first", rewrite_limit=limit, listeners=(heard,))
    steps = json.loads((lossy / "whole.plan.json").read_text())["steps"]
    assert json.loads((lossy / "first.plan.json").read_text())["steps"] == steps[:limit]
    expected = stepwise(lossy, lossy / "whole.plan.json", lossy / "calib.npz").structure(range(1, limit + 1))
    assert graph_of(result.model) == graph_of(expected)
    assert f"{limit} of {len(steps)} steps were made (--rewrite-limit {limit})" in result.report.notes
    told = [event for event in heard.events if isinstance(event, RewriteApplied)]
    assert [event.step for event in told] == list(range(1, limit + 1))  # those of the search are not told
    assert len([event for event in heard.events if isinstance(event, ModelMade)]) == 1
    replayed = searched(lossy, "replayed", plan=lossy / "first.plan.json")
    assert (lossy / "replayed.onnx").read_bytes() == (lossy / "first.onnx").read_bytes()
    assert replayed.report.accuracy == result.report.accuracy  # of these steps, not of the whole plan
    assert result.report.accuracy != lossy_accuracy(lossy)


def lossy_accuracy(folder: Path) -> object:
    return searched(folder, "again", plan=folder / "whole.plan.json").report.accuracy


def test_a_limit_beyond_the_plan_gives_the_bytes_of_a_plain_run(lossy: Path) -> None:
    searched(lossy, "all", rewrite_limit=1000)
    assert (lossy / "all.onnx").read_bytes() == (lossy / "whole.onnx").read_bytes()
    assert (lossy / "all.plan.json").read_bytes() == (lossy / "whole.plan.json").read_bytes()


def test_lossy_steps_need_their_data_and_those_before_them_none(lossy: Path) -> None:
    plan = lossy / "whole.plan.json"
    first = min(stepwise(lossy, plan, lossy / "calib.npz").lossy)
    assert first > 1
    result = hwopt.optimize(lossy / "model.onnx", target=TARGET, plan=plan, rewrite_limit=first - 1, refine=0)
    assert len(result.plan.steps) == first - 1
    with pytest.raises(BadInput, match="the plan has LOSSY steps: give the calibration data") as error:
        hwopt.optimize(lossy / "model.onnx", target=TARGET, plan=plan, rewrite_limit=first, refine=0)
    assert error.value.exit_code == 2
    np.savez(lossy / "other.npz", x=np.random.default_rng(8).random((20, 3, 16, 16), np.float32))
    with pytest.raises(BadInput, match="other calibration data than --calib gives"):
        hwopt.optimize(
            lossy / "model.onnx", target=TARGET, plan=plan, rewrite_limit=first, refine=0,
            calib=lossy / "other.npz",
        )  # fmt: skip


def test_a_limit_that_is_asked_for_holds(lossy: Path) -> None:
    with pytest.raises(BudgetNotMet, match="the plan breaks a limit: --max-latency"):
        searched(lossy, "no", plan=lossy / "whole.plan.json", rewrite_limit=1, max_latency="-50%")
    assert not (lossy / "no.onnx").exists()
