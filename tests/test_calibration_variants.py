"""Variants of samples: other content, the same fold, and nothing is ever judged on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from hwopt.calibration.data import Arrays, Calibration, from_source, load_calibration
from hwopt.calibration.images import random_crop
from hwopt.calibration.variants import augmented, shifted
from hwopt.damage.measure import price_damage
from hwopt.errors import BadInput
from hwopt.nodes import FloatArray
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import _samples
from tests.graphs import classifier, values_of


def images(count: int = 23, shape: tuple[int, ...] = (3, 16, 16)) -> FloatArray:
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)


def arrays(x: FloatArray) -> Calibration:
    return from_source(Arrays({"x": x}), np.arange(len(x)) % 3)


def test_samples_folds_and_labels_stay_what_they_are() -> None:
    plain = arrays(images())
    more = augmented(plain, 2, 0)
    assert (len(more), more.folds, more.copies) == (23, plain.folds, 2)
    assert more.labels is plain.labels
    assert more.fingerprint != plain.fingerprint
    np.testing.assert_array_equal(more.batch([4, 2])["x"], plain.batch([4, 2])["x"])
    assert augmented(plain, 0, 0) is plain


def test_variants_depend_on_content_number_and_seed_alone() -> None:
    x, order = images(), np.random.default_rng(3).permutation(23)
    one, two = augmented(arrays(x), 2, 7), augmented(arrays(x[order]), 2, 7)
    for place in (0, 5, 22):
        sample = int(order[place])
        first = one.batch([one.variant(sample, 1)])["x"]
        np.testing.assert_array_equal(first, two.batch([two.variant(place, 1)])["x"])
        assert not np.array_equal(first, one.batch([one.variant(sample, 0)])["x"])
        other = augmented(arrays(x), 2, 8)
        assert not np.array_equal(first, other.batch([other.variant(sample, 1)])["x"])


def test_a_batch_keeps_the_order_asked_for() -> None:
    data = augmented(arrays(images()), 2, 0)
    index = [data.variant(3, 1), 3, data.variant(9, 0)]
    together = data.batch(index)["x"]
    for row, one in enumerate(index):
        np.testing.assert_array_equal(together[row], data.batch([one])["x"][0])
    assert [data.origin(i) for i in index] == [3, 3, 9]


@pytest.mark.parametrize("shape", [(3, 12, 16), (12, 16, 3)])
def test_a_shifted_image_holds_pixels_of_the_image_in_their_channel(shape: tuple[int, ...]) -> None:
    axis = shape.index(3)
    x = np.moveaxis(np.arange(3 * 12 * 16).reshape(3, 12, 16), 0, axis).astype(np.float32)[None]
    moved = np.moveaxis(shifted({"x": x}, np.random.default_rng(1))["x"][0], axis, 0)
    for channel in range(3):
        held = moved[channel] - channel * 12 * 16
        assert held.min() >= 0
        assert held.max() < 12 * 16
        steps = np.abs(np.diff(held, axis=1))
        assert (steps <= 1).all()  # neighbours stay neighbours, reflected or not
        assert (steps == 1).mean() > 0.9


def test_inputs_that_are_no_images_are_left_alone() -> None:
    sample = {"x": images(1), "n": np.ones((1, 4), np.float32)}
    found = shifted(sample, np.random.default_rng(0))
    assert found["n"] is sample["n"]
    plain = arrays(images(shape=(4,)))
    same = augmented(plain, 3, 0)
    assert same.copies == 0
    assert "no variants" in same.notes[-1]


def test_a_crop_of_an_even_ramp_is_a_ramp_of_a_smaller_range() -> None:
    ramp = np.tile(np.arange(0, 240, 2, dtype=np.uint8), (120, 1))
    for seed in range(5):
        found = np.asarray(random_crop(Image.fromarray(ramp), (60, 60), np.random.default_rng(seed)), float)
        assert found.shape == (60, 60)
        rises = np.diff(found.mean(axis=0))
        assert (rises >= 0).all() or (rises <= 0).all()  # mirrored or not
        share = abs(found[0, -1] - found[0, 0]) / 236
        assert 0.6**0.5 * (3 / 4) ** 0.5 - 0.05 < share <= 1  # side of the smallest area, narrowest aspect


def test_image_folders_are_varied_on_pixels(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
    net (float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu(x) }"""
    rng = np.random.default_rng(0)
    for index in range(12):
        Image.fromarray(rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)).save(tmp_path / f"{index:02}.png")
    (tmp_path / "preprocess.toml").write_text("crop = 8\nmean = 0\nscale = 1\n")
    data = augmented(load_calibration(tmp_path, ir.from_onnx_text(text)), 1, 0)
    found = data.batch([data.variant(2, 0)])["x"]
    assert found.shape == (1, 3, 8, 8)
    np.testing.assert_array_equal(found, found.round())  # still pixels
    assert not np.array_equal(found, data.batch([2])["x"])


def test_repair_sees_variants_on_the_side_of_their_sample() -> None:
    data = augmented(arrays(images()), 2, 0)
    reference = Reference(classifier(), data, threads=1)
    assert len(reference.originals) == 23
    assert len(reference.recorded) == 69
    samples, tuning = _samples(reference, [0, 2])
    allowed = set(data.folds[0]) | set(data.folds[2])
    assert len(samples) == 3 * len(allowed)
    assert {data.origin(i) for i in samples} == allowed
    assert {data.origin(i) for i, last in zip(samples, tuning, strict=True) if last} == set(data.folds[2])


def test_inner_values_of_variants_are_recorded() -> None:
    data = augmented(arrays(images()), 1, 0)
    reference = Reference(classifier(), data, threads=1)
    index = [data.variant(7, 0), 7]
    found = np.concatenate([np.asarray(v, np.float32) for _, v in reference.stream("s", index)])
    expected = values_of(reference.base, np.asarray(data.batch(index)["x"], np.float32), "s")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_nothing_is_judged_on_variants() -> None:
    """A model that is the base has no damage, and is judged on as many samples as without variants."""
    reference = Reference(classifier(), augmented(arrays(images()), 2, 0), threads=1)
    found = price_damage(reference, reference.base.clone(), seed=0)
    assert found.samples == len(reference.calibration.folds[0])
    assert found.divergence == pytest.approx(0.0, abs=1e-9)
    assert len(reference.outputs()["y"]) == 23


def test_impossible_numbers_of_copies() -> None:
    for copies in (-1, 17):
        with pytest.raises(BadInput, match="--augment"):
            augmented(arrays(images()), copies, 0)
    with pytest.raises(BadInput, match="again"):
        augmented(augmented(arrays(images()), 1, 0), 1, 0)
