"""The fetched real models, where they are: same interface, same outputs, whatever was rewritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.strange_real import TARGETS, row_of
from models.fetch import MODELS


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", MODELS)
def test_a_real_model_keeps_what_it_does(name: str, target: str) -> None:
    path = Path(os.environ.get("HWOPT_DATA", "")) / "fetched" / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"needs fetched/{name}.onnx in the folder that HWOPT_DATA names: python -m models.fetch")
    row = row_of(MODELS[name], path, target)
    assert (row.refused, row.same) == ("", True)
