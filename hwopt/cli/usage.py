"""What click says of a wrong command line, in hwopt's words: what, and how to mend it, in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from hwopt.errors import BadInput
from hwopt.wording import guess

# What click, or the pydantic behind newer typer, says; and what is said in its place.
_WORDS = (
    (
        r"Invalid value for '(--[\w-]+)'.*?: Input should be a valid number.*",
        r"\1 takes a number, such as 0.01",
    ),
    (r"Invalid value for '(--[\w-]+)'.*?: Input should be a valid integer.*", r"\1 takes a whole number"),
    (r"Invalid value for '(--[\w-]+)'.*?: Input should be (.*)", r"\1 must be \2"),
    (r"Invalid value for '(--[\w-]+)'.*?: (?:Value error, )?(.*)", r"\1: \2"),
    (
        r"Missing option '--target'.*",
        "no target: name an accelerator with --target; hwopt targets list shows them",
    ),
    (r"Missing option '(--[\w-]+)'.*", r"no \1 was given"),
    (r"Missing argument '([^']+)'.*", r"no \1 was named"),
    (r"Option '(-[\w-]+)' requires an argument.*", r"\1 needs a value behind it"),
    (r"Option '(-[\w-]+)' does not take a value.*", r"\1 takes no value: give it alone, or leave it out"),
    (
        r"Got unexpected extra arguments? ?(?:\(s\))? ?\((.*)\)",
        r"'\1' is too much: nothing more is taken here",
    ),
)


def refuse_empty(given: Sequence[str]) -> None:
    """Raises BadInput for an empty argument, which as a path would be the folder that one is in."""
    for before, one in pairwise(("", *given)):
        if not one.strip():
            what = f"{before} is given an empty text" if before.startswith("-") else "an argument is empty"
            raise BadInput(f"{what}: is a variable of the shell not set?")


def usage_text(error: Exception) -> str | None:
    """The one line of a usage error; None for an error that is none.

    Usage errors are classes of click, or of the copy of it inside newer releases of typer.
    """
    describe = getattr(error, "format_message", None)
    if describe is None:
        return None
    text = " ".join(str(describe()).split()).rstrip(".")
    context = getattr(error, "ctx", None)
    if context is not None and hasattr(error, "possibilities"):
        name = str(getattr(error, "option_name", ""))
        names = [option for param in context.command.params for option in param.opts]
        known = [option for option in names if option.startswith("--")]
        return f"unknown option {name}: {guess(name, known)}".rstrip(": ")
    if context is not None and text.startswith("Missing command"):
        return f"no command: there is {', '.join(context.command.list_commands(context))}"
    for pattern, words in _WORDS:
        found = re.fullmatch(pattern, text)
        if found is not None:
            return found.expand(words)
    return text
