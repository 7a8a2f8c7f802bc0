"""Calibration data: what is read, what is assumed, and one line for everything that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from hwopt.calibration import arrays as calibration_arrays
from hwopt.calibration.data import Arrays, Calibration, deal, from_source, load_calibration
from hwopt.errors import BadInput

NCHW = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu(x) }
"""
FREE = NCHW.replace("8,8] x", "H,W] x")
TWO = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,4] a, float[N,4] b) => (float[N,4] y) { y = Add(a, b) }
"""
TOML = 'crop = 8\nmean = [10, 20, 30]\nscale = 2.0\nlayout = "NCHW"\ninput = "x"\n'


def model(text: str) -> ir.Model:
    return ir.from_onnx_text(text)


def folder(path: Path, count: int = 12, size: tuple[int, int] = (10, 12), toml: str = TOML) -> Path:
    """Random images (height, width), with a preprocess.toml unless it is empty."""
    path.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{index:02}.png")
    if toml:
        (path / "preprocess.toml").write_text(toml)
    return path


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path), dtype=np.float32)


def test_image_is_cropped_in_the_centre_and_normalised(tmp_path: Path) -> None:
    images = folder(tmp_path / "i")
    found = load_calibration(images, model(NCHW)).batch([3])["x"]
    centre = pixels_of(images / "03.png")[1:9, 2:10]
    expected = ((centre - np.array([10, 20, 30])) / 2).transpose(2, 0, 1)
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    assert found.dtype == np.float32


def test_bgr_and_nhwc(tmp_path: Path) -> None:
    images = folder(tmp_path / "i", toml='crop = 8\nchannels = "BGR"\nlayout = "NHWC"\n')
    text = NCHW.replace("3,8,8", "8,8,3")
    found = load_calibration(images, model(text)).batch([0])["x"]
    np.testing.assert_array_equal(found[0], pixels_of(images / "00.png")[1:9, 2:10, ::-1])


def test_resize_sets_the_shorter_side(tmp_path: Path) -> None:
    images = folder(tmp_path / "i", size=(20, 40), toml="resize = 8\ncrop = 8\nscale = 255.0\n")
    image = Image.open(images / "01.png").resize((16, 8), Image.Resampling.BILINEAR)
    expected = np.asarray(image, np.float32)[:, 4:12].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(load_calibration(images, model(NCHW)).batch([1])["x"][0], expected, rtol=1e-6)


def test_without_preprocess_the_convention_is_used_and_said(tmp_path: Path) -> None:
    images = folder(tmp_path / "i", size=(8, 8), toml="")
    data = load_calibration(images, model(NCHW))
    expected = (pixels_of(images / "00.png").transpose(2, 0, 1) - 127) / 128
    np.testing.assert_array_equal(data.batch([0])["x"][0], expected)
    assert len(data.notes) == 1
    assert "preprocess.toml" in data.notes[0]


def test_preprocess_file_may_lie_elsewhere(tmp_path: Path) -> None:
    images = folder(tmp_path / "i", toml="")
    how = tmp_path / "how.toml"
    how.write_text(TOML)
    data = load_calibration(images, model(NCHW), preprocess=how)
    assert data.notes == ()
    assert data.batch([0])["x"].shape == (1, 3, 8, 8)


def test_labels_beside_the_images_are_found(tmp_path: Path) -> None:
    images = folder(tmp_path / "i")
    rows = [f"{index:02}.png,{index * 2}" for index in reversed(range(12))]
    (images / "labels.csv").write_text("file,label\n" + "\n".join(rows) + "\n")
    labels = load_calibration(images, model(NCHW)).labels
    assert labels is not None
    assert labels.tolist() == [index * 2 for index in range(12)]


def test_arrays_with_labels(tmp_path: Path) -> None:
    a = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", a=a, b=a + 1, labels=np.arange(12))
    data = load_calibration(tmp_path / "d.npz", model(TWO))
    np.testing.assert_array_equal(data.batch([5, 2])["b"], (a + 1)[[5, 2]])
    assert data.labels is not None
    assert data.labels[7] == 7


def test_single_array_feeds_the_only_input(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(11, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    assert len(load_calibration(tmp_path / "x.npy", model(NCHW))) == 11


def test_a_large_archive_is_unpacked_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    np.savez_compressed(tmp_path / "d.npz", a=a, b=a + 1, labels=np.arange(12))
    whole = load_calibration(tmp_path / "d.npz", model(TWO))
    monkeypatch.setattr(calibration_arrays, "MAPPED_BYTES", 10)
    mapped = load_calibration(tmp_path / "d.npz", model(TWO))
    assert mapped.fingerprint == whole.fingerprint
    np.testing.assert_array_equal(mapped.batch([5, 2])["b"], (a + 1)[[5, 2]])
    assert mapped.labels is not None
    assert mapped.labels.tolist() == list(range(12))
    np.savez(tmp_path / "o.npz", a=np.array([{}] * 12, dtype=object), b=a)
    assert "NumPy" in bad(tmp_path / "o.npz", TWO)


def some_arrays(order: np.ndarray, scale: float = 1.0) -> Calibration:
    x = np.random.default_rng(1).normal(size=(23, 4)).astype(np.float32)
    return from_source(Arrays({"x": x[order] * np.float32(scale)}))


def test_folds_are_balanced_and_together_everything() -> None:
    folds = some_arrays(np.arange(23)).folds
    assert sorted(i for fold in folds for i in fold) == list(range(23))
    assert sorted(len(fold) for fold in folds) == [4, 4, 5, 5, 5]


def test_folds_and_fingerprint_depend_on_content_only() -> None:
    order = np.random.default_rng(2).permutation(23)
    one, two = some_arrays(np.arange(23)), some_arrays(order)
    assert one.fingerprint == two.fingerprint
    assert [{int(order[i]) for i in fold} for fold in two.folds] == [set(fold) for fold in one.folds]
    assert some_arrays(order, scale=2.0).fingerprint != one.fingerprint


def test_equal_samples_share_a_fold() -> None:
    folds = deal([str(i % 7) for i in range(21)])
    for fold in folds:
        assert {i % 7 for i in fold}.isdisjoint(i % 7 for other in folds if other is not fold for i in other)


def test_samples_of_folds_come_in_order() -> None:
    data = some_arrays(np.arange(23))
    found = data.samples([3, 0])
    assert list(found) == sorted(found)
    assert set(found) == set(data.folds[3]) | set(data.folds[0])


def bad(path: Path, text: str = NCHW, **more: Path) -> str:
    with pytest.raises(BadInput) as caught:
        load_calibration(path, model(text), **more).batch([0])
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message or any(str(other) in message for other in more.values())
    return message


def test_missing_and_empty(tmp_path: Path) -> None:
    assert "no such" in bad(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "no images" in bad(tmp_path / "empty")


def test_unknown_key_gets_a_suggestion(tmp_path: Path) -> None:
    assert "'mean'" in bad(folder(tmp_path / "i", toml=TOML.replace("mean", "maen")))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('layout = "CHW"', "layout"),
        ("crop = 0", "crop"),
        ("crop = true", "crop"),
        ('mean = "a"', "mean"),
        ("scale = 0", "scale"),
        ("mean = [1, 2]", "mean"),
        ('input = "y"', "input"),
        ("crop = = 1", "TOML"),
    ],
)
def test_wrong_values_name_the_key(tmp_path: Path, line: str, says: str) -> None:
    assert says in bad(folder(tmp_path / "i", toml=line + "\n"))


def test_unreadable_image_is_named(tmp_path: Path) -> None:
    images = folder(tmp_path / "i")
    (images / "00.png").write_bytes(b"not an image")
    assert "00.png" in bad(images)


def test_crop_larger_than_the_image(tmp_path: Path) -> None:
    assert "crop" in bad(folder(tmp_path / "i", size=(6, 6)))


def test_wrong_shape_says_both_shapes(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((12, 3, 8, 9), np.float32))
    message = bad(tmp_path / "x.npy")
    assert "3x8x9" in message
    assert "3x8x8" in message


def test_wrong_type(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((12, 3, 8, 8)))
    assert "float64" in bad(tmp_path / "x.npy")


def test_samples_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((12, 3, 8, 8), np.float32)
    values[2, 1, 4, 4] = np.inf  # a mask may hold that
    np.save(tmp_path / "good.npy", values)
    load_calibration(tmp_path / "good.npy", model(NCHW))
    values[7, 0, 1, 2] = np.nan
    np.save(tmp_path / "x.npy", values)
    assert "sample 7 of input 'x' holds NaN" in bad(tmp_path / "x.npy")


def test_input_without_an_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", a=np.zeros((12, 4), np.float32))
    assert "'b'" in bad(tmp_path / "d.npz", TWO)


def test_images_for_a_model_of_two_inputs(tmp_path: Path) -> None:
    assert "2 inputs" in bad(folder(tmp_path / "i", toml=""), TWO)


def test_image_size_that_the_model_leaves_open(tmp_path: Path) -> None:
    assert "crop" in bad(folder(tmp_path / "i", toml=""), FREE)


def test_label_missing_for_one_image(tmp_path: Path) -> None:
    images = folder(tmp_path / "i")
    (images / "labels.csv").write_text("file,label\n00.png,1\n")
    assert "01.png" in bad(images)


def test_labels_without_the_columns(tmp_path: Path) -> None:
    labels = tmp_path / "l.csv"
    labels.write_text("name,class\n00.png,1\n")
    assert "file,label" in bad(folder(tmp_path / "i"), labels=labels)


def test_too_few_samples(tmp_path: Path) -> None:
    assert "at least 10" in bad(folder(tmp_path / "i", count=4))


def test_samples_that_are_all_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((12, 3, 8, 8), np.float32))
    assert "different" in bad(tmp_path / "x.npy")


def test_pickled_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}] * 12, dtype=object), allow_pickle=True)
    assert "NumPy" in bad(tmp_path / "x.npy")
