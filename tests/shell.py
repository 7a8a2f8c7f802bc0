"""A folder in which commands of the documentation are run as a reader would: through a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SEEN = ("models", "docs")  # what a checkout has, and commands of the documentation name


@dataclass(frozen=True)
class Shell:
    """Runs lines of shell in a folder that looks like a checkout, where `hwopt` is this one."""

    folder: Path
    environment: dict[str, str]

    @staticmethod
    def in_folder(folder: Path) -> Shell:
        """A shell of which nobody's own settings are known."""
        for name in SEEN:
            (folder / name).symlink_to(ROOT / name)
        commands = folder / ".commands"
        commands.mkdir()
        python = shlex.quote(sys.executable)
        for name, module in (("hwopt", "-m hwopt.cli"), ("python", "")):
            (commands / name).write_text(f'#!/bin/sh\nexec {python} {module} "$@"\n', "utf-8")
            (commands / name).chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HWOPT_", "XDG_"))}
        path = os.pathsep.join([str(commands), os.environ.get("PATH", os.defpath)])
        own = {
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "HWOPT_CACHE": str(folder / ".cache"),
            "XDG_CONFIG_HOME": str(folder / ".config"),  # a target of the user's own would win
            "COLUMNS": "160",
        }
        return Shell(folder, {**kept, **own})

    def __call__(self, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the text and waits for it; both outputs are kept."""
        return subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{line}"],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
