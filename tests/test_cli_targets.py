"""`hwopt targets ...`: a target of one's own from nothing to a checked cost model, on a made-up oracle."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import onnx
import onnx_ir as ir
import pytest

from hwopt import registry
from hwopt.cli.entry import main
from hwopt.cost import dataset
from hwopt.oracles.protocol import Answer, Job, Measurement, Progress, Row
from hwopt.partition import partition
from hwopt.shapes import infer_shapes
from hwopt.signature import VIEW
from hwopt.target import Target, read_target
from tests.analytic import AnalyticCostModel

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "models" / "figures" / "figures.onnx"
SMALL = ("--depth", "3", "--rounds", "30", "--members", "2")

Run = Callable[..., tuple[int, str, str]]


class MadeUp:
    """Prices every group by formula; `stop_after` jobs it behaves as if the user pressed Ctrl-C."""

    name = "zigzag"
    source = "compiled"
    identity = "made up 1"
    asked = 0
    stop_after = 10**9
    factor = 1.0

    def __init__(self, target: Target, workers: int | None = None) -> None:
        self._target = target

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        if MadeUp.asked + len(jobs) > MadeUp.stop_after:
            raise KeyboardInterrupt
        MadeUp.asked += len(jobs)
        return [self._answer(ir.from_proto(onnx.load_model_from_string(job.model))) for job in jobs]

    def _answer(self, model: ir.Model) -> Answer:
        groups = partition(model, infer_shapes(model, {}), self._target).subgraphs
        priced = [group for group in groups if group.priced and group.kind != VIEW]
        prices = AnalyticCostModel().predict([group.signature for group in priced])
        rows = tuple(
            Row(group.outputs[0].name or "", MadeUp.factor * price.value)
            for group, price in zip(priced, prices, strict=True)
        )
        return Measurement(sum(row.latency_us for row in rows), rows)


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user with nothing of his own, and an oracle that needs nothing installed."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HWOPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(registry.TARGETS_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "made_up_oracle", SimpleNamespace(MadeUp=MadeUp))
    monkeypatch.setitem(registry._ORACLES, "zigzag", ("made_up_oracle", "MadeUp", "zigzag"))
    for name, value in (("asked", 0), ("stop_after", 10**9), ("factor", 1.0)):
        monkeypatch.setattr(MadeUp, name, value)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def typed(*words: str) -> tuple[int, str, str]:
        code = main(["targets", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return typed


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "config" / "hwopt" / "targets"


def test_from_nothing_to_a_checked_target(run: Run, home: Path) -> None:
    code, out, _ = run("new", "mine")
    assert (code, (home / "mine" / "target.toml").is_file()) == (0, True)
    assert "hwopt targets measure mine" in out
    assert run("check", "mine", "--quiet")[0] == 1  # nothing measured, nothing fitted: not to be trusted
    code, out, _ = run("measure", "mine", "--samples", "60", "--whole", "0", "--quiet")
    assert code == 0
    assert "hwopt targets fit mine" in out
    code, out, _ = run("fit", "mine", *SMALL, "--json")
    assert code == 0
    assert json.loads(out)["fitted"]["evaluation"]["groups"]["units"] > 0
    assert read_target(home / "mine").cost_model is not None
    code, out, _ = run("check", "mine", "--samples", "12", "--json")
    found = json.loads(out)
    assert {item["topic"]: item["verdict"] for item in found["findings"] if item["topic"] != "accuracy"} == {
        "target.toml": "fine", "size": "fine", "measurements": "fine", "cost model": "fine", "oracle": "fine",
    }  # fmt: skip
    assert code == found["exit_code"] == int(found["findings"][-1]["verdict"] == "bad")
    assert len(found["samples"]) > 5
    assert "mine" in run("list")[1]
    assert json.loads(run("show", "mine", "--json")[1])["accuracy"]["mape"] > 0


def test_predictions_that_do_not_hold_any_more_are_told(run: Run) -> None:
    run("new", "mine")
    run("measure", "mine", "--samples", "60", "--whole", "0", "--quiet")
    run("fit", "mine", *SMALL, "--quick", "--quiet")
    MadeUp.factor = 3.0  # the device is not what it was
    code, out, _ = run("check", "mine", "--samples", "12", "--json")
    accuracy = json.loads(out)["findings"][-1]
    assert (code, accuracy["topic"], accuracy["verdict"]) == (1, "accuracy", "bad")


def test_an_interrupted_campaign_goes_on(run: Run, home: Path) -> None:
    run("new", "mine")
    command = ("measure", "mine", "--samples", "30", "--whole", "0", "--quiet")
    MadeUp.stop_after = 24
    code, out, err = run(*command)
    assert (code, out) == (130, "")
    assert "the same command goes on from there" in err
    assert not (home / "mine" / dataset.FILE_NAME).exists()
    before, MadeUp.stop_after = MadeUp.asked, 10**9
    assert run(*command)[0] == 0
    resumed = (home / "mine" / dataset.FILE_NAME).read_bytes()
    asked = MadeUp.asked
    assert 0 < before < asked
    assert run(*command, "--force")[0] == 0
    assert MadeUp.asked == asked  # everything was remembered, and the file is the same
    assert (home / "mine" / dataset.FILE_NAME).read_bytes() == resumed


def test_measurements_are_never_overwritten_unasked(run: Run, home: Path) -> None:
    run("new", "mine")
    run("measure", "mine", "--samples", "10", "--whole", "0", "--quiet")
    path = home / "mine" / dataset.FILE_NAME
    before = path.read_bytes()
    code, _, err = run("measure", "mine", "--samples", "20", "--whole", "0", "--quiet")
    assert (code, path.read_bytes()) == (2, before)
    assert "--append" in err
    assert "--force" in err


def test_what_is_appended_stands_behind_what_was_there(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("new", "mine")
    path = home / "mine" / dataset.FILE_NAME
    common = ("--whole", "0", "--append", "--quiet")
    run("measure", "mine", "--samples", "8", *common)
    before = dataset.read_samples(path)
    run("measure", "mine", "--samples", "8", "--seed", "2", *common)
    both = dataset.read_samples(path)
    assert both[: len(before)] == before
    assert {row.sample.split("-")[1] for row in both[len(before) :]} == {"2"}
    MadeUp.factor = 2.0
    monkeypatch.setattr(MadeUp, "identity", "made up 2")
    run("measure", "mine", "--samples", "8", *common)
    again = dataset.read_samples(path)
    assert [row.sample for row in again] == [row.sample for row in both]
    assert again[0].latency_us == pytest.approx(2 * both[0].latency_us)
    assert again[-1] == both[-1]


def test_a_few_new_rows_are_learned_without_starting_anew(run: Run, home: Path) -> None:
    run("new", "mine")
    run("measure", "mine", "--samples", "60", "--whole", "0", "--quiet")
    run("fit", "mine", *SMALL, "--quick", "--quiet")
    first = read_target(home / "mine").cost_model
    code, _, err = run("fit", "mine", "--incremental", "--quiet")
    assert (code, "nothing was measured since" in err) == (2, True)
    run("measure", "mine", "--around", str(FIGURES), "--samples", "6", "--quiet")
    code, out, _ = run("fit", "mine", "--incremental", "--json")
    assert code == 0
    assert json.loads(out)["fitted"]["new"] > 0
    second = read_target(home / "mine").cost_model
    assert first is not None
    assert second is not None
    assert first.sha256 != second.sha256


def test_samples_around_a_model_join_the_others(run: Run, home: Path) -> None:
    run("new", "mine")
    run("measure", "mine", "--samples", "10", "--whole", "0", "--quiet")
    path = home / "mine" / dataset.FILE_NAME
    general = {row.sample for row in dataset.read_samples(path)}
    code, out, _ = run("measure", "mine", "--around", str(FIGURES), "--samples", "8", "--json")
    names = {row.sample for row in dataset.read_samples(path)}
    assert code == 0
    assert general < names
    assert all(name.startswith("around-") for name in names - general)
    assert json.loads(out)["rows_in_file"] == len(dataset.read_samples(path))


def test_a_shipped_target_is_refitted_in_a_copy(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = ROOT / "targets" / "edge-npu"
    before = {path.name: path.read_bytes() for path in shipped.iterdir() if path.is_file()}
    code, out, _ = run("measure", "edge-npu", "--samples", "40", "--whole", "0", "--quiet")
    assert code == 0
    assert str(home / "edge-npu") in out
    code, out, _ = run("fit", "edge-npu", *SMALL, "--quick", "--quiet")
    assert (code, str(home / "edge-npu") in out) == (0, True)
    assert registry.load_target("edge-npu").folder == home / "edge-npu"
    assert {path.name: path.read_bytes() for path in shipped.iterdir() if path.is_file()} == before


def test_a_folder_that_was_named_is_used_itself(run: Run, tmp_path: Path) -> None:
    assert run("new", "mine", "--out", str(tmp_path / "here"))[0] == 0
    folder = tmp_path / "here" / "mine"
    assert run("measure", str(folder), "--samples", "10", "--whole", "0", "--quiet")[0] == 0
    assert (folder / dataset.FILE_NAME).is_file()


def test_a_copy_of_a_target_has_nothing_measured(run: Run, home: Path) -> None:
    assert run("new", "mine", "--from", "ethos-u55-256")[0] == 0
    copy, source = read_target(home / "mine"), registry.load_target("ethos-u55-256")
    assert (copy.name, copy.cost_model, copy.config_hash) == ("mine", None, source.config_hash)
    assert [path.name for path in (home / "mine").iterdir()] == ["target.toml"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("new", "mine"), "exists"),
        (("new", "a/../b c"), "no name for a target"),
        (("new", "other", "--oracle", "veal"), "did you mean 'vela'?"),
        (("new", "other", "--from", "mine", "--oracle", "vela"), "give one of them"),
        (("new", "other", "--from", "nobody"), "unknown target 'nobody'"),
        (("measure", "nobody"), "unknown target"),
        (("measure", "mine", "--oracle-command", "x {model}"), "takes no command"),
        (("measure", "mine", "--samples", "-1"), "hwopt targets measure --help"),
        (("measure", "mine", "--out", "/no/such/folder/x.csv.xz"), "there is no folder"),
        (("fit", "mine"), "hwopt targets measure"),
        (("check", "nobody"), "unknown target"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words: Sequence[str], says: str, run: Run) -> None:
    run("new", "mine")
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_check_shows_every_problem_of_the_file(run: Run, home: Path) -> None:
    run("new", "mine")
    path = home / "mine" / "target.toml"
    text = path.read_text("utf-8").replace("clock_mhz = 500.0", "clock_mhz = -1")
    path.write_text(
        text.replace('"DepthwiseConv", "GroupedConv", "Gemm"', '"DepthwiseConv", "Gem"', 1), "utf-8"
    )
    code, out, _ = run("check", "mine", "--json")
    problems = [item["text"] for item in json.loads(out)["findings"]]
    assert code == 2
    assert len(problems) >= 2
    assert all(problem.startswith(str(path)) for problem in problems)
    code, out, _ = run("list", "--json")  # one broken target does not hide the others
    rows = {row["name"]: row for row in json.loads(out)["targets"]}
    assert (code, rows["mine"]["cost_model"]) == (0, "broken")
    assert "edge-npu" in rows


def test_a_cost_model_that_is_not_the_pinned_one_is_broken(run: Run, home: Path) -> None:
    run("new", "mine")
    run("measure", "mine", "--samples", "40", "--whole", "0", "--quiet")
    run("fit", "mine", *SMALL, "--quick", "--quiet")
    model = home / "mine" / "cost_model.ubj.xz"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    code, out, _ = run("check", "mine", "--json", "--samples", "0")
    verdicts = {item["topic"]: item["verdict"] for item in json.loads(out)["findings"]}
    assert (code, verdicts["cost model"]) == (2, "broken")


def test_a_target_without_its_oracle_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._ORACLES, "zigzag", ("no_such_module_here", "X", "zigzag"))
    run("new", "mine")
    code, out, _ = run("check", "mine", "--json")
    assert code == 2
    assert "pip install 'hwopt[zigzag]'" in json.loads(out)["findings"][-1]["text"]


def test_the_accuracy_of_a_card_is_shown(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "edge-npu"
    shutil.copytree(ROOT / "targets" / "edge-npu", folder)
    (folder / "card.md").write_text(
        "# x\n\n| unit | number | MAPE % | within 10 % |\n|---|---|---|---|\n"
        "| measured subgraphs | 9 | 7.50 | 80.00 |\n| whole networks | 3 | 1.25 | 100.00 |\n",
        "utf-8",
    )
    assert json.loads(run("show", str(folder), "--json")[1])["accuracy"] == {
        "unit": "whole networks", "mape": 1.25, "within_10": 100,
    }  # fmt: skip
