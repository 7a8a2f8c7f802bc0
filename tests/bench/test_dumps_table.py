"""The table of dumps tells dumps that hold from those that do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

import hwopt
from bench.dumps import Row, dumps_of, table
from hwopt.ir import save_model
from tests.small_models import MODELS


@pytest.fixture
def place(tmp_path: Path) -> Path:
    save_model(MODELS["branches"](), tmp_path / "model.onnx")
    hwopt.optimize(tmp_path / "model.onnx", target="edge-npu", refine=0, dump_dir=tmp_path / "dumps")
    return tmp_path


def rows(place: Path) -> list[Row]:
    return list(dumps_of("branches", place / "model.onnx", place / "dumps", {}))


def test_dumps_that_hold(place: Path) -> None:
    found = rows(place)
    assert [row.failure for row in found] == [""] * len(found)
    assert found[0].file == "00-input.onnx"
    assert found[0].nested == 5, "Relu, If, Add, Sub, Neg"
    assert all(row.inferred == 1.0 for row in found)
    assert "| branches | 01-canonicalize.onnx |" in table(found)


def test_a_dump_that_differs_and_one_that_is_no_model(place: Path) -> None:
    first, second = sorted((place / "dumps").glob("*.onnx"))[:2]
    proto = onnx.load(second)
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == "v")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.ones(tuple(weight.dims), np.float32), "v"))
    onnx.save(proto, second)
    proto = onnx.load(first)
    proto.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(proto, first)
    broken, other, *_ = rows(place)
    assert "NoSuchOperator" in broken.failure
    assert other.failure == "differs from the original"
