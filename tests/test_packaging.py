"""What is installed: every subpackage, every data file of a target, and nothing with CUDA in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path, PurePosixPath

import pytest

import hwopt

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def test_every_package_folder_is_listed() -> None:
    rooms = {path.parent for path in (ROOT / "hwopt").glob("**/__init__.py")}
    mapped = {ROOT / "hwopt" / "passes": "hwopt.passes", ROOT / "hwopt" / "targets": "hwopt.targets"}
    names = {mapped.get(room) or ".".join(room.relative_to(ROOT).parts) for room in rooms}
    names |= set(mapped.values())
    assert names == set(SETUPTOOLS["packages"])


def test_the_mapped_folders_are_the_ones_that_the_symlinks_show() -> None:
    for name in ("passes", "targets"):
        assert SETUPTOOLS["package-dir"][f"hwopt.{name}"] == name
        assert (ROOT / "hwopt" / name).resolve() == ROOT / name


def test_every_file_of_a_target_goes_into_the_wheel() -> None:
    patterns = [pattern.removeprefix("**/") for pattern in SETUPTOOLS["package-data"]["hwopt.targets"]]
    for path in (ROOT / "targets").rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            assert any(PurePosixPath(path.name).match(pattern) for pattern in patterns), path


def test_a_target_is_no_larger_than_25_megabytes() -> None:
    for folder in (ROOT / "targets").iterdir():
        if folder.is_dir():
            assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 25_000_000, (
                folder
            )


def test_data_is_found_through_the_package() -> None:
    assert (files("hwopt.targets") / "edge-npu" / "target.toml").is_file()
    assert (files("hwopt") / "py.typed").is_file()


def test_one_version_everywhere() -> None:
    assert hwopt.__version__ == PROJECT["project"]["version"]


def test_the_lock_pins_every_dependency_with_hashes_and_names_no_place() -> None:
    lock = (ROOT / "requirements-dev.lock").read_text("utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", lock)[1:]
    names = {re.split(r"[=\[ ]", entry)[0] for entry in entries}
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==[^ ]+", entry), entry
        assert "--hash=sha256:" in entry
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]
    for requirement in wanted:
        name = re.split(r"[\[<>=; ]", requirement)[0]
        assert name == "hwopt" or name in names, name
    assert not re.search(r"https?:|file:|--find-links|--index-url|--extra-index-url", lock)


def test_no_cuda_library_on_linux() -> None:
    lock = (ROOT / "requirements-dev.lock").read_text("utf-8")
    assert not re.search(r"(?m)^(nvidia|cuda|torch)", lock)
    xgboost = re.search(r"(?m)^xgboost==\S+ ; (.*?) \\$", lock)
    assert xgboost is not None
    assert xgboost[1] == "sys_platform == 'darwin'"


def test_a_built_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("the build needs setuptools 77, as pyproject.toml says")
    source = tmp_path / "source"
    shutil.copytree(ROOT / "hwopt", source / "hwopt", symlinks=True)
    for name in ("passes", "targets"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", build, str(tmp_path)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {
        f"hwopt/{path.relative_to(ROOT).as_posix()}"
        for folder in ("passes", "targets")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert expected <= names
    assert {"hwopt/py.typed", "hwopt/cli/entry.py", "hwopt/report/schema.py"} <= names
    assert all(name.startswith("hwopt/") for name in names)
