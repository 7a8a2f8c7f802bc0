"""Imports run one way: the core knows no pass, no oracle and no terminal by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAPPED = ("hwopt/passes", "hwopt/targets")  # symlinks: their files lie in folders at the top

# Importers on the left must not import what starts with a name on the right. The registry is
# the one that finds passes and oracles, and it does so by name at run time.
_FRONT = ("hwopt.pipeline", "hwopt.cli")
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "hwopt": (
        "hwopt.passes",
        "hwopt.targets",
        "hwopt.oracles.vela",
        "hwopt.oracles.zigzag",
        "models",
        "bench",
    ),
    "hwopt/passes": ("hwopt.cost", "hwopt.oracles", "hwopt.search", "hwopt.pricing", *_FRONT),
    "hwopt/cost": ("hwopt.search", "hwopt.repair", *_FRONT),
    "hwopt/search": ("onnx", "onnx_ir", "onnxruntime", "hwopt.ir", "hwopt.rewrite", *_FRONT),
    "hwopt/oracles": ("hwopt.cost", "hwopt.search", "hwopt.choice", *_FRONT),
    "hwopt/repair": ("hwopt.cost", "hwopt.oracles", "hwopt.search", *_FRONT),
    "hwopt/tuning": ("hwopt.cost", "hwopt.oracles", "hwopt.search", *_FRONT),
    "hwopt/report": ("onnx", "hwopt.search.milp", *_FRONT),
    "hwopt/ir": ("hwopt.cost", "hwopt.oracles", "hwopt.search", *_FRONT),
}


def sources(folder: str) -> list[Path]:
    """Python files of a room; for "hwopt" the core with its rooms, but not passes and targets."""
    files = sorted(
        Path(ROOT / folder.removeprefix("hwopt/") if folder in MAPPED else ROOT / folder).rglob("*.py")
    )
    return [path for path in files if folder in MAPPED or not is_mapped(path)]


def is_mapped(path: Path) -> bool:
    return any((ROOT / folder) in path.parents for folder in MAPPED)


ALLOWED_TO_PRINT = sources("hwopt/cli")
ENGINE = [*sources("hwopt"), *sources("hwopt/passes")]


def imported(path: Path) -> Iterator[str]:
    """Names of the modules that a file imports, at any depth; `from a import b` also as a.b."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            yield from (f"{module}.{alias.name}" for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_imports_run_one_way(folder: str) -> None:
    files = sources(folder)
    assert files
    broken = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        if folder != "hwopt" or path.parent.name != "oracles"  # an oracle may import its own parts
        for module in sorted(set(imported(path)))
        if any(within(module, package) for package in FORBIDDEN[folder])
    ]
    assert broken == []


def called(tree: ast.AST) -> list[str]:
    """Names of the plain functions that are called anywhere in the file."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [function.id for function in calls if isinstance(function, ast.Name)]


def test_only_the_command_line_prints() -> None:
    files = [path for path in ENGINE if path not in ALLOWED_TO_PRINT]
    assert len(files) > 20
    broken = [path.name for path in files if "print" in called(ast.parse(path.read_text("utf-8")))]
    assert broken == []


def test_nothing_runs_code_from_a_file() -> None:
    banned_modules = ("pickle", "dill", "shelve", "marshal", "joblib", "cloudpickle", "diskcache")
    banned_calls = ("eval", "exec", "compile", "__import__")
    broken = []
    for path in ENGINE:
        tree = ast.parse(path.read_text("utf-8"))
        names = [module.split(".")[0] for module in imported(path)]
        calls = [
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        broken += [f"{path.name}: {name}" for name in names if name in banned_modules]
        broken += [f"{path.name}: {name}()" for name in calls if name in banned_calls]
    assert broken == []


def test_the_walker_sees_an_import_inside_a_function(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from hwopt.oracles import vela\n")
    assert list(imported(file)) == ["hwopt.oracles.vela"]
