"""hwopt: rewrites a trained ONNX model so that it runs faster or smaller on one accelerator.

The front door is `hwopt.optimize`; it and its companions are loaded on first use, so that
`import hwopt` and `hwopt --help` stay quick.

ONNX Runtime tells its maker what it runs, and leaves a file `.ses` in the folder for temporary files,
unless the environment says otherwise when it is loaded: with hwopt nothing gets out.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwopt.onnx_pass import ExactPasses
    from hwopt.pipeline import Result, optimize

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = ["ExactPasses", "Result", "__version__", "optimize"]


def __getattr__(name: str) -> object:
    """Loads what a name stands for when it is asked for (PEP 562)."""
    if name == "ExactPasses":
        from hwopt import onnx_pass

        return onnx_pass.ExactPasses
    if name in ("optimize", "Result"):
        from hwopt import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'hwopt' has no attribute '{name}'")
