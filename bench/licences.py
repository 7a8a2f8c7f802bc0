"""Licences of everything that hwopt brings along, from the metadata of what is installed: docs/licences.md.

    make licences        # or: python -m bench.licences docs/licences.md

Rows are those that pyproject.toml names, by extra, and what these need in turn on this platform; of the
development extra only what is named. Of a package that is not installed here the row that is there stays.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
RUNTIME, NEEDED, DEVELOPMENT = "hwopt", "needed by these", "dev"
_ROW = re.compile(r"^\| \[?([A-Za-z0-9._-]+)\]?[^|]*\| ([^|]+?) \| ([^|]+?) \|$")
_ELSEWHERE = {"xgboost": "Apache-2.0"}  # the same project as xgboost-cpu, for macOS alone
_LONGEST = 60  # letters; some put the whole text of their licence there

HEAD = """\
# Licences of dependencies

Made by `make licences` from the metadata that each package carries; `tests/test_licences.py` holds that
none is missing. hwopt itself is under Apache-2.0 ([LICENSE](../LICENSE)). It contains no code of these
packages and ships none of them; whoever builds an image with them ships them.

| package | licence | comes with |
|---|---|---|
"""


def named() -> dict[str, list[str]]:
    """The packages that pyproject.toml names, by what brings them: hwopt itself, or an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = {RUNTIME: project["dependencies"], **project["optional-dependencies"]}
    return {
        group: sorted({canonical(Requirement(line).name) for line in lines} - {"hwopt"})
        for group, lines in groups.items()
    }


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(name: str) -> str | None:
    """What a package says of its licence, on one line; None where it is not installed."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return _ELSEWHERE.get(name)
    (expression, text) = (
        "".join(metadata.get_all(key) or []).strip() for key in ("License-Expression", "License")
    )
    classes = [c for c in metadata.get_all("Classifier") or [] if c.startswith("License :: ")]
    if expression or not (classes or text):
        return expression or "unknown"
    short = text.split("\n")[0]
    return ", ".join(c.rsplit(" :: ", 1)[1] for c in classes) if classes else short[:_LONGEST]


def rows(known: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Package, licence, and what brings it. known: licences of packages that are not installed here.

    Raises LookupError for one of which nobody knows the licence.
    """
    by_group = named()
    told: set[str] = set()
    for names in by_group.values():
        for name in names:
            brought = sorted(g for g, others in by_group.items() if name in others)
            if name not in told:
                yield name, _licence(name, known), ", ".join(brought)
            told.add(name)
    first = [name for group, names in by_group.items() if group != DEVELOPMENT for name in names]
    for name in sorted(_needed(first) - told):
        yield name, _licence(name, known), NEEDED


def _licence(name: str, known: Mapping[str, str]) -> str:
    found = licence_of(name) or known.get(name)
    if found is None:
        raise LookupError(f"{name} is not installed, and nobody knows its licence: install it")
    return found


def _needed(names: list[str]) -> set[str]:
    """What these packages need, and what that needs; of what is installed here."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        for needed in _requirements(waiting.pop()):
            if needed not in found:
                found.add(needed)
                waiting.append(needed)
    return found


def _requirements(name: str) -> Iterator[str]:
    try:
        installed: Distribution = distribution(name)
    except PackageNotFoundError:
        return
    for line in installed.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonical(requirement.name)


def read_page(text: str) -> dict[str, str]:
    """The licences that a page lists, by package."""
    return {found[1]: found[2] for line in text.split("\n") if (found := _ROW.match(line))}


def page(known: Mapping[str, str]) -> str:
    """The whole page."""
    return HEAD + "".join(f"| {name} | {licence} | {brought} |\n" for name, licence, brought in rows(known))


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, nargs="?", default=PAGE)
    path = parser.parse_args().page
    known = read_page(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(page(known), "utf-8")


if __name__ == "__main__":
    main()
