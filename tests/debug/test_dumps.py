"""Dumps: every model of a run loads, passes the checker, runs, and the index says what happened."""

from __future__ import annotations

import gc
import json
import weakref
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import hwopt
from hwopt.choice import Value
from hwopt.debug.dumps.files import file_name, with_shapes
from hwopt.debug.dumps.listener import EXACT, INITIAL, Dumps, dumping
from hwopt.errors import BadInput, PassFailed
from hwopt.find import canonicalise
from hwopt.inputs import random_feeds
from hwopt.ir import load_model, save_model
from hwopt.rewrite import carry_out_steps
from hwopt.runtime import Session
from hwopt.settings import settings
from hwopt.trace import ModelMade
from hwopt.work import Work, open_work
from tests.conftest import Hwopt
from tests.planted import planted, plug_in
from tests.small_models import MODELS, offered

TARGET = "edge-npu"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dumps")
    for name in ("branches", "folds", "classifier", "hardswish"):
        save_model(MODELS[name](), folder / f"{name}.onnx")
    return folder


def dumped(model: Path, place: Path, **more: Any) -> hwopt.Result:
    return hwopt.optimize(model, target=TARGET, dump_dir=place, refine=0, **more)


def index_of(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "index.json").read_text("utf-8"))
    return found


def holds(place: Path, original: Path) -> list[str]:
    """Loads, checks and runs every dump, and holds its outputs against the original's; their names."""
    model = load_model(original)
    feeds = random_feeds(model, {}, 5, 2)
    expected = Session(model).run(feeds)
    names = []
    for entry in index_of(place)["dumps"]:
        path = place / entry["file"]
        proto = onnx.load(path)
        onnx.checker.check_model(proto, full_check=True)
        named = {info.name for info in (*proto.graph.value_info, *proto.graph.output)}
        assert {name for node in proto.graph.node for name in node.output} <= named, "shapes for a viewer"
        for name, value in Session(path.read_bytes()).run(feeds).items():
            known = np.asarray(expected[name], np.float32)
            gap = np.abs(np.asarray(value, np.float32) - known)
            assert gap.max() <= 1e-4 * np.abs(known).max(), (entry["file"], name)
        names.append(entry["file"])
    assert sorted(names) == sorted(path.name for path in place.glob("*.onnx"))
    return names


def test_a_model_with_nested_ifs_and_folds_around_them(folder: Path, tmp_path: Path) -> None:
    dumped(folder / "branches.onnx", tmp_path / "d")
    names = holds(tmp_path / "d", folder / "branches.onnx")
    assert names[:2] == ["00-input.onnx", "01-canonicalize.onnx"]
    [_, entry, *_] = index_of(tmp_path / "d")["dumps"]
    removed = {node["name"]: node["into"] for node in entry["changes"]["nodes_removed"]}
    assert removed == {"d": ["c"], "i": ["z"], "k": ["y"]} or removed.keys() == {"d", "i", "k", "two"}
    assert {"z", "y"} <= set(entry["changes"]["nodes_edited"])
    proto = onnx.load(tmp_path / "d" / names[1])
    [branch] = [node for node in proto.graph.node if node.op_type == "If"]
    assert {entry.key for entry in branch.metadata_props} == {"hwopt.sources", "hwopt.rewrites"}
    assert {node.op_type for a in branch.attribute for node in a.g.node} >= {"If", "Relu", "Neg"}


def test_each_step_is_a_model_of_its_own_and_the_last_is_that_of_the_pass(
    folder: Path, tmp_path: Path
) -> None:
    dumped(folder / "folds.onnx", tmp_path / "passes")
    dumped(folder / "folds.onnx", tmp_path / "steps", dump_each=True)
    holds(tmp_path / "steps", folder / "folds.onnx")
    passes, steps = index_of(tmp_path / "passes")["dumps"], index_of(tmp_path / "steps")["dumps"]
    told = [step for entry in passes for step in entry["steps"]]
    assert [step for entry in steps for step in entry["steps"]] == told
    assert [step["step"] for step in told] == list(range(1, len(told) + 1))
    assert len(steps) == len(told) + 1
    last = [
        (tmp_path / name / entries[-1]["file"]) for name, entries in (("passes", passes), ("steps", steps))
    ]
    assert last[0].read_bytes() == last[1].read_bytes()
    assert steps[1]["file"].startswith("001-canonicalize-canonical-")
    for one, two in pairwise(steps):
        assert two["nodes_before"] == one["nodes_after"]
        assert two["cost_before"] == one["cost_after"]


def test_figures_are_those_of_the_report_and_of_the_files(folder: Path, tmp_path: Path) -> None:
    result = dumped(folder / "folds.onnx", tmp_path / "d", output=tmp_path / "out.onnx")
    index = index_of(tmp_path / "d")
    first, last = index["dumps"][0], index["dumps"][-1]
    assert index["ended"] == {
        "how": "delivered",
        "stage": "write",
        "step": last["steps"][-1]["step"],
        "reason": "",
    }
    report: Any = result.report
    before, after = report.before, report.after
    for entry, costs in ((first, before), (last, after)):
        assert entry["cost_after"]["latency_us"]["value"] == pytest.approx(costs.latency_us.value)
        assert entry["cost_after"]["weight_bytes"] == costs.weight_bytes.value
        assert (
            entry["nodes_after"] == costs.nodes == len(onnx.load(tmp_path / "d" / entry["file"]).graph.node)
        )
    for entry in index["dumps"]:
        assert all(output["within_tolerance"] for output in entry["outputs"])
        assert entry["checker"] == "passed"
    assert last["outputs"][0]["max_rel"] == pytest.approx(report.verification.outputs[0].max_rel)
    tensors = {v.name for v in load_model(tmp_path / "d" / first["file"]).graph.initializers.values()}
    assert set(last["changes"]["tensors_removed"]) >= tensors - set(
        after_names(tmp_path / "d" / last["file"])
    )


def after_names(path: Path) -> list[str]:
    return [str(v.name) for v in load_model(path).graph.initializers.values()]


def test_the_same_run_dumps_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        dumped(folder / "classifier.onnx", tmp_path / name)
    files = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("one", "two")]
    assert files[0] == files[1]
    for name in files[0]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


# --- the folder --------------------------------------------------------------------------


def test_a_folder_that_holds_something_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="is not empty: name a new folder or pass --force"):
        dumped(folder / "folds.onnx", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(BadInput, match="is a file: name a folder"):
        dumped(folder / "folds.onnx", tmp_path / "notes.txt")


def test_with_force_the_dumps_of_an_earlier_run_go_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "d"
    dumped(folder / "folds.onnx", place, dump_each=True)
    (place / "07-mine.onnx").write_text("mine")
    index = index_of(place)
    index["dumps"][0]["file"] = "../folds.onnx"  # a file that only says it is a dump
    (place / "index.json").write_text(json.dumps(index))
    (tmp_path / "folds.onnx").write_text("mine")
    (place / "000-input.onnx").unlink()
    dumped(folder / "branches.onnx", place, force=True)
    names = {entry["file"] for entry in index_of(place)["dumps"]}
    assert {path.name for path in place.iterdir()} == names | {"index.json", "07-mine.onnx"}
    assert (tmp_path / "folds.onnx").read_text() == "mine"


def test_bad_input_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        dumped(tmp_path / "there is none.onnx", tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_each_without_a_folder_is_refused(hwopt: Hwopt, folder: Path) -> None:
    done = hwopt("optimize", str(folder / "folds.onnx"), "--target", TARGET, "--dry-run", "--dump-each")
    assert done.returncode == 2
    assert done.stderr == "hwopt: --dump-each goes with --dump-dir: name the folder for the dumps\n"
    with pytest.raises(BadInput, match="goes with --dump-dir"), dumping(None, each=True, force=False):
        pass


def test_names_of_files_are_harmless() -> None:
    name = file_name(3, 2, "a pass", "form:../../etc", "k=3 é\n")
    assert name == "03-a-pass-form-..-..-etc-k=3.onnx"
    assert len(file_name(3, 2, "x" * 500)) < 120


# --- runs that go another way ------------------------------------------------------------


def test_a_run_that_fails_leaves_its_dumps_and_says_where(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(monkeypatch, planted(raising=1))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(PassFailed):
        dumped(folder / "folds.onnx", tmp_path / "d")
    index = index_of(tmp_path / "d")
    assert index["ended"]["how"] == "failed"
    assert index["ended"]["reason"].startswith("PassFailed: ")
    assert [entry["file"] for entry in index["dumps"]][:2] == ["00-input.onnx", "01-canonicalize.onnx"]
    holds(tmp_path / "d", folder / "folds.onnx")


def test_a_run_that_goes_on_without_a_rewrite_is_a_second_attempt(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(monkeypatch, planted(raising=1))
    dumped(folder / "folds.onnx", tmp_path / "d", keep_going=True)
    index = index_of(tmp_path / "d")
    assert index["attempts"] == 2
    assert [entry["attempt"] for entry in index["dumps"]] == [1, 1, 2]
    assert index["ended"]["how"] == "delivered"
    assert index["dumps"][1]["steps"] == index["dumps"][2]["steps"]
    assert index["dumps"][2]["cost_before"] == index["dumps"][0]["cost_after"]
    holds(tmp_path / "d", folder / "folds.onnx")


@pytest.fixture
def work(folder: Path) -> Work:
    return open_work(folder / "classifier.onnx", TARGET, settings(refine=0))


def begun(work: Work, place: Path, each: bool = False) -> Dumps:
    place.mkdir()
    dumps = Dumps(place, each)
    dumps.begin(work)
    return dumps


def lossy(model: ir.Model) -> list[Value]:
    return [value for value in offered(model) if value.pass_name == "prune_channels"][:2]


def test_weights_are_initial_until_the_repair(work: Work, tmp_path: Path) -> None:
    dumps = begun(work, tmp_path / "d")
    base = canonicalise(work.model, work.passes, work.target, listeners=(dumps,)).model
    changed = carry_out_steps(base, lossy(base)[:1], (dumps,))
    dumps(ModelMade("repair", changed.clone()))
    entries = dumps.index("delivered").dumps
    assert [entry.weights for entry in entries[1:]] == [INITIAL, "repaired"]
    assert [entry.file for entry in entries[1:]] == ["01-prune_channels.onnx", "02-repair.onnx"]
    assert not isinstance(entries[1].outputs, str)
    assert not all(output.within_tolerance for output in entries[1].outputs)
    assert entries[1].changes is not None
    assert set(entries[1].changes.tensors_changed) >= {"e"}, "a map that has fewer channels"


def test_a_second_plan_goes_on_in_the_numbering_from_the_model_behind_the_folds(
    folder: Path, tmp_path: Path
) -> None:
    work = open_work(folder / "hardswish.onnx", TARGET, settings(refine=0))
    dumps = begun(work, tmp_path / "d")
    base = canonicalise(work.model, work.passes, work.target, listeners=(dumps,)).model
    [dense] = [value for value in offered(base) if value.pass_name == "densify_depthwise"]
    carry_out_steps(base, [dense], (dumps,))
    carry_out_steps(base, [dense], (dumps,))
    index = dumps.index("delivered")
    assert index.attempts == 2
    entries = index.dumps
    assert [entry.attempt for entry in entries][-2:] == [1, 2]
    assert [entry.file for entry in entries][-1] == f"{len(entries) - 1:02d}-densify_depthwise.onnx"
    assert entries[-1].steps[0].step == entries[-2].steps[0].step
    assert entries[-1].cost_before == entries[-2].cost_before
    assert all(entry.weights == EXACT for entry in entries[1:])


@pytest.mark.parametrize("raises", [True, False])
def test_a_step_that_leaves_pieces_is_not_shown_as_a_model(work: Work, tmp_path: Path, raises: bool) -> None:
    """A pass that breaks down half way, or does not even notice."""

    def broken(model: ir.Model) -> None:
        model.graph.remove(next(node for node in model.graph if node.op_type == "Add"))
        if raises:
            raise RuntimeError("half way")

    wide = next(value for value in offered(work.model) if value.pass_name == "align_channels")
    dumps = begun(work, tmp_path / "d")
    bad = Value("c", wide.kind, "v", wide.pass_name, wide.risk, wide.stage, (), broken)
    with pytest.raises(PassFailed) if raises else nullcontext():
        carry_out_steps(work.model, [wide, bad], (dumps,))
    [_, entry] = dumps.index("failed").dumps
    assert entry.file is None
    assert ("next step of this pass broke down" if raises else "the model cannot be written") in entry.note
    assert [step.step for step in entry.steps] == ([1] if raises else [1, 2])
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["00-input.onnx"]


def test_no_model_is_kept(work: Work, tmp_path: Path) -> None:
    dumps = begun(work, tmp_path / "d")
    changed = carry_out_steps(work.model, lossy(work.model)[:1], (dumps,))
    dumps(ModelMade("repair", changed))
    alive = weakref.ref(changed.graph)
    del changed
    gc.collect()
    assert alive() is None


def test_shapes_are_added_for_a_viewer_and_what_is_known_stays(folder: Path) -> None:
    model = load_model(folder / "branches.onnx")
    shown = with_shapes(model)
    found = {str(v.name): v.shape for node in shown.graph for v in node.outputs}
    assert found["c"] is not None
    assert list(found["c"])[1:] == [4, 6, 6]
    assert not isinstance(found["c"][0], int), "the batch stays free"
    assert all(v.shape is None for node in model.graph for v in node.outputs if not v.is_graph_output())


def test_the_command_writes_the_folder(hwopt: Hwopt, folder: Path, tmp_path: Path) -> None:
    done = hwopt("optimize", str(folder / "folds.onnx"), "--target", TARGET, "--dry-run", "--refine", "0",
                 "--dump-dir", str(tmp_path / "d"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(holds(tmp_path / "d", folder / "folds.onnx")) >= 2
