"""onnx.checker, with what counts as the model's own fault told apart from what does not."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.shape_inference import InferenceError

from hwopt.errors import BadInput

CHECK_FAILED = "hwopt.check_failed"  # key in graph.meta: why the input did not pass the full check


def check_file(path: Path) -> str | None:
    """Runs the full check on a file; returns the objection that does not keep the model from running.

    That is: shape inference gave up, or an operator is unknown to this onnx package. Raises
    BadInput for a model that breaks the standard's structure.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except InferenceError as error:
        return one_line(error)
    except Exception as error:  # ValidationError, or whatever the C++ side throws
        text = one_line(error)
        if "No Op registered" in text or "No opset import" in text:
            return text
        raise BadInput(f"{path} is not a valid ONNX model: {text}") from None
    return None


def one_line(error: Exception) -> str:
    """The error's text without line breaks, shortened."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
