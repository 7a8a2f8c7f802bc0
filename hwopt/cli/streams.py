"""Standard output and error of a command: no text that comes from a file steers the terminal.

A name in a model or a target may hold the sequences that move the cursor, change the title of the window or
copy something. Everything that is printed goes through here. What rich draws by itself does not, so it is
handed cells that went through `hwopt.visible` before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from hwopt.visible import printable


class _Printable:
    """A text stream that writes controls as their numbers; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream  # where rich writes its colours; see `terminal`
        self._stream = stream

    def write(self, text: str) -> int:
        """As the stream does; the number of letters that were given."""
        self._stream.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def terminal(stream: TextIO) -> TextIO:
    """The stream below, for what steers the terminal on purpose: a display whose words are hwopt's own."""
    return cast(TextIO, getattr(stream, "rich_proxied_file", stream))


@contextmanager
def harmless_streams() -> Iterator[None]:
    """Both streams of the process, made harmless as long as the block runs."""
    kept = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        stream if stream is None or isinstance(stream, _Printable) else cast(TextIO, _Printable(stream))
        for stream in kept
    )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept
