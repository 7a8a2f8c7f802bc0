"""A new target's folder: from a template, or from a target that exists."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from hwopt.errors import BadInput
from hwopt.target.check import check_target_toml
from hwopt.target.file import FILE_NAME, read_target
from hwopt.target.folders import config_folder, target_folders
from hwopt.target.templates import TEMPLATES
from hwopt.wording import unknown

DEFAULT_ORACLE = "zigzag"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PIN = re.compile(r"(?ms)^\[cost_model\]\n.*?(?=^\[|\Z)")
# What was measured and fitted is of the old target, and says nothing of the new one.
_LEFT_BEHIND = (".csv.xz", ".ubj.xz", ".md", ".part", ".png", ".svg", "landscape.csv", "accuracy.json")


def new_target(folder: Path, oracle: str = DEFAULT_ORACLE) -> list[Path]:
    """Writes a commented target.toml, and what else the oracle reads, into FOLDER; returns the files.

    Raises BadInput for a name that is none, an unknown oracle, or a folder with a target in it.
    """
    if oracle not in TEMPLATES:
        raise BadInput(unknown("oracle", oracle, sorted(TEMPLATES)))
    _check_free(folder)
    texts = {name: text.replace("$name", folder.name) for name, text in TEMPLATES[oracle].items()}
    return _write(folder, {name: text.encode() for name, text in texts.items()})


def copy_target(source: Path, folder: Path) -> list[Path]:
    """Writes a copy of another target under a new name, without measurements, cost model and card.

    Raises BadInput where SOURCE is no target, or FOLDER holds one already.
    """
    read_target(source)
    _check_free(folder)
    kept = [path for path in sorted(source.iterdir()) if path.is_file() and _is_kept(path)]
    contents = {path.name: path.read_bytes() for path in kept}
    contents[FILE_NAME] = _renamed(contents[FILE_NAME].decode("utf-8"), folder.name).encode()
    return _write(folder, contents)


def _check_free(folder: Path) -> None:
    if not _NAME.fullmatch(folder.name):
        raise BadInput(f"'{folder.name}' is no name for a target: letters, digits, '-', '_' and '.'")
    shipped = target_folders().get(folder.name)
    if shipped is not None and shipped != folder and folder.parent == config_folder():
        raise BadInput(f"'{folder.name}' is a target already, which yours would hide: take another name")
    if (folder / FILE_NAME).exists():
        raise BadInput(f"{folder / FILE_NAME} exists: take another name, or remove it yourself")


def _is_kept(path: Path) -> bool:
    return not path.name.startswith(".") and not path.name.endswith((*_LEFT_BEHIND, ".py", ".pyc"))


def _renamed(text: str, name: str) -> str:
    """The text with another `name` at its top, and without the pin of a cost model."""
    renamed = re.sub(r'(?m)^name\s*=\s*("[^"\n]*"|\'[^\'\n]*\')', lambda _: f'name = "{name}"', text, count=1)
    return _PIN.sub("", renamed).rstrip("\n") + "\n"


def _write(folder: Path, contents: dict[str, bytes]) -> list[Path]:
    """The files, target.toml last: a folder that was not finished is no target."""
    taken = [name for name in contents if (folder / name).exists()]
    if taken:
        raise BadInput(f"{folder / taken[0]} exists: take another name, or remove it yourself")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(contents, key=lambda name: (name == FILE_NAME, name)):
            (folder / name).write_bytes(contents[name])
    except OSError as error:
        raise BadInput(f"cannot write {folder}: {error.strerror}") from None
    return [folder / name for name in sorted(contents)]


def write_fusions(folder: Path, tables: str) -> None:
    """Replaces the [[fusion]] tables of FOLDER/target.toml; every other line stays as it is.

    Raises BadInput, and leaves the file alone, where the result would not be a target.
    """
    path = folder / FILE_NAME
    lines = path.read_text("utf-8").split("\n")
    headers = [number for number, line in enumerate(lines) if line.startswith("[")] + [len(lines)]
    dropped: set[int] = set()
    for start, stop in pairwise(headers):
        if lines[start].startswith("[[fusion]]"):
            dropped.update(range(start, _end_of_values(lines, start, stop)))
    kept = "\n".join(line for number, line in enumerate(lines) if number not in dropped)
    part = path.with_name(path.name + ".part")
    part.write_text(kept.rstrip("\n") + "\n\n" + tables, "utf-8")
    problems = check_target_toml(part)
    if problems:
        part.unlink()
        raise BadInput(f"the rules that were found do not fit the target, nothing was written: {problems[0]}")
    part.replace(path)


def _end_of_values(lines: list[str], start: int, stop: int) -> int:
    """Behind the last line of a table that is no comment: what follows belongs to the next table."""
    values = [number for number in range(start, stop) if lines[number].strip() and lines[number][0] != "#"]
    return values[-1] + 1
