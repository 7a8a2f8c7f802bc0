"""Measures of difference against formulas written out."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import scipy.stats

from hwopt.accuracy import (
    Head,
    class_scores,
    divergence,
    drop_over_folds,
    expected_drop,
    log_probabilities,
    paired_drop,
    relative_error,
)
from hwopt.nodes import Array, FloatArray


def scores(seed: int) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(9, 4)).astype(np.float32)


def test_divergence_is_scipys_entropy() -> None:
    p, q = (np.exp(log_probabilities(scores(s), softmax=False)) for s in (0, 1))
    expected = scipy.stats.entropy(p, q, axis=1)
    np.testing.assert_allclose(divergence(scores(0), scores(1), Head("y", False)), expected, rtol=1e-6)
    np.testing.assert_allclose(divergence(p, q, Head("y", True)), expected, rtol=1e-6)


def test_divergence_survives_probabilities_of_zero() -> None:
    one_hot = np.eye(4, dtype=np.float32)
    found = divergence(one_hot, one_hot[::-1], Head("y", True))
    assert np.isfinite(found).all()
    assert not divergence(one_hot, one_hot, Head("y", True)).any()


def test_large_logits_do_not_overflow() -> None:
    assert np.isfinite(divergence(scores(0) * 1e4, scores(1) * 1e4, Head("y", False))).all()


def test_relative_error_takes_the_worst_output() -> None:
    before: dict[str, Array] = {
        "a": np.full((2, 3), 2.0, np.float32),
        "b": np.ones((2, 1), np.float32),
        "index": np.zeros((2, 1), np.int64),
    }
    after = before | {"a": np.full((2, 3), 2.2, np.float32), "b": np.array([[1.0], [1.5]], np.float32)}
    np.testing.assert_allclose(relative_error(before, after), np.array([0.1, 0.5]), rtol=1e-5)


def test_paired_error_counts_discordant_samples_only() -> None:
    before = np.array([True] * 90 + [False] * 10)
    after = before.copy()
    after[:7], after[90:92] = False, True
    drop = paired_drop(before, after)
    assert drop.value == pytest.approx(0.05)
    variance = (9 / 100 - 0.05**2) * 100 / 99  # (n01 + n10)/n - ((n10 - n01)/n)^2, unbiased
    assert drop.error == pytest.approx(np.sqrt(variance / 100))
    assert drop.interval[1] - drop.interval[0] == pytest.approx(2 * 1.959964 * drop.error, rel=1e-6)


def test_drop_of_a_metric_is_the_mean_over_folds() -> None:
    drop = drop_over_folds([0.9, 0.8, 0.7], [0.8, 0.8, 0.7])
    assert drop.value == pytest.approx(0.1 / 3)
    assert drop.error == pytest.approx(np.std([0.1, 0, 0], ddof=1) / np.sqrt(3))


@pytest.mark.parametrize(
    ("body", "outputs", "labelled", "expected"),
    [
        ("y = Relu(x)", "float[N,12] y", False, Head("y", False)),
        ("y = Softmax(x)", "float[N,2] y", False, Head("y", True)),
        ("y = Relu(x)", "float[N,2] y", False, None),
        ("y = Relu(x)", "float[N,2] y", True, Head("y", False)),
        ("y = Relu(x)", "float[N,3,4] y", True, None),
        ("y = Relu(x) z = Relu(x)", "float[N,12] y, float[N,12] z", True, None),
    ],
)
def test_what_looks_like_a_classifier(body: str, outputs: str, labelled: bool, expected: Head | None) -> None:
    model = ir.from_onnx_text(f"""
        <ir_version: 8, opset_import: ["" : 13]>
        net (float[N,12] x) => ({outputs}) {{ {body} }}""")
    assert class_scores(model, labelled) == expected


def test_the_expected_drop_is_the_drop_that_many_labels_would_show() -> None:
    """Labels are drawn from the base's own probabilities, sharpened: its scores are underconfident."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40_000, 10)).astype(np.float32)
    sharp = np.exp(3.0 * values.astype(np.float64))
    sharp /= sharp.sum(axis=1, keepdims=True)
    labels = (sharp.cumsum(axis=1) > rng.random((len(sharp), 1))).argmax(axis=1)
    changed = values + 0.5 * rng.standard_normal(values.shape).astype(np.float32)
    counted = paired_drop(values.argmax(axis=1) == labels, changed.argmax(axis=1) == labels)
    expected = expected_drop(values, changed, labels, softmax=False)
    assert abs(expected.value - counted.value) < 4 * counted.error
    few = slice(0, 300)
    some = expected_drop(values[few], changed[few], labels[few], softmax=False)
    assert abs(some.value - expected.value) < 4 * some.error
    assert (
        some.error
        < paired_drop(
            values[few].argmax(axis=1) == labels[few], changed[few].argmax(axis=1) == labels[few]
        ).error
    )


def test_unchanged_decisions_are_expected_to_cost_nothing() -> None:
    values = np.random.default_rng(1).standard_normal((50, 10)).astype(np.float32)
    assert expected_drop(values, 2 * values, values.argmax(axis=1), softmax=False).value == 0.0


def test_outputs_without_floats_are_compared_entry_by_entry() -> None:
    """Nothing to measure would be no number at all, which no limit holds back."""
    words = np.array(["a", "b", "c"], object)
    assert relative_error({"y": words}, {"y": words[[0, 2, 2]]}).tolist() == [0.0, 1.0, 0.0]
    masks = np.array([[1, 2], [3, 4]])
    assert relative_error({"m": masks}, {"m": np.array([[1, 0], [3, 4]])}).tolist() == [0.5, 0.0]
