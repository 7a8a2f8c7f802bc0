"""What is done to a settled plan: gradient steps are kept where they help, and left out where not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import onnx_ir as ir
import pytest

from hwopt import finish
from hwopt.choice import Choice
from hwopt.damage.harm import Harm, as_written
from hwopt.damage.measure import Damage
from hwopt.errors import BudgetNotMet
from hwopt.ir import save_model
from hwopt.settings import settings
from hwopt.settle import Data, Settled
from hwopt.steps import choose, find, price_choices
from hwopt.trace import Listeners, ModelMade, Recorder
from hwopt.work import Work, open_work
from tests.graphs import classifier, output_of

pytest.importorskip("torch", reason="gradient steps need the train extra")


def damage(divergence: float, per_fold: tuple[float, ...] = (), precision: str = "fp32") -> Damage:
    folds = per_fold or (divergence,) * 2
    return Damage("kl", divergence, 1.0, None, None, None, None, 24, folds, precision=precision)


Run = tuple[Work, Sequence[Choice], Data, Settled]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A lossy plan for a small classifier, settled."""
    folder: Path = tmp_path_factory.mktemp("finish")
    model = classifier()
    save_model(model, folder / "model.onnx")
    x = np.random.default_rng(7).standard_normal((60, 3, 16, 16)).astype(np.float32)
    np.savez(folder / "calib.npz", allow_pickle=False, x=x, labels=output_of(model, x).argmax(axis=1))
    chosen = settings(max_divergence=0.5, tune=7)
    work = open_work(folder / "model.onnx", "edge-npu", chosen, folder / "calib.npz")
    found = find(work)
    problem, data = price_choices(work, found)
    assert data is not None
    return work, found.choices, data, choose(work, found, problem, data)


def after_steps(
    run: Run, monkeypatch: pytest.MonkeyPatch, measured: Damage, listeners: Listeners = ()
) -> Settled:
    """The plan after steps whose cross-fitted damage is this."""
    work, choices, data, settled = run

    def fake(reference: object, model: ir.Model, samples: object, **others: object) -> ir.Model:
        return model.clone()

    monkeypatch.setattr("hwopt.tuning.tune.tune", fake)
    harm = SimpleNamespace(of_tuned=lambda *_: measured)
    return finish.tuned(work, choices, replace(data, harm=cast(Harm, harm)), settled, listeners)


def test_steps_that_help_are_kept_and_their_figure_is_the_plans(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = run[3]
    assert settled.decision.damage is not None
    better = damage(0.5 * min(settled.decision.damage.per_fold))
    heard = Recorder()
    after = after_steps(run, monkeypatch, better, (heard,))
    assert after.tuned == 7
    assert heard.events == [ModelMade("tune", after.model)]
    assert after.decision.damage == better
    assert after.model is not settled.model
    assert after.after.latency_us == settled.after.latency_us


def test_steps_are_judged_against_the_same_folds_without_them(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = run[3].decision.damage
    assert known is not None
    before = float(np.mean(known.per_fold[:2]))
    assert after_steps(run, monkeypatch, damage(0.99 * before)).tuned == 7
    left_out = after_steps(run, monkeypatch, damage(1.01 * before))
    assert left_out.tuned == 0
    assert left_out.model is run[3].model
    assert "left out" in left_out.notes[-1]


def test_the_figure_of_the_file_comes_first() -> None:
    whole = replace(damage(0.1), beside=(damage(0.2, precision="int8"), damage(0.3, precision="int8 input")))
    assert as_written(whole, "fp32").divergence == 0.1
    told = as_written(whole, "int8")
    assert told.divergence == 0.2
    assert [d.divergence for d in told.beside] == [0.1, 0.3]
    assert not any(d.beside for d in told.beside)


def test_an_int8_form_beyond_the_limit_is_refused(run: Run) -> None:
    work = run[0]
    finish.require_within(work, damage(0.5), "the result's")
    with pytest.raises(
        BudgetNotMet, match=r"--max-divergence 0.5 cannot be met in int8: the result's int8 form"
    ):
        finish.require_within(work, damage(0.51), "the result's")
