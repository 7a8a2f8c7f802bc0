"""What the commands share: listeners for a run, options that come as texts, JSON on standard output."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hwopt import cli_watch
from hwopt.errors import BadInput
from hwopt.limits import input_shape as parse_shape
from hwopt.report.jsonable import json_text, to_json
from hwopt.report.schema import Report
from hwopt.trace import Listeners

_DEBUG_VARIABLE = "HWOPT_DEBUG"


def command_line() -> str:
    """This process's command, as a shell would read it."""
    return shlex.join(["hwopt", *sys.argv[1:]])


def names_of(lists: Sequence[str] | None) -> tuple[str, ...]:
    """A,B and repeated options alike."""
    return tuple(name.strip() for text in lists or () for name in text.split(",") if name.strip())


def shapes_of(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """NAME:1,3,224,224 by name. Raises BadInput for a text that is none."""
    return dict(parse_shape(text) for text in texts or ())


@contextmanager
def running(as_json: bool, quiet: bool) -> Iterator[Listeners]:
    """Listeners for the run. What libraries print meanwhile goes to standard error."""
    with cli_watch.stdout_kept_clean(), cli_watch.watching(quiet or as_json, debug_level()) as listeners:
        yield listeners


def print_json(report: Report) -> None:
    """A report on standard output."""
    print(json_text(to_json(report)), end="")


def debug_level() -> int:
    """HWOPT_DEBUG, 0 to 4: the only place where it is read."""
    text = os.environ.get(_DEBUG_VARIABLE, "0") or "0"
    if text not in ("0", "1", "2", "3", "4"):
        raise BadInput(f"{_DEBUG_VARIABLE}={text}: give a level from 0 to 4")
    return int(text)
