"""onnx.checker, with what counts as the model's own fault told apart from what does not."""

from __future__ import annotations

from pathlib import Path

from hwopt.guard.client import Died, checked
from hwopt.ir.vet_words import invalid_model
from hwopt.wording import shorten

CHECK_FAILED = "hwopt.check_failed"  # key in graph.meta: why the input did not pass the full check
_LONGEST = 300  # letters of what the checker says
_NOT_ITS_FAULT = ("No Op registered", "No opset import")


def check_file(path: Path) -> str | None:
    """Runs the full check on a file, in the guard; returns the objection that does not keep the model
    from running.

    That is: shape inference gave up, or an operator is unknown to this onnx package. Raises
    BadInput for a model that breaks the standard's structure, or that the checker does not live through.
    """
    try:
        refusal = checked(path)
    except Died as error:
        raise Died(error.what, str(path)) from None
    if refusal is None:
        return None
    text = shorten(refusal.reason, _LONGEST)
    if refusal.kind == "InferenceError" or any(words in text for words in _NOT_ITS_FAULT):
        return text
    raise invalid_model(path, text)
