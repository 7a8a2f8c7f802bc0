"""The documentation is true: blocks do what they say, links lead somewhere (`tests.pages` says how)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.pages import (
    ROOT,
    Block,
    Session,
    blocks,
    furnish,
    hwopt_commands,
    known_options,
    page_text,
    unknown_options,
)

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "models" / "figures" / "README.md",
    )
)
ELSEWHERE = {  # pages that are followed by a test of their own
    "docs/debugging.md": "tests/test_how_to_debugging.py",
    "docs/how-to-hints.md": "tests/test_how_to_hints.py",
    "docs/how-to-target.md": "tests/test_how_to_target.py",
    "docs/results.md": "its figures come from bench/, which takes hours",
}
FOREIGN = {"--target", "--card", "--require-hashes"}  # of bench/, and of pip
LINK = re.compile(
    r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\""
)
FOLLOWED = [
    pytest.param(page, number, id=f"{page}-{block.line}")
    for page in PAGES
    if page not in ELSEWHERE
    for number, block in enumerate(blocks(page))
    if block.kind in ("sh", "python") and not block.file
]
SESSIONS: dict[str, Session] = {}


@pytest.fixture
def session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Session:
    """The page's folder, kept from block to block; nothing of the user's own settings reaches it."""
    page: str = request.getfixturevalue("page")
    if page not in SESSIONS:
        SESSIONS[page] = Session(page, tmp_path_factory.mktemp("page"))
        furnish(SESSIONS[page].folder)
    home = tmp_path_factory.getbasetemp() / "home"  # pages share what was measured
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.setenv("HWOPT_CACHE", str(home / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("HWOPT_TARGETS", raising=False)
    return SESSIONS[page]


@pytest.mark.parametrize(("page", "number"), FOLLOWED)
def test_the_page_can_be_followed(
    page: str,
    number: int,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    block = blocks(page)[number]
    if block.skipped:
        assert_possible(block)
        pytest.skip(block.skipped)
    session.follow(number, monkeypatch, capsys)


def assert_possible(block: Block) -> None:
    """What is not run names targets of the Makefile, extras and modules that there are."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for line in block.commands if block.kind == "sh" else ():
        words = line.partition("#")[0].split()
        if words[:1] == ["make"]:
            goals = [word for word in words[1:] if "=" not in word]
            assert all(re.search(rf"^{goal}:", makefile, re.M) for goal in goals), line
        for listed in re.findall(r"pip install .*\[([\w,]+)\]", line):
            assert set(listed.split(",")) <= set(extras), line
        for module in re.findall(r"python -m ((?:models|bench)[\w.]*)", line):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), line


@pytest.mark.parametrize("page", PAGES)
def test_every_option_on_the_page_exists(page: str) -> None:
    wrong = [(words, bad) for words in hwopt_commands(blocks(page)) if (bad := unknown_options(words))]
    assert wrong == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/results.md"])
def test_every_option_that_the_text_names_exists(page: str) -> None:
    blocks_of_others = r"^```\w*\n(?!hwopt |HWOPT_|PYTHONPATH).*?^```$"
    named = set(
        re.findall(
            r"(?<![\w-])--[a-z][a-z-]+", re.sub(blocks_of_others, "", page_text(page), flags=re.S | re.M)
        )
    )
    assert named - known_options() - FOREIGN == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", page_text(page), flags=re.S | re.M)
    links = [next(filter(None, found)) for found in LINK.findall(text)]
    inside = [link for link in links if not re.match(r"\w+:", link)]
    assert [link for link in inside if not leads_somewhere(page, link)] == []


def leads_somewhere(page: str, link: str) -> bool:
    """Whether the file is there, and the heading in it."""
    name, _, anchor = unquote(link).partition("#")
    path = (ROOT / page).parent / name if name else ROOT / page
    return path.exists() and (not anchor or anchor in anchors(path))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_pages_are_found_and_have_something_to_run() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/how-to-python.md"} <= set(PAGES)
    assert len(FOLLOWED) > 20
    assert set(ELSEWHERE) <= set(PAGES)
    shown = {link for page in ("README.md",) for found in LINK.findall(page_text(page)) for link in found}
    missing = [
        page for page in PAGES if page.startswith("docs/") and page.count("/") == 1 and page not in shown
    ]
    assert missing == [], "README.md links to every page"
