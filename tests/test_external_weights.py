"""A model whose weights lie in a file beside it, as PyTorch exports it by default."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

import hwopt
from tests.graphs import classifier

ROOT = Path(__file__).parent.parent


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A classifier in a folder of its own, with its weights beside it."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save_model(
        ir.to_proto(classifier()), str(path), save_as_external_data=True, location="w.data", size_threshold=0
    )
    assert (folder / "w.data").is_file()
    return path


@pytest.mark.parametrize("passes", [(), ("shrink_kernel",)])  # the latter finds nothing without data
def test_the_result_needs_no_file_beside_it(model: Path, tmp_path: Path, passes: tuple[str, ...]) -> None:
    out = tmp_path / "out.onnx"
    result = hwopt.optimize(model, target="edge-npu", refine=0, output=out, passes=passes)
    assert result.files[0] == out
    written = onnx.load(str(out), load_external_data=False)
    assert written.graph.initializer
    assert all(not tensor.external_data for tensor in written.graph.initializer)
    onnx.checker.check_model(str(out), full_check=True)
