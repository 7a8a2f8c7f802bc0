"""When hwopt itself is at fault: a folder with what is needed to see it happen again."""

from __future__ import annotations

import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("hwopt", "onnx", "onnx-ir", "onnxruntime", "xgboost-cpu", "xgboost", "numpy", "scipy", "highspy")


def write_reproducer(error: BaseException, arguments: Sequence[str]) -> Path:
    """A new folder in the system's temporary folder: traceback, command line, versions. No model, no data."""
    folder = Path(tempfile.mkdtemp(prefix="hwopt-crash-"))
    (folder / "traceback.txt").write_text("".join(traceback.format_exception(error)), "utf-8")
    command = f"cd {shlex.quote(str(Path.cwd()))}\n{shlex.join(['hwopt', *arguments])}\n"
    (folder / "command.txt").write_text(command, "utf-8")
    (folder / "versions.txt").write_text("\n".join(_versions()) + "\n", "utf-8")
    return folder


def _versions() -> list[str]:
    lines = [f"python {sys.version.split()[0]} on {platform.platform()}"]
    for name in _PACKAGES:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return lines
