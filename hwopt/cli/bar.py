"""The bars that the command line draws on a terminal. rich is imported only where one is shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hwopt.cli.streams import terminal

if TYPE_CHECKING:
    from rich.progress import Progress


def bars(*beside: str) -> Progress:
    """A display on standard error that goes when it is done, for tasks with a description.

    beside: more texts of every line, as `rich.progress.TextColumn` reads them ("{task.fields[note]}").
    What a task is called, and its fields, reach the terminal as they are: `visible` goes before.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *(TextColumn(text) for text in beside),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(file=terminal(sys.stderr)),
        transient=True,
    )
