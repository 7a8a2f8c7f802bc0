"""`--config hwopt.toml`: command line over file over default, through click's own defaults of a context."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer
from typer.models import OptionInfo

from hwopt.cli.commands import commands
from hwopt.cli.usage import usage_text
from hwopt.errors import BadInput, HwoptError

if TYPE_CHECKING:
    from typer._click import Context

    from hwopt.config import Config, Kind

PARAMETER = "config"  # of a command's function: what makes the command one that a file may speak of
_PLACES = ("target",)
_META = "hwopt.config"
_taken: ContextVar[tuple[str, ...]] = ContextVar("taken", default=())


@dataclass(frozen=True)
class _Option:
    """One option of a command: the parameter of its function, its name as typed, and what it holds."""

    parameter: str
    name: str
    kind: Kind

    @property
    def key(self) -> str:
        return self.name.lstrip("-").replace("-", "_")


@dataclass(frozen=True)
class _Applied:
    """A file as it was read for one command."""

    config: Config
    command: str
    options: Mapping[str, _Option]  # by parameter

    def place(self, parameter: str) -> str:
        """FILE:LINE where the file gives this option."""
        return f"{self.config.path}:{self.config.of(self.command)[self.options[parameter].key].line}"


def apply(context: typer.Context, path: Path | None) -> Path | None:
    """Makes the values of the file the defaults of the command that is being read."""
    if path is None or context.resilient_parsing:
        return path
    from hwopt.config import read_config

    having = {name: options_of(item.function()) for name, item in commands()}
    known = {name: options for name, options in having.items() if PARAMETER in options}
    keys = {name: {item.key: item.kind for item in options.values()} for name, options in known.items()}
    config = read_config(path, keys)
    name = str(context.info_name)
    given, options = config.of(name), known[name]
    context.default_map = {p: given[o.key].value for p, o in options.items() if o.key in given}
    context.meta[_META] = _Applied(config, name, options)
    return path


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=apply,
        help="Options from a hwopt.toml; what is typed here wins over it.",
    ),
]


def options_of(function: Callable[..., object]) -> dict[str, _Option]:
    """The options of a command's function, by parameter."""
    found = {}
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        hint, *more = get_args(parameter.annotation) or (parameter.annotation,)
        info = next((item for item in more if isinstance(item, OptionInfo)), None)
        if info is not None:
            found[name] = _Option(name, _long_name(name, info), _kind(name, hint))
    return found


def _long_name(parameter: str, info: OptionInfo) -> str:
    declared = [info.default, *(info.param_decls or ())]
    long = [name for name in declared if isinstance(name, str) and name.startswith("--")]
    return long[0].partition("/")[0] if long else f"--{parameter.replace('_', '-')}"


def _kind(parameter: str, hint: Any) -> Kind:
    from hwopt.config import Kind

    if isinstance(hint, UnionType):
        hint = next(item for item in get_args(hint) if item is not type(None))
    if get_origin(hint) is list:
        return Kind.TEXTS
    if parameter in _PLACES:
        return Kind.PLACE
    plain: dict[object, Kind] = {
        bool: Kind.SWITCH, int: Kind.WHOLE, float: Kind.NUMBER, Path: Kind.PATH,
    }  # fmt: skip
    return plain.get(hint, Kind.TEXT)


def command_line(arguments: Sequence[str]) -> str:
    """The command as a shell would read it, with what it took from a file in the place of --config."""
    taken = _taken.get()
    words = list(arguments)
    if taken:
        words = [*_without_config(words), *taken]
    return shlex.join(["hwopt", *words])


def _without_config(words: list[str]) -> Iterator[str]:
    following = False
    for word in words:
        if not following and not word.startswith("--config="):
            following = word == "--config"
            if following:
                continue
            yield word
        else:
            following = False


def took(context: Context) -> None:
    """Remembers what the command took from its file, for `command_line`."""
    applied: _Applied | None = context.meta.get(_META)
    if applied is not None:
        _taken.set(tuple(_words(context, applied)))


def _words(context: Context, applied: _Applied) -> Iterator[str]:
    for parameter in _from_file(context):
        given = applied.config.of(applied.command)[applied.options[parameter].key].value
        name = applied.options[parameter].name
        if isinstance(given, bool):
            yield from [name] if given else []
        else:
            for value in given if isinstance(given, list) else [given]:
                yield from (name, str(value))


def _from_file(context: Context) -> list[str]:
    names = context.default_map or {}
    return [name for name in names if _source(context, name) == "DEFAULT_MAP"]


def _source(context: Context, parameter: str) -> str:
    found = context.get_parameter_source(parameter)
    return "" if found is None else found.name


def effective(context: Context) -> Iterator[tuple[str, str, str]]:
    """Every option that has a value: its name, the value, and who says so."""
    applied: _Applied | None = context.meta.get(_META)
    for param in context.command.params:
        value = context.params.get(str(param.name))
        if value is None or value is False or value == () or value == []:
            continue
        source = _source(context, str(param.name))
        who = {"COMMANDLINE": "command line", "DEFAULT": "default"}.get(source, source.lower())
        if source == "DEFAULT_MAP" and applied is not None:
            who = applied.place(str(param.name))
        yield max(param.opts, key=len), _shown(value), who


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(getattr(value, "value", value)).replace("True", "yes")


def located(context: Context, error: Exception) -> Exception:
    """The error with the line of the file, where what is wrong was taken from there."""
    applied: _Applied | None = context.meta.get(_META)
    told = usage_text(error)
    text = str(error) if told is None else told
    if applied is None or (told is None and not isinstance(error, BadInput)):
        return error
    wrong = getattr(getattr(error, "param", None), "name", None)
    for parameter in _from_file(context) if wrong is None else [wrong]:
        if parameter in (context.default_map or {}) and _speaks_of(text, applied, parameter):
            details = error.details if isinstance(error, HwoptError) else {}
            return BadInput(f"{applied.place(parameter)}: {text}", details)
    return error


def _speaks_of(text: str, applied: _Applied, parameter: str) -> bool:
    """Whether a message names this option, or what the file gives it, as what is wrong."""
    option = applied.options[parameter]
    given = applied.config.of(applied.command)[option.key].value
    words = [word.strip("',") for word in text.partition(": ")[0].split()]
    texts = [item for item in (given if isinstance(given, list) else [given]) if isinstance(item, str)]
    quoted = any(f"'{item}'" in text for item in texts)
    placed = any(item.rstrip(":") in words for item in texts if "/" in item)
    return option.name in words or f"'{option.name}'" in text or quoted or placed
