"""Hostile plans: what a plan says is never run, never trusted, and refused in one line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from hwopt.cli.entry import main
from hwopt.errors import BadInput
from hwopt.files.untrusted import DEEPEST
from hwopt.plan import LARGEST_FILE, Plan, Step, read_plan
from hwopt.registry import load_target
from hwopt.replay import with_options
from hwopt.settings import Settings
from tests.hostile.mutations import mutations, refused_by_command, refused_or_read

NETWORK = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[1, 8, 8, 8] x) => (float[1, 8, 8, 8] y)
<float[8, 1, 3, 3] w = {WEIGHTS}>
{ y = Conv <group = 8, pads = [1, 1, 1, 1]> (x, w) }
"""


@pytest.fixture(scope="module")
def model() -> bytes:
    weights = ", ".join(str(n / 10) for n in range(72))
    made: onnx.ModelProto = onnx.parser.parse_model(NETWORK.replace("WEIGHTS", weights))
    return bytes(made.SerializeToString())


@pytest.fixture
def table(model: bytes) -> dict[str, object]:
    """A plan for that model that makes nothing, as JSON values."""
    target = load_target("edge-npu")
    assert target.cost_model is not None
    digest = hashlib.sha256(model).hexdigest()
    plan = Plan(digest, target.name, target.config_hash, target.cost_model.sha256, None, 0, ())
    return plan.to_json()


@pytest.fixture
def folder(tmp_path: Path, model: bytes) -> Path:
    (tmp_path / "m.onnx").write_bytes(model)
    return tmp_path


def replay(folder: Path) -> list[str]:
    out = str(folder / "out.onnx")
    plan, model = str(folder / "p.json"), str(folder / "m.onnx")
    return ["optimize", model, "-t", "edge-npu", "--refine", "0", "--plan", plan, "-o", out, "-q"]


def step(**changes: object) -> dict[str, object]:
    return {"choice": "form:x", "pass": "densify_depthwise", "value": "dense", "parameters": {}, **changes}


def dumped(value: object) -> str:
    return json.dumps(value)


# What the plan says, and what must be said of it.
SAID: dict[str, tuple[dict[str, object], str]] = {
    "another version": ({"schema_version": 10**18}, "schema_version 1000000000000000000"),
    "a version that is true": ({"schema_version": True}, "schema_version true"),
    "a version without end": ({"schema_version": "9" * 10_000}, "schema_version"),
    "steps of a text": ({"steps": "abc"}, "'steps' is not a list"),
    "steps of texts": ({"steps": ["abc"]}, "step 1 is not an object"),
    "a step without a pass": ({"steps": [{"choice": "a", "value": "b"}]}, "lacks the key 'pass'"),
    "a choice that is a number": ({"steps": [step(choice=1)]}, "'choice' is not a text"),
    "a choice that there is none of": ({"steps": [step()]}, "no choice 'form:x'"),
    "a choice that steers": ({"steps": [step(choice="\x1b[2J\u202e")]}, "'\\u001b[2J\\u202e'"),
    "a path for a choice": ({"steps": [step(choice="../" * 500)]}, "no choice"),
    "parameters of a list": ({"steps": [step(parameters=[["a", 1]])]}, "must be an object"),
    "parameters in parameters": ({"steps": [step(parameters={"a": {"b": 1}})]}, "'parameters.a' is"),
    "a wrong hash of the model": ({"model_sha256": "0" * 64}, "for another file"),
    "a hash that is none": ({"model_sha256": None}, "'model_sha256' is not a text"),
    "a wrong hash of the target": ({"target_config": "0" * 64}, "as it was then"),
    "a wrong hash of the cost model": ({"cost_model_sha256": "0" * 64}, "another cost model"),
    "a seed below zero": ({"seed": -1}, "'seed' is -1"),
    "a seed that is none": ({"seed": 1.5}, "'seed' is 1.5"),
    "a seed of text": ({"seed": "1"}, "'seed' is"),
    "options of a list": ({"options": []}, "must be an object"),
    "an option that names code": ({"options": {"metric": "os:system"}}, "unknown setting 'metric'"),
    "an option of a command": ({"options": {"oracle_command": "rm -rf ."}}, "unknown setting"),
    "a ranking that there is none of": ({"options": {"ranking": "x" * 5000}}, "'ranking' cannot be"),
    "a precision of a list": ({"options": {"quantize": [8]}}, "'quantize' cannot be"),
    "steps of training for years": ({"options": {"tune": 10**18}}, "'tune' cannot be"),
    "steps of training below zero": ({"options": {"tune": -1}}, "'tune' cannot be"),
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
def test_what_a_plan_says_is_checked(
    case: str, folder: Path, table: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    changes, words = SAID[case]
    (folder / "p.json").write_text(dumped({**table, **changes}), "utf-8")
    refused_by_command(replay(folder), folder, capfd, words)


# What the file holds, where `{` stands for the beginning of a good plan.
TEXTS: dict[str, tuple[Callable[[str], str], str]] = {
    "a number that is none": (lambda good: good.replace('"seed": 0', '"seed": NaN'), "NaN is no number"),
    "a number without end": (lambda good: good.replace('"seed": 0', '"seed": -Infinity'), "is no number"),
    "a number too large": (lambda good: good.replace('"seed": 0', '"seed": 1e999'), "beyond all bounds"),
    "a number of digits": (lambda good: good.replace('"seed": 0', '"seed": ' + "9" * 5000), "is not JSON"),
    "a key twice": (lambda good: good.replace("{", '{"seed": 1, ', 1), "'seed' is given twice"),
    "a key twice inside": (lambda good: good.replace('"options": {', '"options": {"a": 1, "a": 2'), "twice"),
    "very deep": (lambda good: "[" * 200_000, "nested beyond all bounds"),
    "a little too deep": (
        lambda good: good.replace('"options": {}', '"options": ' + '{"a":' * DEEPEST + "1" + "}" * DEEPEST),
        "levels deep",
    ),
    "behind the end": (lambda good: good + "{}", "is not JSON"),
    "nothing": (lambda good: "", "is not JSON"),
    "a text": (lambda good: '"plan"', "not a JSON object"),
    "Python": (lambda good: "__import__('os').system('true')", "is not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", TEXTS)
def test_what_is_no_json_is_no_plan(
    case: str, folder: Path, table: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    change, words = TEXTS[case]
    (folder / "p.json").write_text(change(dumped(table)), "utf-8")
    refused_by_command(replay(folder), folder, capfd, words)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "huge"])
def test_what_is_no_file_is_not_waited_for(
    kind: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = folder / "p.json"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    else:
        with file.open("wb") as stream:
            stream.truncate(LARGEST_FILE + 1)
    refused_by_command(replay(folder), folder, capfd, "more than" if kind == "huge" else "not a file")


def test_bytes_that_are_no_text(folder: Path, table: dict[str, object]) -> None:
    file = folder / "p.json"
    file.write_bytes(dumped(table).encode("utf-16"))
    with pytest.raises(BadInput, match="is not JSON"):
        read_plan(file)
    file.write_bytes(b"\xef\xbb\xbf" + dumped(table).encode())
    assert read_plan(file).seed == 0


def test_a_plan_that_makes_nothing_is_carried_out(folder: Path, table: dict[str, object]) -> None:
    (folder / "p.json").write_text(dumped(table), "utf-8")
    assert main(replay(folder)) == 0
    assert (folder / "out.onnx").read_bytes()


@pytest.fixture(scope="module")
def offered(model: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The step that makes the convolution of the model dense, as a run has written it."""
    folder = tmp_path_factory.mktemp("offered")
    (folder / "m.onnx").write_bytes(model)
    arguments = ["optimize", str(folder / "m.onnx"), "-t", "edge-npu", "--refine", "0", "-q"]
    assert main([*arguments, "-o", str(folder / "out.onnx")]) == 0
    steps = json.loads((folder / "out.plan.json").read_text())["steps"]
    assert steps
    found: dict[str, object] = steps[0]
    return found


def test_parameters_are_for_the_reader_and_size_nothing(
    folder: Path, table: dict[str, object], offered: dict[str, object]
) -> None:
    """10^18 channels in a plan's parameters: nothing is made of them, the result is the same."""
    results = set()
    for parameters in (offered["parameters"], {"hidden": 10**18, "to": -1, "kernel": [10**9, 10**9]}):
        steps = [{**offered, "parameters": parameters}]
        (folder / "p.json").write_text(dumped({**table, "steps": steps}), "utf-8")
        assert main([*replay(folder), "--force"]) == 0
        results.add((folder / "out.onnx").read_bytes())
    assert len(results) == 1


def test_the_name_of_a_pass_is_for_the_reader_and_loads_nothing(
    folder: Path, table: dict[str, object], offered: dict[str, object]
) -> None:
    """Values are found by choice and name in the passes of the registry, whatever a step says made them."""
    results = set()
    for name in (offered["pass"], "os:system", "../evil", "no_such_pass"):
        (folder / "p.json").write_text(dumped({**table, "steps": [{**offered, "pass": name}]}), "utf-8")
        assert main([*replay(folder), "--force"]) == 0
        results.add((folder / "out.onnx").read_bytes())
    assert len(results) == 1


def test_a_step_that_is_given_twice_is_refused(
    folder: Path, table: dict[str, object], offered: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "p.json").write_text(dumped({**table, "steps": [offered] * 2000}), "utf-8")
    refused_by_command(replay(folder), folder, capfd, "a second time")


def test_mutated_plans_are_refused_or_read(tmp_path: Path) -> None:
    _mutated(tmp_path, 400, seed=0)


@pytest.mark.slow
def test_many_mutated_plans_are_refused_or_read(tmp_path: Path) -> None:
    _mutated(tmp_path, 10_000, seed=1)


def _mutated(folder: Path, count: int, seed: int) -> None:
    steps = (Step("form:a", "fuse_ibn", "k3", {"kernel": (3, 3), "hidden": 48}), Step("w:b", "p", "v", {}))
    options = {"ranking": "activation"}
    good = Plan("a" * 64, "edge-npu", "b" * 64, None, "c" * 64, 7, steps, "d" * 64, options).text().encode()
    file, refused = folder / "p.json", 0
    for data in mutations(good, count, seed):
        file.write_bytes(data)
        refused += refused_or_read(lambda: with_options(Settings(), read_plan(file)), file)
    assert 0.5 * count < refused < count
