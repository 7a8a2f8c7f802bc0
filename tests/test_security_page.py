"""SECURITY.md: every file that it names is there, and every limit that it states is the code's own."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")
LIMITS = re.findall(r"^\| [^|]+ \| ([\d,]+)[^|]*\| `([\w.]+):(\w+)` \|$", PAGE, re.MULTILINE)


def test_there_are_limits_to_hold_it_to() -> None:
    rows = [line for line in PAGE.split("\n") if re.search(r"`hwopt[\w.]*:\w+` \|$", line)]
    assert len(LIMITS) == len(rows) > 20


@pytest.mark.parametrize(("stated", "module", "constant"), LIMITS, ids=[f"{m}:{c}" for _, m, c in LIMITS])
def test_a_limit_is_what_the_page_says(stated: str, module: str, constant: str) -> None:
    assert int(stated.replace(",", "")) == int(getattr(importlib.import_module(module), constant))


def test_every_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"`((?:hwopt|tests|bench|docs)/[\w/.*]+)`", PAGE))
    assert len(named) > 15
    assert [path for path in sorted(named) if not list(ROOT.glob(path))] == []


def test_it_is_found_from_the_pages_that_people_read() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        assert "(SECURITY.md)" in (ROOT / page).read_text("utf-8")


def test_no_address_is_invented() -> None:
    assert not re.search(r"[\w.]+@[\w.]+\.\w+|https?://", PAGE)
