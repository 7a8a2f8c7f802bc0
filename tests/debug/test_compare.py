"""Two models side by side: outputs, interfaces, inputs, exit codes and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.helper as oh
import onnx.parser
import onnx_ir as ir
import pytest
from PIL import Image

from hwopt.cli import main
from hwopt.debug import Inputs, compare_outputs, generated_inputs
from hwopt.debug.compare_data import given_inputs
from hwopt.edit import set_constant
from hwopt.errors import BadInput
from hwopt.ir import load_model, save_model
from hwopt.nodes import as_conv
from hwopt.runtime import Session
from tests.graphs import classifier, output_of

NOISE = np.random.default_rng(3).standard_normal((2, 3, 16, 16)).astype(np.float32)


def parsed(text: str) -> ir.Model:
    """A model from ONNX text."""
    return ir.from_proto(onnx.parser.parse_model(text))


def bumped(model: ir.Model, output: str, by: float = 0.5) -> ir.Model:
    """The model with one weight of the convolution that makes `output` changed."""
    changed = model.clone()
    node = next(node for node in changed.graph if node.outputs[0].name == output)
    conv = as_conv(node)
    assert conv is not None
    weight = np.array(conv.weight)
    weight.reshape(-1)[0] += by
    set_constant(node, 1, weight)
    return changed


def noise(model: ir.Model) -> list[Inputs]:
    return generated_inputs(model, Session(model).run, {})


def written(folder: Path, **models: ir.Model) -> list[str]:
    """The models as files, in the order given."""
    for name, model in models.items():
        save_model(model, folder / f"{name}.onnx")
    return [str(folder / f"{name}.onnx") for name in models]


def test_a_model_equals_itself() -> None:
    model = classifier()
    found = compare_outputs(model, model.clone(), noise(model))
    assert found.same
    assert not found.interface
    assert not found.failure
    (output,) = found.outputs
    assert output.gap.different == 0
    assert output.gap.max_abs == 0.0
    assert output.gap.at is None
    assert output.top1 == (4, 4)  # 1 + 3 rows: the batch is free
    assert [item.feeds["x"].shape[0] for item in found.inputs] == [1, 3]


def test_statistics_are_those_of_the_two_arrays() -> None:
    model, other = classifier(), bumped(classifier(), "p")
    found = compare_outputs(model, other, [Inputs("noise", {"x": NOISE})])
    (output,) = found.outputs
    one, two = output_of(model, NOISE).astype(np.float64), output_of(other, NOISE).astype(np.float64)
    apart = np.abs(one - two)
    where = np.unravel_index(int(apart.argmax()), apart.shape)
    assert not found.same
    assert not output.same
    assert output.gap.max_abs == pytest.approx(apart.max(), rel=1e-4)
    assert output.gap.max_rel == pytest.approx(apart.max() / np.abs(one).max(), rel=1e-4)
    assert output.gap.mean_abs == pytest.approx(apart.mean(), rel=1e-4)
    assert output.gap.at == tuple(where)
    assert (output.gap.one, output.gap.two) == pytest.approx((one[where], two[where]), rel=1e-4)
    assert output.gap.snr_db == pytest.approx(10 * np.log10((one**2).sum() / (apart**2).sum()), rel=1e-3)
    cosine = (one * two).sum() / np.sqrt((one**2).sum() * (two**2).sum())
    assert output.gap.cosine == pytest.approx(cosine, rel=1e-5)
    assert output.top1 == (int((one.argmax(1) == two.argmax(1)).sum()), 2)


def test_a_rounding_apart_is_equal_and_a_given_tolerance_is_the_limit() -> None:
    model, inputs = classifier(), [Inputs("noise", {"x": NOISE})]
    close = bumped(model, "p", by=1e-5)
    assert compare_outputs(model, close, inputs).same
    assert not compare_outputs(model, close, inputs, tolerance=0.0).same
    far = bumped(model, "p")
    distance = compare_outputs(model, far, inputs).outputs[0].gap.max_rel
    assert compare_outputs(model, far, inputs, tolerance=distance * 1.01).same
    assert not compare_outputs(model, far, inputs, tolerance=distance * 0.99).same
    with pytest.raises(BadInput, match="--tolerance -1"):
        compare_outputs(model, far, inputs, tolerance=-1.0)


SQRT = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4] x) => (float[N,4] y) { y = Sqrt(x) }
"""
SQRT_OF_ABS = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4] x) => (float[N,4] y) { a = Abs(x) y = Sqrt(a) }
"""


def test_nan_in_both_is_equal_and_in_one_is_not() -> None:
    root, other = parsed(SQRT), parsed(SQRT_OF_ABS)
    inputs = [Inputs("two negative", {"x": np.array([[-1, 4, -9, 16]], np.float32)})]
    alike = compare_outputs(root, parsed(SQRT), inputs)
    assert alike.same
    assert alike.outputs[0].gap.nan == (2, 2)
    found = compare_outputs(root, other, inputs)
    gap = found.outputs[0].gap
    assert not found.same
    assert gap.nan == (2, 0)
    assert gap.max_abs == np.inf
    assert gap.different == 2
    assert gap.at == (0, 0)
    assert gap.two == 1.0
    assert np.isnan(gap.one or 0.0)
    assert not compare_outputs(root, other, inputs, tolerance=1e9).same


TWO = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Relu(x) z = Neg(x) }
"""


def test_an_output_that_is_missing_is_a_difference_of_the_interface() -> None:
    two, one = parsed(TWO), parsed(TWO)
    one.graph.outputs.pop()
    found = compare_outputs(two, one, noise(two))
    assert [output.name for output in found.outputs] == ["y"]
    assert found.outputs[0].same
    (gap,) = found.interface
    assert (gap.side, gap.name, gap.breaks) == ("output", "z", True)
    assert "only the first" in gap.what
    assert not found.same
    back = compare_outputs(one, two, noise(one))
    assert not back.same
    assert "only the second" in back.interface[0].what


def test_renamed_ports_are_compared_by_position() -> None:
    one, two = classifier(), classifier()
    two.graph.inputs[0].name, two.graph.outputs[0].name = "image", "scores"
    found = compare_outputs(one, two, noise(one))
    assert found.same
    assert (found.outputs[0].name, found.outputs[0].other) == ("y", "scores")
    assert [(gap.side, gap.breaks) for gap in found.interface] == [("input", False), ("output", False)]
    assert not compare_outputs(one, bumped(two, "p"), noise(one)).same


def test_without_a_common_output_there_is_nothing_to_compare() -> None:
    one, two = parsed(TWO), parsed(SQRT)
    two.graph.outputs[0].name = "other"
    with pytest.raises(BadInput, match="no output in common: one has y, z, the other other"):
        compare_outputs(one, two, noise(one))


def test_other_types_and_declared_shapes_are_told() -> None:
    one = parsed(SQRT)
    cast = parsed(SQRT.replace("=> (float[N,4] y)", "=> (double[N,4] y)").replace(
        "y = Sqrt(x)", "r = Sqrt(x) y = Cast<to=11>(r)"))  # fmt: skip
    inputs = [Inputs("one", {"x": np.ones((1, 4), np.float32)})]
    found = compare_outputs(one, cast, inputs)
    assert not found.same
    assert found.outputs[0].gap.different == 0
    assert found.interface[0].what == "is FLOAT, in the second model DOUBLE"
    assert found.interface[0].breaks
    fixed = parsed(SQRT.replace("N", "1"))
    found = compare_outputs(one, fixed, inputs)
    assert found.same
    assert "has the shape Nx4, in the second model 1x4" in found.interface[0].what


def test_a_second_model_that_does_not_run_is_different() -> None:
    one, fixed = parsed(SQRT), parsed(SQRT.replace("N", "1"))
    found = compare_outputs(one, fixed, noise(one), names=("a", "b"))
    assert found.failure.startswith("b does not run on inputs 2 (x 3x4)")
    assert not found.same
    assert found.telling == 2


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


def test_the_command_says_equal_and_ends_with_0(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = written(tmp_path, a=classifier(), b=classifier())
    assert main(["compare", *paths, "--layers"]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[0] == "equal: the output agrees on 2 inputs, and so do 13 tensors inside"
    assert not err


def test_the_command_names_the_tensor_and_ends_with_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = written(tmp_path, a=classifier(), b=bumped(classifier(), "p"))
    assert main(["compare", *paths]) == 1
    assert capfd.readouterr().out.startswith("different: 1 of 1 outputs differ by more than float rounding")
    assert main(["compare", *paths, "--layers"]) == 1
    assert "first tensor that differs: 'p'" in capfd.readouterr().out
    assert main(["compare", *paths, "--tolerance", "100"]) == 0


def test_json_holds_everything_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = written(tmp_path, a=classifier(), b=bumped(classifier(), "p"))
    np.save(tmp_path / "x.npy", NOISE)
    options = ["--layers", "--json", "--inputs", str(tmp_path / "x.npy")]
    assert main(["compare", *paths, *options]) == 1
    found = json.loads(capfd.readouterr().out)
    assert found["schema_version"] == 1
    assert found["equal"] is False
    assert [found["first_model"], found["second_model"]] == paths
    assert found["inputs"] == [{"name": str(tmp_path / "x.npy"), "shapes": {"x": [2, 3, 16, 16]}}]
    (output,) = found["outputs"]
    assert output["name"] == "y"
    assert output["equal"] is False
    assert output["top1"]["of"] == 2
    assert {"max_abs", "max_rel", "mean_abs", "snr_db", "cosine", "at", "nan", "inf"} <= output.keys()
    layers = found["layers"]
    assert layers["first"] == "p"
    assert layers["compared"] == len(layers["tensors"]) == 13
    assert [row["name"] for row in layers["tensors"] if row["begins"]] == layers["begins"] == ["p"]
    assert layers["tensors"][0]["equal"] is True
    assert main(["compare", paths[0], paths[0], "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["equal"] is True
    assert found["layers"] is None


def test_an_infinite_difference_is_null_in_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = written(tmp_path, a=parsed(SQRT), b=parsed(SQRT_OF_ABS))
    assert main(["compare", *paths, "--json", "--layers"]) == 1
    (output,) = json.loads(capfd.readouterr().out)["outputs"]
    assert output["max_abs"] is None
    assert output["nan"][0] > 0
    assert output["nan"][1] == 0


def test_bad_input_ends_with_2_and_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good, strange, one, two = written(
        tmp_path, good=parsed(SQRT), strange=strange_model(), one=parsed(TWO), two=renamed_output()
    )
    np.savez(tmp_path / "bad.npz", x=np.zeros((1, 5), np.float32))
    cases = {
        (good, str(tmp_path / "absent.onnx")): "absent.onnx does not exist",
        (strange, good): f"ONNX Runtime cannot load {strange}",
        (good, strange): f"ONNX Runtime cannot load {strange}",
        (one, two): "no output in common",
        (good, good, "--inputs", str(tmp_path / "bad.npz")): "takes ?x4, the array is 1x5",
        (good, good, "--inputs", str(tmp_path / "absent")): "no such inputs",
        (good, good, "--preprocess", "p.toml"): "goes with --inputs",
        (good, good, "--input-shape", "z:1,4"): "--input-shape names 'z'",
        (good, good, "--tolerance", "-1"): "--tolerance -1",
    }
    for arguments, message in cases.items():
        assert main(["compare", *arguments]) == 2, arguments
        out, err = capfd.readouterr()
        assert not out
        assert message in err, arguments
        assert len(err.splitlines()) == 1, err


def strange_model() -> ir.Model:
    """A model with an operator that nobody knows."""
    node = oh.make_node("Unheard", ["x"], ["y"], domain="of.it")
    ports = [oh.make_tensor_value_info(name, 1, ["N", 4]) for name in "xy"]
    graph = oh.make_graph([node], "g", ports[:1], ports[1:])
    opsets = [oh.make_opsetid("", 13), oh.make_opsetid("of.it", 1)]
    return ir.from_proto(oh.make_model(graph, opset_imports=opsets, ir_version=8))


def renamed_output() -> ir.Model:
    model = parsed(SQRT)
    model.graph.outputs[0].name = "other"
    return model


def test_the_help_has_an_example(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--help"]) == 0
    assert "hwopt compare model.onnx model.hwopt.onnx --layers" in " ".join(capfd.readouterr().out.split())


def test_models_on_disk_stay_as_they_are(tmp_path: Path) -> None:
    paths = written(tmp_path, a=classifier(), b=bumped(classifier(), "p"))
    before = [Path(path).read_bytes() for path in paths]
    main(["compare", *paths, "--layers", "--json"])
    assert [Path(path).read_bytes() for path in paths] == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]
    assert load_model(Path(paths[0])).graph.num_nodes() == 13
