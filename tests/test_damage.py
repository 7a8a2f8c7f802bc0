"""Damage of small models: what is compared with what, on which samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.accuracy import Head, divergence
from hwopt.calibration.data import Arrays, Labels, from_source
from hwopt.damage.measure import KL, RELATIVE, cross_fitted, measured, outputs_of, price_damage
from hwopt.edit import set_constant
from hwopt.nodes import Array, FloatArray, constant_array
from hwopt.repair.effort import Effort
from hwopt.repair.marks import request_fit
from hwopt.repair.reference import Reference
from tests.graphs import classifier, ibn, output_of

SMALL = Effort(rows=2000, pool=2000, joint_rounds=5, downstream=0)


def images(count: int = 60) -> FloatArray:
    return np.random.default_rng(0).normal(size=(count, 3, 16, 16)).astype(np.float32)


def reference(labels: Labels | None = None) -> Reference:
    return Reference(classifier(), from_source(Arrays({"x": images()}), labels), threads=1)


def own_labels() -> Labels:
    """What the model itself says, wrong for every sixth sample."""
    labels = np.asarray(output_of(classifier(), images()).argmax(axis=1), np.int64)
    labels[::6] = (labels[::6] + 1) % 10
    return labels


def scaled(output: str, factor: float) -> ir.Model:
    """The classifier with one weight scaled and marked to be fitted."""
    changed = classifier()
    node = next(node for node in changed.graph if node.outputs[0].name == output)
    weight = constant_array(node.inputs[1])
    assert weight is not None
    set_constant(node, 1, (np.asarray(weight, np.float32) * np.float32(factor)))
    request_fit(node)
    return changed


def test_an_unchanged_model_has_no_damage() -> None:
    found = measured(reference(own_labels()), classifier())
    assert found.kind == KL
    assert found.divergence == 0.0
    assert found.agreement == 1.0
    assert found.before == found.after == pytest.approx(50 / 60)
    assert found.drop is not None
    assert found.drop.value == 0.0
    assert found.samples == 60


def test_divergence_is_the_mean_over_all_samples() -> None:
    changed = scaled("y", 0.7)
    found = measured(reference(), changed)
    one, two = output_of(classifier(), images()), output_of(changed, images())
    assert found.divergence == pytest.approx(float(divergence(one, two, Head("y", False)).mean()), rel=1e-3)
    assert found.agreement == pytest.approx(float((one.argmax(1) == two.argmax(1)).mean()))
    assert found.metric is None
    assert found.drop is None


def test_cross_fitting_repairs_what_can_be_repaired() -> None:
    data = reference(own_labels())
    changed = scaled("p", 0.2)
    found = cross_fitted(data, changed, seed=0, effort=SMALL)
    assert found.divergence < 1e-3 * measured(data, changed).divergence
    assert found.samples == 60
    assert len(found.per_fold) == 5
    assert found.metric == "top1"
    assert found.drop is not None
    assert found.drop.value == pytest.approx(0.0)


def test_price_uses_one_held_out_fold() -> None:
    data = reference(own_labels())
    found = price_damage(data, scaled("d", 0.5), seed=0)
    assert found.samples == len(data.calibration.folds[0])
    assert found.divergence == price_damage(data, scaled("d", 0.5), seed=0).divergence


def test_outputs_from_the_middle_are_those_of_the_whole_model() -> None:
    data, changed = reference(), scaled("h", 1.5)
    found = np.asarray(outputs_of(data, changed, [3, 30, 31])["y"], np.float32)
    np.testing.assert_allclose(found, output_of(changed, images())[[3, 30, 31]], rtol=1e-4, atol=1e-4)


def test_a_users_metric_is_asked_per_fold() -> None:
    seen: list[int] = []

    def mean_of_first(outputs: Mapping[str, Array], labels: Labels | None) -> float:
        assert labels is None
        seen.append(len(outputs["y"]))
        return float(np.asarray(outputs["y"], np.float64)[:, 0].mean())

    data, changed = reference(), scaled("p", 0.5)
    found = cross_fitted(data, changed, seed=0, metric=mean_of_first, effort=SMALL)
    assert found.metric == "mean_of_first"
    assert sorted(seen) == [12] * 10
    assert found.before == pytest.approx(float(output_of(classifier(), images())[:, 0].mean()), abs=1e-4)


def test_a_model_that_is_no_classifier_gets_a_relative_error() -> None:
    x = np.random.default_rng(0).normal(size=(20, 16, 14, 14)).astype(np.float32)
    base = ibn()
    data = Reference(base, from_source(Arrays({"x": x})), threads=1)
    changed = base.clone()
    node = next(node for node in changed.graph if node.outputs[0].name == "p")
    weight = constant_array(node.inputs[1])
    assert weight is not None
    set_constant(node, 1, np.asarray(weight, np.float32) * np.float32(0.9))
    found = measured(data, changed)
    one, two = (output_of(model, x).reshape(20, -1) for model in (base, changed))
    expected = np.linalg.norm(one - two, axis=1) / np.linalg.norm(one, axis=1)
    assert found.kind == RELATIVE
    assert found.agreement is None
    assert found.divergence == pytest.approx(float(expected.mean()), rel=1e-3)
