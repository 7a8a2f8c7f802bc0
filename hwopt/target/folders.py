"""Where the folders of targets lie. Imports nothing heavy: the shell asks for their names at every tab.

The order in which a name is looked for stands in `hwopt.registry`.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

TARGET_GROUP = "hwopt.targets"
TARGETS_VARIABLE = "HWOPT_TARGETS"


def target_folders() -> dict[str, Path]:
    """Target folders by name; where a name is found twice, the user's own folder wins."""
    roots = [*_plugged_roots(), Path(str(files("hwopt.targets"))), config_folder(), *_variable_folders()]
    return {folder.name: folder for root in roots for folder in _targets_under(root)}


def _targets_under(root: Path) -> list[Path]:
    """The root itself where it is a target, else the target folders directly inside it."""
    if (root / "target.toml").is_file():
        return [root]
    return sorted(item.parent for item in root.glob("*/target.toml")) if root.is_dir() else []


def config_folder() -> Path:
    """Where a user's own targets lie: `hwopt/targets` in the platform's configuration folder."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "hwopt" / "targets"


def _variable_folders() -> list[Path]:
    """Folders of $HWOPT_TARGETS, separated as in $PATH; the first one listed wins."""
    listed = [Path(item) for item in os.environ.get(TARGETS_VARIABLE, "").split(os.pathsep) if item]
    return listed[::-1]


def _plugged_roots() -> list[Path]:
    """Target folders of other packages: the entry point names a package that holds them."""
    points = sorted(entry_points(group=TARGET_GROUP), key=lambda point: (point.name, point.value))
    return [Path(str(files(point.module))) for point in points]
