"""Calibration data from an iterable is that of the same samples in a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.calibration.data import load_calibration
from hwopt.calibration.stream import calibration_of
from hwopt.calibration.variants import augmented
from hwopt.errors import BadInput
from hwopt.settings import settings
from hwopt.work import open_work

ONE = """<ir_version: 8, opset_import: ["" : 13]>
net (float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu(x) }"""
FIXED = ONE.replace("float[N,", "float[1,")
FREE = ONE.replace("8,8] x", "H,W] x")
TWO = """<ir_version: 8, opset_import: ["" : 13]>
net (float[N,4] a, float[N,4] b) => (float[N,4] y) { y = Add(a, b) }"""
X = np.random.default_rng(0).normal(size=(23, 3, 8, 8)).astype(np.float32)
LABELS = np.arange(23) % 4


def model(text: str) -> ir.Model:
    return ir.from_onnx_text(text)


@pytest.mark.parametrize(
    "items",
    [
        X,
        list(X),
        (sample for sample in X),
        (X[i : i + 5] for i in range(0, 23, 5)),
        ({"x": sample} for sample in X),
        [X[:1], X[1], X[2:]],
        {"x": X},
    ],
    ids=["array", "list", "generator", "batches", "dicts", "mixed", "one dict"],
)
def test_every_way_gives_the_data_of_the_file(items: Iterable[object], tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X)
    expected = load_calibration(tmp_path / "d.npz", model(ONE))
    found = calibration_of(items, model(ONE))
    assert (found.fingerprint, found.folds) == (expected.fingerprint, expected.folds)
    np.testing.assert_array_equal(found.batch([22, 0, 7])["x"], X[[22, 0, 7]])


def test_labels_come_in_pairs(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X, labels=LABELS)
    expected = load_calibration(tmp_path / "d.npz", model(ONE))
    for items in (zip(X, LABELS, strict=True), [(X[:9], LABELS[:9]), (X[9:], list(LABELS[9:]))]):
        found = calibration_of(items, model(ONE))
        assert found.labels is not None
        assert found.labels.tolist() == LABELS.tolist()
        assert found.fingerprint == expected.fingerprint


def test_several_inputs() -> None:
    a = np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32)
    found = calibration_of(({"a": row, "b": row + 1} for row in a), model(TWO))
    np.testing.assert_array_equal(found.batch([3])["b"], a[3:4] + 1)


def test_a_fixed_batch_takes_samples_with_and_without_the_axis() -> None:
    assert calibration_of(X, model(FIXED)).fingerprint == calibration_of(X[:, None], model(FIXED)).fingerprint


def test_the_samples_outlive_the_iterable_and_can_be_varied() -> None:
    data = augmented(calibration_of(iter(X.copy()), model(ONE)), 1, 0)
    assert data.batch([2, data.variant(2, 0)])["x"].shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("item", "text", "says"),
    [
        (np.zeros((3, 8, 9), np.float32), ONE, "3x8x9"),
        (np.zeros((3, 8, 8)), ONE, "float64"),
        ({"z": X[0]}, ONE, "'x'"),
        ({"x": X[0], "z": X[0]}, ONE, "'z'"),
        ((X[0], 1), ONE, "a label"),
        ((X[0], X[0], X[0]), ONE, "pair"),
        (["a", "b"], ONE, "takes float32"),
        (object(), ONE, "object"),
        (np.float32(1), ONE, "single number"),
        (X[:0], ONE, "samples"),
        (X[0, :, :4], FREE, "one shape"),
        (np.where(X[0] > 0.5, np.nan, X[0]).astype(np.float32), ONE, "NaN"),
        (X[0], TWO, "inputs a, b"),
        ({"a": np.zeros((2, 4), np.float32), "b": np.zeros(4, np.float32)}, TWO, "axis 0"),
    ],
)
def test_what_cannot_be_used_is_named(item: object, text: str, says: str) -> None:
    good: list[object] = [X[0], X[1]]
    if text == TWO:
        good = [{"a": X[0, 0, 0, :4], "b": X[0, 0, 0, :4]}] * 2
    with pytest.raises(BadInput) as caught:
        calibration_of([*good, item], model(text))
    assert "item 2" in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_wrong_label() -> None:
    for last, says in ((X[1], "no label"), ((X[1], 1.5), "integers"), ((X[:2], 1), "2 integers")):
        with pytest.raises(BadInput, match=says):
            calibration_of([(X[0], 1), last], model(ONE))


def test_too_few() -> None:
    with pytest.raises(BadInput, match="at least 10"):
        calibration_of(X[:4], model(ONE))
    with pytest.raises(BadInput, match="at least 10"):
        calibration_of(iter(()), model(ONE))


def test_a_run_takes_an_iterable_and_varies_it() -> None:
    found = open_work(model(ONE), "edge-npu", settings(augment=2), calib=iter(X)).calibration
    assert found is not None
    assert (len(found), found.copies) == (23, 2)
    with pytest.raises(BadInput, match="pairs"):
        open_work(model(ONE), "edge-npu", settings(), calib=iter(X), labels="labels.csv")
