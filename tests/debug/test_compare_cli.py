"""`hwopt compare`: verdicts, exit codes, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx.helper as oh
import onnx_ir as ir
import pytest

from hwopt.cli.entry import main
from hwopt.ir import load_model, save_model
from tests.debug.compare_nets import (
    NOISE,
    SQRT,
    SQRT_OF_ABS,
    TWO,
    bumped,
    parsed,
)
from tests.graphs import classifier


def written(folder: Path, **models: ir.Model) -> list[str]:
    """The models as files, in the order given."""
    for name, model in models.items():
        save_model(model, folder / f"{name}.onnx")
    return [str(folder / f"{name}.onnx") for name in models]


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
    assert "hwopt compare model.onnx fast.onnx --layers" in " ".join(capfd.readouterr().out.split())


def test_models_on_disk_stay_as_they_are(tmp_path: Path) -> None:
    paths = written(tmp_path, a=classifier(), b=bumped(classifier(), "p"))
    before = [Path(path).read_bytes() for path in paths]
    main(["compare", *paths, "--layers", "--json"])
    assert [Path(path).read_bytes() for path in paths] == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]
    assert load_model(Path(paths[0])).graph.num_nodes() == 13
