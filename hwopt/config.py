"""hwopt.toml: options of commands in a file. Data alone: nothing in it is run, nor named to be run.

Keys are the names of options without their dashes in front. What stands above the first table is shared
by the commands that have such an option; a table such as [optimize] holds what is meant for one command, and
wins. Paths are relative to the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hwopt.errors import BadInput
from hwopt.target.keys import shown
from hwopt.target.toml_lines import Path as Place
from hwopt.target.toml_lines import line_of, lines_of, read_tables, read_text, shorten
from hwopt.wording import guess

SCHEMA_VERSION = 1
_VERSION = "schema_version"
_RUNS = "no code runs from a file"

# Options that a file must not give, and why.
REFUSED: Mapping[str, str] = {
    "metric": f"names code to run, and {_RUNS}: give --metric on the command line",
    "check": f"is a command to run, and {_RUNS}: give --check on the command line",
    "oracle_command": f"is a command to run, and {_RUNS}: give --oracle-command on the command line",
    "force": "overwrites files: whoever starts the run says that, with --force on the command line",
    "config": "names another file: a configuration is one file",
}
# Options that mean another thing to each command.
_OWN = ("output", "model")


class Kind(StrEnum):
    """What an option holds, as a message names it."""

    TEXT = "text in quotes"
    PATH = "a path in quotes"
    PLACE = "a name or a folder in quotes"
    WHOLE = "a whole number"
    NUMBER = "a number"
    SWITCH = "true or false"
    TEXTS = 'text in quotes, or a list of it: ["...", "..."]'


Keys = Mapping[str, Mapping[str, Kind]]  # by command: what each of its options holds
Value = str | int | float | bool | list[str]


@dataclass(frozen=True)
class Given:
    """One value of a file, and its line. Paths lead from the folder hwopt is started in."""

    value: Value
    line: int


@dataclass(frozen=True)
class Config:
    """A configuration as it was read: by command, what its options are given."""

    path: Path
    tables: Mapping[str, Mapping[str, Given]]

    def of(self, command: str) -> Mapping[str, Given]:
        """What a command is given, by the name of the option with underscores."""
        return self.tables.get(command, {})


def read_config(path: Path, keys: Keys) -> Config:
    """Reads a configuration for the commands that have such keys.

    Raises BadInput with the file and the line for the first thing in it that cannot be used.
    """
    text = read_text(path, "configuration")
    table = read_tables(path, text)
    return _Reader(path, lines_of(text), keys).config(table)


@dataclass(frozen=True)
class _Reader:
    """Holds a table against what commands know; every method raises BadInput with file and line."""

    path: Path
    lines: Mapping[Place, int]
    keys: Keys

    def config(self, table: Mapping[str, object]) -> Config:
        self._version(table)
        own = {name: item for name, item in table.items() if name in self.keys and isinstance(item, dict)}
        shared = {name: item for name, item in table.items() if name not in own and name != _VERSION}
        for name, value in shared.items():
            self._known(name, value)
        given = {
            command: {**self._shared(command, shared), **self._table((command,), own.get(command, {}))}
            for command in self.keys
        }
        return Config(self.path, given)

    def _version(self, table: Mapping[str, object]) -> None:
        version = table.get(_VERSION)
        if isinstance(version, bool) or version != SCHEMA_VERSION:
            has = "is missing" if version is None else f"is {shown(version)}"
            raise self._wrong((_VERSION,), f"{has}: this hwopt reads {_VERSION} = {SCHEMA_VERSION}")

    def _known(self, name: str, value: object) -> None:
        """Whether a shared key is an option of any command."""
        key = option_key(name)
        having = [command for command, known in self.keys.items() if key in known]
        if isinstance(value, dict):
            tables = ", ".join(f"[{command}]" for command in self.keys)
            raise self._wrong((name,), f"is no table here: {guess(name, self.keys)}there is {tables}")
        self._allowed((name,), [key for known in self.keys.values() for key in known])
        if key in _OWN:
            tables = " or ".join(f"[{command}]" for command in having)
            raise self._wrong((name,), f"means another thing to each command: put it into {tables}")

    def _shared(self, command: str, shared: Mapping[str, object]) -> Mapping[str, Given]:
        mine = {name: value for name, value in shared.items() if option_key(name) in self.keys[command]}
        return dict(self._values((), command, mine))

    def _table(self, place: tuple[str, ...], table: Mapping[str, object]) -> Mapping[str, Given]:
        for name in table:
            self._allowed((*place, name), list(self.keys[place[0]]))
        return dict(self._values(place, place[0], table))

    def _allowed(self, place: Place, known: list[str]) -> None:
        """Raises for a key that is refused, or that nobody knows."""
        key = option_key(str(place[-1]))
        if key in REFUSED:
            raise self._wrong(place, REFUSED[key])
        if key not in known:
            helps = "hwopt COMMAND --help" if len(place) == 1 else f"hwopt {place[0]} --help"
            hint = guess(key, dict.fromkeys(known)) or "keys are the names of options; "
            named = "a model is named on the command line; " if key == "model" else hint
            raise self._wrong(place, f"is not known: {named}see {helps}")

    def _values(
        self, place: tuple[str, ...], command: str, table: Mapping[str, object]
    ) -> Iterator[tuple[str, Given]]:
        seen: dict[str, str] = {}
        for name, value in table.items():
            key, here = option_key(name), (*place, name)
            if key in seen:
                raise self._wrong(here, f"is given twice, as '{seen[key]}', too")
            seen[key] = name
            yield key, Given(self._value(here, self.keys[command][key], value), self._line(here))

    def _value(self, place: Place, kind: Kind, value: object) -> Value:
        """What an option is given. Raises for a value that is not of its kind."""
        if kind is Kind.SWITCH and isinstance(value, bool):
            return value
        if kind in (Kind.WHOLE, Kind.NUMBER) and not isinstance(value, bool):
            if isinstance(value, int) or (kind is Kind.NUMBER and isinstance(value, float)):
                return value
        elif isinstance(value, str):
            return self._text(kind, value)
        elif kind is Kind.TEXTS and isinstance(value, list) and all(isinstance(x, str) for x in value):
            return [str(item) for item in value]
        raise self._wrong(place, f"is {shown(value)}: must be {kind.value}")

    def _text(self, kind: Kind, text: str) -> str | list[str]:
        """A text that says a place is one beside the file."""
        if kind is Kind.TEXTS:
            return [text]
        if kind is Kind.PATH or (kind is Kind.PLACE and "/" in text):
            return str(self.path.parent / text)
        return text

    def _line(self, place: Place) -> int:
        return line_of(dict(self.lines), place)

    def _wrong(self, place: Place, what: str) -> BadInput:
        key = shorten(".".join(map(str, place)))
        return BadInput(f"{self.path}:{self._line(place)}: key '{key}' {what}")


def option_key(name: str) -> str:
    """--max-drop and max-drop are the key max_drop."""
    return name.lstrip("-").replace("-", "_")
