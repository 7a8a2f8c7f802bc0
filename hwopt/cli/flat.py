"""Options of a command as dataclasses: typer sees one option per field, the command gets the dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_type_hints


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every parameter that is a dataclass replaced by the fields of that dataclass.

    f(model: Model, data: DataOptions)  -->  f(model, *, calib, labels, preprocess, ...)
    """
    groups = {
        name: hint
        for name, hint in get_type_hints(command).items()
        if inspect.isclass(hint) and is_dataclass(hint)
    }

    def run(**given: object) -> None:
        made = {
            name: group(**{item.name: given.pop(item.name) for item in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__signature__ = inspect.Signature(list(_parameters(command, groups)))  # type: ignore[attr-defined]
    return run


def _parameters(command: Callable[..., None], groups: dict[str, type[Any]]) -> Iterator[inspect.Parameter]:
    """Those of the command in their order; fields stand where their dataclass stood."""
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            inner = get_type_hints(groups[name], include_extras=True)
            yield from (
                _keyword(item.name, inner[item.name], _default(item)) for item in fields(groups[name])
            )
        else:
            yield _keyword(name, hints[name], parameter.default)


def _keyword(name: str, hint: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _default(item: Field[object]) -> object:
    return inspect.Parameter.empty if item.default is MISSING else item.default
