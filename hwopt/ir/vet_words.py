"""Names out of a file that nobody trusts, in an error's one line; what is wrong with such a file."""

from __future__ import annotations

from pathlib import Path

from hwopt.errors import BadInput

_SHOWN = 60  # characters of a name


class Unsound(Exception):
    """What is wrong with a parsed model, as the end of a sentence that starts with its path."""


def invalid_model(path: Path, why: str) -> BadInput:
    """The error for a file that is no sound ONNX model."""
    return BadInput(f"{path} is not a valid ONNX model: {why}; export or download it anew")


def shown(name: object) -> str:
    """A name in quotes, shortened, with whatever a terminal would obey escaped."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) + "'"
