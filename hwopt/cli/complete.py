"""What the shell offers behind an option: names of targets, of passes, of strategies.

It is asked at every press of the tab key, so nothing that is offered may import ONNX: names come from
folders and files, and from what installed packages say of themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from hwopt.target.folders import target_folders

_PASS_GROUP = "hwopt.passes"
_HERE = Path(__file__).parents[1]
STRATEGIES = ("milp", "evolve", "greedy", "random", "reinforce")  # `hwopt.search.strategies` takes long


def target_names(incomplete: str) -> list[str]:
    """Targets whose name begins so."""
    return [name for name in sorted(target_folders()) if name.startswith(incomplete)]


def pass_names(incomplete: str) -> list[str]:
    """Passes whose name begins so; behind a comma, the list goes on."""
    done, comma, begun = incomplete.rpartition(",")
    return [f"{done}{comma}{name}" for name in sorted(_passes()) if name.startswith(begun)]


def strategy_names(incomplete: str) -> list[str]:
    """Strategies whose name begins so."""
    return [name for name in STRATEGIES if name.startswith(incomplete)]


def _passes() -> Iterator[str]:
    """A pass is a file of its name; a plug-in's name is that of its entry point."""
    yield from (path.stem for path in (_HERE / "passes").glob("*.py") if not path.stem.startswith("_"))
    yield from (point.name for point in entry_points(group=_PASS_GROUP))
