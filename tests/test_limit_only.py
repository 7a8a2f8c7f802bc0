"""`--only-choice`: everything else keeps; names are those of a hints file; folds stay unless one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

import hwopt
from hwopt.errors import BadInput
from hwopt.ir import save_model
from hwopt.selection import LEFT_OUT
from tests.graphs import write_classifier
from tests.planted import plan_of_all, planted, plug_in
from tests.test_limit import normed

TARGET = "edge-npu"
FOLDS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model.onnx` with `calib.npz`, and `normed.onnx` with `plan.json` of two folds and three splits."""
    folder = tmp_path_factory.mktemp("only")
    write_classifier(folder)
    save_model(normed(), folder / "normed.onnx")
    some = ("planted-000", "planted-001", "planted-002")
    plan = plan_of_all(
        folder / "normed.onnx", TARGET, planted(), wanted=lambda choice: choice.id.split(":")[0] in some
    )
    (folder / "plan.json").write_text(plan.text())
    return folder


def search(folder: Path, *names: str, **options: object) -> hwopt.Result:
    return hwopt.optimize(
        folder / "model.onnx", target=TARGET, calib=folder / "calib.npz", max_divergence=0.5, refine=0,
        only_choice=names, **options,  # type: ignore[arg-type]
    )  # fmt: skip


def ids(result: hwopt.Result) -> list[str]:
    return [step.choice for step in result.plan.steps]


def test_only_the_named_choice_is_decided(folder: Path) -> None:
    result = search(folder, "form:conv-")
    rows = {row.id: row for row in result.report.choices}
    (named,) = [id for id in rows if id.startswith("form:")]
    assert ids(result) == [named]
    others = [row for id, row in rows.items() if id != named]
    assert len(others) >= 3
    assert {(row.chosen, row.reason) for row in others} == {("keep", LEFT_OUT)}
    assert LEFT_OUT not in rows[named].reason


def test_a_node_s_name_means_its_choice(folder: Path) -> None:
    result = search(folder, "width:ha")
    (step,) = result.plan.steps
    assert step.choice.startswith("width:")
    row = next(row for row in result.report.choices if row.id == step.choice)
    assert "ha" in row.nodes


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("width:", "--only-choice width: may mean width:.*, width:.*: write one of these ids"),
        ("widht:e", "--only-choice widht:e names no choice of this model"),
        ("canonical:x", "--only-choice canonical:x names no choice of this model: folds are exact"),
        ("weights:", "--only-choice weights: may mean|names no choice"),
    ],
)
def test_a_name_that_means_nothing_or_too_much_is_refused(folder: Path, name: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        search(folder, name)


def test_a_choice_of_lossy_values_needs_data(folder: Path) -> None:
    passes = ["prune_channels"]
    with pytest.raises(BadInput, match=r"--only-choice width:\w+: all its values need calibration data"):
        hwopt.optimize(
            folder / "model.onnx", target=TARGET, only_choice=["width:ha"], refine=0, passes=passes
        )


def test_what_the_hints_pin_must_not_be_left_out(folder: Path) -> None:
    hints = folder / "hints.toml"
    hints.write_text('schema_version = 1\n[pin]\n"form:conv-" = "keep"\n')
    with pytest.raises(BadInput, match=r"hints.toml: key 'pin.\"form:conv-\"' pins form:.* leaves out"):
        search(folder, "width:ha", hints=hints)


def test_of_the_folds_only_the_named_one_is_made(folder: Path) -> None:
    def run(*names: str) -> hwopt.Result:
        return hwopt.optimize(
            folder / "normed.onnx", target=TARGET, only_choice=names, refine=0, rewrite_limit=1000
        )

    every = [row.id for row in run().report.choices if row.kind == "canonical"]
    assert len(every) == FOLDS
    result = run(every[1])
    assert ids(result) == [every[1]]
    assert [row.id for row in result.report.choices] == [every[1]]


def test_a_fold_that_is_left_out_is_in_the_report(folder: Path) -> None:
    folds = hwopt.optimize(folder / "normed.onnx", target=TARGET, refine=0).report.choices[:FOLDS]
    result = hwopt.optimize(folder / "normed.onnx", target=TARGET, only_choice=[folds[1].id], refine=0)
    rows = [row for row in result.report.choices if row.kind == "canonical"]
    assert [row.id for row in rows] == [folds[1].id]
    skipped = [row for row in result.report.skipped if row.reason == LEFT_OUT]
    assert [(row.pass_, row.node) for row in skipped] == [("canonicalize", folds[0].nodes[0])]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["planted-001"], [0, 1, 3]),
        (["planted-001", "planted-002"], [0, 1, 3, 4]),
        (["{1}"], [1]),
        (["{0}", "planted-000"], [0, 2]),
    ],
)
def test_of_a_plan_only_the_named_steps_are_made(
    folder: Path, names: list[str], wanted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(monkeypatch, planted())
    plan = folder / "plan.json"
    whole = ids(hwopt.optimize(folder / "normed.onnx", target=TARGET, plan=plan, refine=0))
    assert len(whole) == FOLDS + 3
    result = hwopt.optimize(
        folder / "normed.onnx", target=TARGET, plan=plan, refine=0,
        only_choice=[name.format(*whole) for name in names],
    )  # fmt: skip
    assert ids(result) == [whole[number] for number in wanted]
    assert f"{len(wanted)} of {len(whole)} steps were made (--only-choice)" in result.report.notes
    first = hwopt.optimize(
        folder / "normed.onnx", target=TARGET, plan=plan, refine=0, rewrite_limit=1,
        only_choice=[name.format(*whole) for name in names],
    )  # fmt: skip
    assert ids(first) == ids(result)[:1]


def test_a_choice_that_the_plan_does_not_decide_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(monkeypatch, planted())
    with pytest.raises(BadInput, match="--only-choice planted-004 names no choice of the plan"):
        hwopt.optimize(
            folder / "normed.onnx", target=TARGET, plan=folder / "plan.json", only_choice=["planted-004"]
        )
