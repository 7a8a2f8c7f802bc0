"""What two models are run on: noise in shapes that fit, and the data of users."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from hwopt.debug import generated_inputs
from hwopt.debug.compare.data import given_inputs
from hwopt.errors import BadInput
from hwopt.runtime import Session
from tests.debug.compare_nets import (
    SQRT,
    noise,
    parsed,
)
from tests.graphs import classifier

DYNAMIC = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,3,H,W] x) => (float[A,B,C] y)
<int64[3] to = {0, 3, -1}> { y = Reshape(x, to) }
"""
TWO_SIZES = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,T] x, float[N,T] m) => (float[N,T] y) { y = Mul(x, m) }
"""
IN_TILES = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[1,3,H,W] x) => (float[1,3,A,B,C,D] y)
<int64[6] to = {1, 3, -1, 96, 1, 96}> { y = Reshape(x, to) }
"""


def test_free_axes_get_two_sizes_and_two_batches() -> None:
    shapes = [item.feeds["x"].shape for item in noise(parsed(DYNAMIC))]
    assert shapes == [(1, 3, 64, 64), (3, 3, 64, 64), (1, 3, 96, 96)]
    both = noise(parsed(TWO_SIZES))
    assert all(item.feeds["x"].shape == item.feeds["m"].shape for item in both)
    assert len(both) == 3


def test_sizes_that_the_model_refuses_are_left_out() -> None:
    model = parsed(IN_TILES)  # H x W must be a multiple of 96 x 96
    assert [item.feeds["x"].shape[2] for item in noise(model)] == [96]
    given = generated_inputs(model, Session(model).run, {"x": (1, 3, 192, 96)}, samples=2)
    assert [item.feeds["x"].shape for item in given] == [(1, 3, 192, 96)] * 2
    assert not np.array_equal(given[0].feeds["x"], given[1].feeds["x"])
    with pytest.raises(BadInput, match="does not run on generated inputs"):
        generated_inputs(model, Session(model).run, {"x": (1, 3, 50, 50)})
    with pytest.raises(BadInput, match="--input-shape x:"):
        noise(parsed(IN_TILES.replace("96", "97")))


def test_arrays_are_run_as_they_are_or_in_the_models_batch(tmp_path: Path) -> None:
    free, fixed = classifier(), classifier()
    fixed.graph.inputs[0].shape = ir.Shape([2, 3, 16, 16])
    many = np.random.default_rng(0).standard_normal((12, 3, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "some.npz", x=many[:4])
    np.save(tmp_path / "many.npy", many)
    (whole,) = given_inputs(tmp_path / "some.npz", free)
    assert np.array_equal(whole.feeds["x"], many[:4])
    (cut,) = given_inputs(tmp_path / "many.npy", free, samples=5)
    assert np.array_equal(cut.feeds["x"], many[:5])
    assert "5 of 12" in cut.name
    pairs = given_inputs(tmp_path / "many.npy", fixed, samples=3)
    assert [np.array_equal(item.feeds["x"], many[2 * n : 2 * n + 2]) for n, item in enumerate(pairs)] == [
        True, True, True,
    ]  # fmt: skip


def test_a_folder_holds_an_array_per_input_or_samples(tmp_path: Path) -> None:
    model = parsed(TWO_SIZES)
    for name, number in (("x", 2.0), ("m", 3.0)):
        np.save(tmp_path / f"{name}.npy", np.full((1, 5), number, np.float32))
    (item,) = given_inputs(tmp_path, model)
    assert item.feeds["x"][0, 0] == 2.0
    assert item.feeds["m"][0, 0] == 3.0
    samples = given_inputs(tmp_path, parsed(SQRT.replace("4", "5")))
    assert [item.feeds["x"][0, 0] for item in samples] == [2.0]  # x.npy is the input's own name
    (tmp_path / "x.npy").rename(tmp_path / "first.npy")
    samples = given_inputs(tmp_path, parsed(SQRT.replace("4", "5")))
    assert [item.feeds["x"][0, 0] for item in samples] == [2.0, 3.0]
    with pytest.raises(BadInput, match=r"one \.npy per input, named x.npy, m.npy"):
        given_inputs(tmp_path, model)


def test_images_are_prepared_as_for_calibration(tmp_path: Path) -> None:
    model = parsed(SQRT.replace("[N,4]", "[N,3,8,8]"))
    for number in range(3):
        Image.fromarray(np.full((8, 8, 3), 10 * number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "preprocess.toml").write_text("crop = 8\nscale = 10.0\n", "utf-8")
    found = given_inputs(tmp_path, model, samples=2)
    assert [item.feeds["x"].shape for item in found] == [(1, 3, 8, 8)] * 2
    assert [float(item.feeds["x"].max()) for item in found] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.zeros((1, 4), np.float32)}, "no array for input 'x'; it has z"),
        ({"x": np.zeros((1, 4), np.int32)}, "input 'x' takes float32, the array is int32"),
        ({"x": np.zeros((1, 5), np.float32)}, "input 'x' takes ?x4, the array is 1x5"),
        ({"x": np.zeros(4, np.float32)}, "input 'x' takes ?x4, the array is 4"),
    ],
)
def test_inputs_that_do_not_fit_are_bad_input(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(BadInput) as caught:
        given_inputs(tmp_path / "bad.npz", parsed(SQRT))
    assert message in str(caught.value)
    assert "bad.npz" in str(caught.value)
