"""docs/examples: each one does what its head says, run as a reader would run it."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from hwopt.ir import interface, save_model
from tests.graphs import classifier
from tests.shell import ROOT, Shell

EXAMPLES = ROOT / "docs" / "examples"
FIGURES = ROOT / "models" / "figures" / "figures.onnx"
QUICK = "--images 20 --passes canonicalize,densify_depthwise --max-drop 0.05"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell.in_folder(tmp_path)


def head(name: str) -> list[str]:
    """The commands that an example says it is run with; those that install something are left out."""
    text = (EXAMPLES / name).read_text("utf-8")
    lines = re.findall(r"^(?:#  {4}|    )((?:hwopt|python|sh) .*)$", text, flags=re.MULTILINE)
    return [line.split("  #")[0] for line in lines]


def linter(name: str) -> str:
    """Where a linter is; skips where it is not installed."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def lint(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_and_its_python_twin_write_the_same(shell: Shell) -> None:
    by_command, by_python = head("convert.py")
    assert shell(by_command).returncode == 0
    done = shell(by_python)
    assert done.returncode == 0, done.stderr
    for suffix in (".onnx", ".plan.json"):
        one, two = (shell.folder / f"{stem}{suffix}" for stem in ("by_command", "by_python"))
        assert one.read_bytes() == two.read_bytes()
    first, *steps = done.stdout.splitlines()
    report = json.loads((shell.folder / "by_python.report.json").read_text("utf-8"))
    before, after = (report[side]["latency_us"]["value"] for side in ("before", "after"))
    assert first == f"{before:.0f} us --> {after:.0f} us, predicted"
    plan = json.loads((shell.folder / "by_python.plan.json").read_text("utf-8"))
    assert steps == [f"{step['pass']}: {step['choice']} = {step['value']}" for step in plan["steps"]]


def test_a_pipeline_of_onnx_ir(shell: Shell) -> None:
    (command,) = head("onnx_ir_pipeline.py")
    done = shell(command)
    assert done.returncode == 0, done.stderr
    made = ir.load(shell.folder / "figures.passes.onnx")
    assert interface(made) == interface(ir.load(FIGURES))
    assert done.stdout.splitlines()[0] == f"figures.passes.onnx: changed, {len(made.graph)} nodes"
    assert "hwopt: changed, 35 steps" in done.stdout


def test_a_gate_for_any_pipeline(shell: Shell) -> None:
    (command,) = head("gate.sh")
    done = shell(command)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 conditions met" in done.stdout
    assert {"model.onnx", "model.plan.json", "model.report.json"} <= set(names(shell.folder / "build"))


def test_a_gate_that_closes(shell: Shell) -> None:
    save_model(classifier(), shell.folder / "small.onnx")
    gate = "sh docs/examples/gate.sh small.onnx"
    tight = shell(f"{gate} edge-npu 1us build --refine 0")
    assert tight.returncode == 1
    assert "NOT MET" in tight.stdout
    wrong = shell(f"{gate} edge-npv 1ms build")
    assert wrong.returncode == 2
    assert "gate: the call, the model or the data must be mended" in wrong.stderr
    refused = shell(f"{gate} edge-npu 1ms build --refine 0 --max-latency 1us")
    assert refused.returncode == 1
    assert "gate: no plan keeps the limits" in refused.stderr


def test_the_gate_is_sound_shell() -> None:
    lint(linter("shellcheck"), EXAMPLES / "gate.sh")


def test_a_deploy_script(shell: Shell) -> None:
    (command,) = head("deploy.py")
    done = shell(f"{command} {QUICK} --max-latency 2ms")
    assert done.returncode == 0, done.stderr
    exported = "by PyTorch" if importlib.util.find_spec("torch") else "no PyTorch"
    assert exported in done.stdout.splitlines()[0]
    assert "4 of 4 conditions met" in done.stdout
    released, candidate = shell.folder / "build" / "release", shell.folder / "build" / "candidate.onnx"
    assert names(released) == ["model.onnx", "model.plan.json", "model.report.json"]
    assert (released / "model.onnx").read_bytes() == candidate.read_bytes()
    assert "QuantizeLinear" in {node.op_type for node in ir.load(candidate).graph}
    stands = released.stat().st_mtime_ns, (released / "model.onnx").stat().st_mtime_ns
    failed = shell(f"{command} {QUICK} --target edge-npv")
    assert (failed.returncode, "Traceback" in failed.stderr) == (2, False)
    assert "deploy: no release: " in failed.stderr
    assert "edge-npv" in failed.stderr
    assert stands == (released.stat().st_mtime_ns, (released / "model.onnx").stat().st_mtime_ns)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def workflow() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    loaded: dict[str, Any] = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text("utf-8"))
    return loaded


def test_the_workflow_is_read_by_github() -> None:
    lint(
        linter("check-jsonschema"),
        "--builtin-schema",
        "vendor.github-workflows",
        EXAMPLES / "github-actions.yml",
    )


def test_the_workflow_is_safe() -> None:
    lint(linter("zizmor"), "--offline", "--no-progress", EXAMPLES / "github-actions.yml")


def test_the_workflow_is_held_strictly() -> None:
    """What the linters would find, for a machine that has none of them."""
    found = workflow()
    assert set(found) == {"name", True, "permissions", "concurrency", "env", "jobs"}  # YAML 1.1: `on` is True
    assert found["permissions"] == {"contents": "read"}
    (job,) = found["jobs"].values()
    assert set(job) == {"runs-on", "timeout-minutes", "steps"}
    text = (EXAMPLES / "github-actions.yml").read_text("utf-8")
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    pinned = re.findall(r"uses: (\S+@[0-9a-f]{40}) # v\d+\.\d+\.\d+$", text, flags=re.MULTILINE)
    assert pinned == used
    assert [name.split("@")[0] for name in used] == [
        "actions/checkout", "actions/setup-python", "actions/cache", "actions/upload-artifact"
    ]  # fmt: skip
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert set(step) <= {"name", "uses", "with", "run", "if"}
        assert "${{" not in step.get("run", "")  # what an event says must not become a command
    assert found["env"]["HWOPT_CACHE"].endswith(job["steps"][2]["with"]["path"])
    assert job["steps"][-1]["if"] == "${{ !cancelled() }}"  # kept of a run that failed, too


def test_the_steps_of_the_workflow_run(shell: Shell) -> None:
    found = workflow()
    (job,) = found["jobs"].values()
    runs = {step["name"]: step["run"] for step in job["steps"] if "run" in step}
    settings = {name: str(value) for name, value in found["env"].items() if "${{" not in str(value)}
    summary = shell.folder / "summary.md"
    environment = {**settings, "GITHUB_STEP_SUMMARY": str(summary)}
    assert list(runs) == ["Install", "Optimise", "Gate"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"[a-z]+", runs["Install"].partition("[")[2])) <= set(extras)
    quick = runs["Optimise"].replace("--config", "--refine 0 --config")
    done = shell(quick, **environment)
    assert done.returncode == 0, done.stderr
    assert summary.read_text("utf-8").startswith("# ")
    assert shell(runs["Gate"], **environment).returncode == 0
    assert shell(f"{runs['Gate']} --max-latency 1ms", **environment).returncode == 1


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, the rest), lines that go on joined."""
    text = (EXAMPLES / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined]


def test_the_dockerfile_is_linted() -> None:
    lint(linter("hadolint"), EXAMPLES / "Dockerfile")


def test_the_dockerfile_is_held_strictly() -> None:
    """No engine builds it in a test: its instructions, and what they speak of, are read instead."""
    found = instructions()
    assert [name for name, _ in found] == [
        *("FROM", "ARG", "WORKDIR", "COPY", "COPY", "COPY", "COPY", "RUN"),
        *("FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD"),
    ]
    images = [text.split(" AS ")[0] for name, text in found if name == "FROM"]
    assert len(set(images)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", images[0])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for name, text in found:
        if name == "COPY" and not text.startswith("--from"):
            assert [source for source in text.split()[:-1] if not (ROOT / source).exists()] == []
    rest = dict(found)
    extras = rest["ARG"].removeprefix("EXTRAS=").split(",")
    assert set(extras) <= set(project["project"]["optional-dependencies"])
    assert '".[$EXTRAS]"' in next(text for name, text in found if name == "RUN")
    assert int(rest["USER"]) > 0
    assert json.loads(rest["ENTRYPOINT"])[0] in project["project"]["scripts"]
    assert rest["ENV"].startswith("PATH=/opt/hwopt/bin:")
