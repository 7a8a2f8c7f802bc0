"""Cases on disk: what is in them, and that the line they promise really shows the failure."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.choice import Value
from hwopt.debug.bisect.stepwise import opened_untried
from hwopt.debug.shrink.case import FILES, Case, Story, found_anew, write_case
from hwopt.debug.shrink.search import Piece, shrink
from hwopt.errors import BadInput, PassFailed
from hwopt.inputs import random_feeds
from hwopt.ir import save_model
from hwopt.plan import Plan, read_plan
from hwopt.rewrite import rewrite
from hwopt.runtime import Feeds, Session
from hwopt.settings import settings
from hwopt.work import Work, open_work
from tests.conftest import Hwopt
from tests.debug.shrink_nets import differs, labels
from tests.graphs import classifier, model_of
from tests.planted import plan_of_all, planted, plug_in, plugged_in

TARGET = "edge-npu"
DATA = os.environ.get("HWOPT_DATA", "")

NORMED = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,3,8,8] x) => (float[N,4,8,8] y) {
  s = Conv<kernel_shape=[1,1]>(x, ws)
  n = BatchNormalization(s, scale, shift, mean, var)
  sa = Relu(n)
  d = Conv<kernel_shape=[1,1]>(sa, wd, bd)
  m = BatchNormalization(d, scale, shift, mean, var)
  y = Relu(m)
}
"""
NORMED_WEIGHTS = {
    "ws": (4, 3, 1, 1), "wd": (4, 4, 1, 1), "bd": (4,), "scale": (4,), "shift": (4,), "mean": (4,),
}  # fmt: skip


def crashes(piece: ir.Model, values: Sequence[Value], feeds: Feeds) -> bool:
    del feeds
    try:
        rewrite(piece, values)
    except PassFailed:
        return True
    return False


@dataclass(frozen=True)
class Hunt:
    """A model's file, its plan's steps, and those of them that fail."""

    path: Path
    work: Work
    values: tuple[Value, ...]
    numbers: tuple[int, ...]

    def piece(self, fails: Callable[..., bool] = differs) -> Piece:
        feeds = random_feeds(self.work.model, {}, 0)
        return shrink(self.work.model, self.values, feeds, fails, replays=found_anew(fails, self.work))

    def case(
        self, folder: Path, fails: Callable[..., bool] = differs, kind: str = "numeric", force: bool = False
    ) -> Case:
        story = Story(kind, "it differs", self.numbers, TARGET)
        return write_case(folder, self.piece(fails), self.values, self.work, story, fails, force)


def hunt(path: Path, plan: Plan, folder: Path, wanted: Callable[[Value], bool]) -> Hunt:
    """The steps of a plan that a model's file has, and the numbers of those that are wanted."""
    file = folder / "whole.plan.json"
    file.write_text(plan.text(), "utf-8")
    work = open_work(path, TARGET, settings(plan=file, refine=0))
    steps, _ = opened_untried(work)
    chosen = {number: value for number, value in enumerate(steps.values, start=1) if wanted(value)}
    return Hunt(path, work, tuple(chosen.values()), tuple(chosen))


def planted_hunt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *names: str, **bugs: object) -> Hunt:
    """The classifier with planted bugs; the failing steps are those at the convolutions of these names."""
    passes = planted(**bugs)  # type: ignore[arg-type]
    plug_in(monkeypatch, passes)
    path = tmp_path / "net.onnx"
    save_model(classifier(), path)
    places = {"s": 0, "e": 1, "d": 2, "p": 3, "h": 4}
    numbers = {places[name] for name in names}
    plan = plan_of_all(path, TARGET, passes)
    return hunt(path, plan, tmp_path, lambda value: value.parameters.get("convolution") in numbers)


def test_a_numeric_case_and_its_line_in_a_real_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hwopt: Hwopt
) -> None:
    found = planted_hunt(tmp_path, monkeypatch, "d", wrong="d")
    case = found.case(tmp_path / "case")
    words = shlex.split(case.reproduction)
    assert words[:3] == ["hwopt", "bisect", str(tmp_path / "case" / "before.onnx")]
    assert case.verified
    assert case.nodes == 2
    shown = hwopt(*words[1:], "--json", **plugged_in(tmp_path, wrong="d"))
    assert shown.returncode == 1, shown.stderr
    told = json.loads(shown.stdout)
    assert (told["outcome"], told["culprit"]["nodes"]) == ("found", ["d"])


def test_the_files_are_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted_hunt(tmp_path, monkeypatch, "d", wrong="d")
    folder = tmp_path / "case"
    found.case(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        name for name in FILES if not name.endswith(".data")
    )
    before, after = (onnx.load(folder / name) for name in ("before.onnx", "after.onnx"))
    for model in (before, after):
        onnx.checker.check_model(model, full_check=True)
    with np.load(folder / "inputs.npz", allow_pickle=False) as arrays:
        assert sorted(arrays.files) == sorted(value.name for value in before.graph.input)
        feeds = dict(arrays)
    one, two = (Session(model.SerializeToString()).run(feeds)["da"] for model in (before, after))
    assert not np.allclose(one, two, atol=0.1)  # one is what is added to every channel, before it is clipped
    plan = read_plan(folder / "plan.json")
    assert plan.model_sha256 == hashlib.sha256((folder / "before.onnx").read_bytes()).hexdigest()
    assert [step.pass_name for step in plan.steps] == ["planted"]
    told = json.loads((folder / "case.json").read_text("utf-8"))
    assert told["model"] == {"path": str(found.path), "sha256": found.work.sha256}
    assert [step["step"] for step in told["steps"]] == list(found.numbers) == [3]
    assert told["nodes"] == 2
    assert told["versions"]["onnxruntime"]
    assert told["invalid"] == {}


def test_the_same_bytes_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted_hunt(tmp_path, monkeypatch, "d", wrong="d")
    folder = tmp_path / "case"

    def once() -> dict[str, bytes]:
        found.case(folder, force=True)
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    assert once() == once()


def test_a_crash_has_a_plan_and_no_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted_hunt(tmp_path, monkeypatch, "p", raising="p")
    case = found.case(tmp_path / "case", crashes, "crash")
    assert not (tmp_path / "case" / "after.onnx").exists()
    assert case.verified
    assert shlex.split(case.reproduction)[1] == "bisect"
    assert len(read_plan(tmp_path / "case" / "plan.json").steps) == 1


def test_a_pair_that_fails_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted_hunt(tmp_path, monkeypatch, "e", "p", pair=("e", "p"))
    case = found.case(tmp_path / "case")
    assert case.verified
    assert "bisect" in case.reproduction
    assert len(read_plan(tmp_path / "case" / "plan.json").steps) == 2
    assert labels(found.piece().before) == ["e", "ea", "d", "da", "p", "r"]


def test_a_step_that_the_passes_do_not_find_in_the_piece_has_a_line_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hwopt: Hwopt
) -> None:
    found = planted_hunt(tmp_path, monkeypatch, "h", wrong=4)  # the fifth convolution: a piece has no fifth
    many = replace(found, work=replace(found.work, passes=planted(wrong=40)))
    case = many.case(tmp_path / "case")
    assert not (tmp_path / "case" / "plan.json").exists()
    words = shlex.split(case.reproduction)
    assert words[:2] == ["hwopt", "compare"]
    assert case.verified
    shown = hwopt(*words[1:])
    assert shown.returncode == 1, shown.stdout + shown.stderr


def test_folds_are_steps_too(tmp_path: Path) -> None:
    """The fold of one BatchNormalization, among two of the same shape, which the piece must tell apart."""
    model = model_of(NORMED, NORMED_WEIGHTS)
    variance = ir.tensor(np.array([0.5, 1.0, 2.0, 4.0], np.float32), name="var")
    for node in model.graph:
        if node.op_type == "BatchNormalization":
            node.replace_input_with(4, model.graph.initializers.setdefault("var", ir.val("var")))
    model.graph.initializers["var"].const_value = variance
    path = tmp_path / "net.onnx"
    save_model(model, path)
    plan = plan_of_all(path, TARGET, (), wanted=lambda choice: False)
    found = hunt(path, plan, tmp_path, lambda value: len(value.places) > 1)
    assert len(found.values) == 2
    for number in (0, 1):
        one = replace(found, values=found.values[number:][:1], numbers=found.numbers[number:][:1])

        def folds(piece: ir.Model, values: Sequence[Value], feeds: Feeds) -> bool:
            changed = rewrite(piece, values)
            return Session(changed).run(feeds).keys() == Session(piece).run(feeds).keys()

        case = one.case(tmp_path / f"case{number}", folds, "command")
        steps = read_plan(tmp_path / f"case{number}" / "plan.json").steps
        assert (len(steps), case.nodes) == (1, 2)
        piece = onnx.load(tmp_path / f"case{number}" / "before.onnx").graph
        assert [node.output[0] for node in piece.node] == [["s", "n"], ["d", "m"]][number]
        assert not case.verified  # nothing is wrong with these folds
        assert case.reproduction == ""


def test_nothing_is_overwritten_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = planted_hunt(tmp_path, monkeypatch, "d", wrong="d")
    folder = tmp_path / "case"
    found.case(folder)
    with pytest.raises(BadInput, match="--force"):
        found.case(folder)
    (folder / "note.txt").write_text("mine", "utf-8")
    crash = replace(found, values=found.values)
    crash.case(folder, force=True)
    assert (folder / "note.txt").read_text("utf-8") == "mine"

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BadInput, match="No space left"):
        found.case(tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".other")]


@pytest.mark.skipif(not DATA, reason="needs EfficientNet-Lite0: set HWOPT_DATA")
@pytest.mark.parametrize("bug", ["wrong", "raising"])
def test_lite0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    passes = planted(**{bug: "b6.d"})  # type: ignore[arg-type]
    plug_in(monkeypatch, passes)
    path = Path(DATA) / "efficientnet_lite0.onnx"
    found = hunt(
        path, plan_of_all(path, TARGET, passes), tmp_path,
        lambda value: value.parameters.get("convolution") == 19,
    )  # fmt: skip
    kind, fails = ("numeric", differs) if bug == "wrong" else ("crash", crashes)
    case = found.case(tmp_path / "case", fails, kind)
    assert (case.nodes, case.verified) == (2, True)
    assert (tmp_path / "case" / "before.onnx").stat().st_size < 200_000
