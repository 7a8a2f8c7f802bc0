"""The one registry: which passes and targets there are, and where an oracle's code lives.

The engine's core names no pass and no oracle; it asks here. Passes are modules of
`hwopt.passes` that carry `PASSES: tuple[Pass, ...]`, plus what other packages declare under
the entry point group `hwopt.passes`. Targets are folders holding a target.toml, found in this
order: a path, `$HWOPT_TARGETS`, the user's configuration folder, the folders that ship with
hwopt, and the entry point group `hwopt.targets`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from hwopt.choice import Pass
from hwopt.errors import BadInput, reason_of
from hwopt.oracles.protocol import Oracle
from hwopt.target import Target, read_target
from hwopt.target.folders import TARGETS_VARIABLE as TARGETS_VARIABLE
from hwopt.target.folders import config_folder as config_folder
from hwopt.target.folders import target_folders as target_folders
from hwopt.wording import shorten, unknown

PASS_GROUP = "hwopt.passes"

# oracle name in target.toml: (module, class, the extra that brings what it needs)
_ORACLES = {
    "vela": ("hwopt.oracles.vela", "VelaOracle", "ethos"),
    "zigzag": ("hwopt.oracles.zigzag", "ZigZagOracle", "zigzag"),
    "onnxruntime": ("hwopt.oracles.onnxruntime", "OnnxRuntimeOracle", ""),
    "command": ("hwopt.oracles.command", "CommandOracle", ""),
    "table": ("hwopt.oracles.table", "TableOracle", "parquet"),
}


def all_passes() -> tuple[Pass, ...]:
    """Every pass, in the order in which values are composed, then by name.

    Raises BadInput where two passes share a name or a plug-in cannot be loaded.
    """
    found = [*_shipped_passes(), *_plugged_passes()]
    twice = [name for name, times in Counter(item.name for item in found).items() if times > 1]
    if twice:
        raise BadInput(f"two passes are named '{twice[0]}': rename the one of the plug-in")
    return tuple(sorted(found, key=lambda item: (item.stage, item.name)))


def select_passes(
    names: Sequence[str] = (), disabled: Sequence[str] = (), *, interface_may_change: bool = False
) -> tuple[Pass, ...]:
    """The passes of these names (all of them where none is given), without the disabled ones.

    Passes that change the model's interface are left out unless it may change. Raises BadInput for
    an unknown name in either list, and for naming such a pass where the interface may not change.
    """
    available = all_passes()
    known = [item.name for item in available]
    for name in [*names, *disabled]:
        if name not in known:
            raise BadInput(unknown("pass", name, known))
    closed = {item.name for item in available if item.changes_interface and not interface_may_change}
    for name in names:
        if name in closed:
            raise BadInput(f"--passes {name}: it changes the interface; give --allow-interface-change too")
    left_out = closed | set(disabled)
    return tuple(
        item for item in available if (not names or item.name in names) and item.name not in left_out
    )


def _shipped_passes() -> list[Pass]:
    package = importlib.import_module("hwopt.passes")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return [item for name in names for item in _passes_of(importlib.import_module(f"hwopt.passes.{name}"))]


def _passes_of(module: object) -> tuple[Pass, ...]:
    passes: tuple[Pass, ...] = getattr(module, "PASSES", ())
    return passes


def _plugged_passes() -> list[Pass]:
    """Passes of other packages: the entry point names a Pass, a tuple of them, or a module."""
    found: list[Pass] = []
    for point in sorted(entry_points(group=PASS_GROUP), key=lambda point: (point.name, point.value)):
        try:
            loaded = point.load()
        except Exception as error:
            reason = shorten(reason_of(error), 200)
            raise BadInput(f"plug-in '{point.name}' ({point.value}) cannot be loaded: {reason}") from error
        members = (loaded,) if isinstance(loaded, Pass) else loaded
        found += members if isinstance(members, tuple | list) else _passes_of(loaded)
    return found


def all_targets() -> tuple[Target, ...]:
    """Every target that can be named, sorted by name."""
    return tuple(read_target(folder) for _, folder in sorted(target_folders().items()))


def load_target(name_or_path: str | Path) -> Target:
    """The target of that name, or the one in that folder (or that target.toml).

    Raises BadInput naming the targets there are, where there is no such target.
    """
    path = Path(name_or_path)
    text = str(name_or_path)
    if path.name == "target.toml" and path.is_file():
        return read_target(path.parent)
    folders = target_folders()
    if text in folders:
        return read_target(folders[text])
    if path.is_dir() or os.sep in text:
        return read_target(path)
    raise BadInput(unknown("target", text, sorted(folders)))


def make_oracle(
    target: Target,
    command: str | None = None,
    table: str | Path | None = None,
    workers: int | None = None,
) -> Oracle:
    """The oracle that the target names, ready to measure.

    command: what the oracle `command` runs; table: the file that the oracle `table` reads. Both
        come from the command line or the API, never from a file. workers: processes that measure at
        the same time, where the oracle has a choice; its own default where None.
    Raises BadInput where the oracle is unknown, what it needs is not installed or was not given.
    """
    name = target.oracle.name
    if name not in _ORACLES:
        raise BadInput(f"target '{target.name}': {unknown('oracle', name, sorted(_ORACLES))}")
    given = {key: value for key, value in (("command", command), ("table", table)) if value is not None}
    for key in given:
        if key != name:
            raise BadInput(f"target '{target.name}' is measured by '{name}': it takes no {key}")
    module_name, class_name, extra = _ORACLES[name]
    try:
        factory = getattr(importlib.import_module(module_name), class_name)
        if workers is not None and "workers" not in inspect.signature(factory).parameters:
            raise BadInput(f"target '{target.name}' is measured by '{name}': it takes no number of workers")
        chosen = {} if workers is None else {"workers": workers}
        oracle: Oracle = factory(target, **given, **chosen)
    except ImportError as error:
        package = f"hwopt[{extra}]" if extra else "hwopt"
        raise BadInput(
            f"target '{target.name}' is measured by '{name}', which is not installed "
            f"({error}): pip install '{package}'"
        ) from error
    return oracle
