"""docs/licences.md lists everything that pyproject.toml names, with the licence that the package states."""

from __future__ import annotations

import pytest

from bench.licences import DEVELOPMENT, PAGE, licence_of, named, page, read_page

LISTED = read_page(PAGE.read_text("utf-8"))
NAMED = named()


@pytest.mark.parametrize("group", sorted(NAMED))
def test_every_dependency_and_extra_is_listed_with_a_licence(group: str) -> None:
    assert NAMED[group]
    for name in NAMED[group]:
        assert LISTED.get(name, "unknown") != "unknown", f"{name}: run `make licences`"


def test_what_is_installed_says_what_the_page_says() -> None:
    found = {name: licence_of(name) for names in NAMED.values() for name in names}
    assert {name: LISTED[name] for name, licence in found.items() if licence} == {
        name: licence for name, licence in found.items() if licence
    }


def test_nothing_that_is_not_for_development_spreads_its_licence() -> None:
    """The GPL of a linter that never ships is nobody's concern; that of a library would be."""
    development = set(NAMED[DEVELOPMENT])
    spreading = {name for name, licence in LISTED.items() if "GPL" in licence.upper()}
    assert spreading <= development


def test_a_package_that_is_not_here_keeps_its_row() -> None:
    known = {name: "as it was" for names in NAMED.values() for name in names}
    made = read_page(page(known))
    assert set(made) >= set(known)
    assert made["numpy"] == licence_of("numpy")
