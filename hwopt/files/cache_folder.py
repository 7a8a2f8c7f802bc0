"""Where hwopt remembers: oracle answers, damage, fits. It may be deleted at any time."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$HWOPT_CACHE`, else `hwopt` in the platform's cache folder (`~/.cache/hwopt`)."""
    chosen = os.environ.get("HWOPT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "hwopt"
