"""What others say, as one line that a terminal does not obey."""

from __future__ import annotations

import pytest

from hwopt.errors import BadInput
from hwopt.guard.running import failed
from hwopt.wording import said, shorten


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no\nsuch\t file ", "no such file"),
        ("a \x1b[31mred\x1b[0m name", "a \\u001b[31mred\\u001b[0m name"),
        ("file \u202egpj.exe", "file \\u202egpj.exe"),
    ],
)
def test_what_an_error_says_is_one_harmless_line(text: str, line: str) -> None:
    assert said(ValueError(text)) == line


@pytest.mark.parametrize("text", ["", " \n "])
def test_an_error_that_says_nothing_is_named_by_its_class(text: str) -> None:
    assert said(AssertionError(text)) == "AssertionError"


@pytest.mark.parametrize("letter", ["x", "\x00"])
def test_a_long_text_is_cut_where_it_is_asked_for(letter: str) -> None:
    assert len(said(ValueError(letter * 10_000))) == 200
    assert len(said(ValueError(letter * 10_000), 1_000)) == 1_000
    assert said(ValueError(letter * 10_000)).endswith("...")


def test_a_line_that_was_shortened_is_not_escaped_again() -> None:
    once = shorten("a\x00b \\u0000 \u202e")
    assert shorten(once) == once


def test_the_guard_hands_on_a_line_and_whether_it_is_one_of_memory() -> None:
    """The words may stand behind what is cut off."""
    head = failed(RuntimeError("name " * 1_000 + "bad_alloc\n"))
    assert head["memory"] is True
    assert len(str(head["error"])) == 2_000
    told = failed(RuntimeError())
    assert told == {"error": "RuntimeError", "type": "RuntimeError", "memory": False, "ours": False}
    assert failed(BadInput("gone"))["ours"] is True
