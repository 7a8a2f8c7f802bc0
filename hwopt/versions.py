"""Which versions decide what a run does: they stand in reports and reproducers."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "hwopt", "onnx", "onnx-ir", "onnxruntime", "xgboost-cpu", "xgboost", "numpy", "scipy", "highspy",
    "ethos-u-vela", "zigzag-dse", "torch",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Of Python, of the system, and of the packages that decide figures, by name."""
    found = {"python": sys.version.split()[0], "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
