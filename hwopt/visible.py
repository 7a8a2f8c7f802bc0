"""Letters that nobody sees made visible: names of nodes, targets and files are whatever somebody wrote."""

from __future__ import annotations

import re

# Controls, soft hyphen, zero-width letters, marks of direction, separators, surrogates, byte order mark.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)
_RETURN = re.compile("\r(?!\n)")


def visible(text: str) -> str:
    """Letters that nobody sees, or that turn the text around, as their numbers: \\u202e.

    In JSON that is the same text. Line ends and tabs stay.
    """
    return _UNSEEN.sub(lambda found: number_of(found[0]), text)


def number_of(letter: str) -> str:
    """A letter as its number: \\u202e."""
    return f"\\u{ord(letter):04x}"


def printable(text: str) -> str:
    """The same for a terminal, where a carriage return alone writes over what stands in the line."""
    return _RETURN.sub(lambda _: "\\u000d", visible(text))


def escaped(text: str) -> str:
    """The same for an error's one line: whatever cannot be printed, line ends and tabs too."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(letter: str) -> str:
    return ascii(letter)[1:-1] if letter in "\n\r\t" else number_of(letter)
