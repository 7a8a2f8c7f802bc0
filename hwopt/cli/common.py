"""What the commands share: listeners for a run, options that come as texts, JSON on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hwopt.cli import config as cli_config
from hwopt.cli import watch as cli_watch
from hwopt.cli.debug import debug_level as debug_level
from hwopt.limits import input_shape as parse_shape
from hwopt.report.jsonable import encode, json_text, to_json
from hwopt.trace import Listeners


def command_line() -> str:
    """This process's command, as a shell would read it; what a configuration gave is spelled out."""
    return cli_config.command_line(sys.argv[1:])


def names_of(lists: Sequence[str] | None) -> tuple[str, ...]:
    """A,B and repeated options alike."""
    return tuple(name.strip() for text in lists or () for name in text.split(",") if name.strip())


def shapes_of(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """NAME:1,3,224,224 by name. Raises BadInput for a text that is none."""
    return dict(parse_shape(text) for text in texts or ())


@contextmanager
def running(as_json: bool, quiet: bool) -> Iterator[Listeners]:
    """Listeners for the run. What libraries print meanwhile goes to standard error."""
    from hwopt.files.scratch import own_temporary_files

    display = cli_watch.watching(quiet or as_json, debug_level())
    with own_temporary_files(), cli_watch.stdout_kept_clean(), display as listeners:
        yield listeners


def print_object(value: object) -> None:
    """One JSON object on standard output: a table, a dataclass, or what holds some of these."""
    print(json_text(encode(value)), end="")


def print_json(report: object) -> None:
    """A report on standard output, or another dataclass that has a schema_version."""
    print(json_text(to_json(report)), end="")
