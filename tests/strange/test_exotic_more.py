"""What single strange features promise: a weight that can be overridden still can be, and so on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import tests.strange.exotic  # noqa: F401 -- fills EXOTIC
from hwopt.errors import BadInput
from hwopt.pipeline import Result, optimize
from tests.strange.exotic.models import EXOTIC, Exotic
from tests.strange.holding import broken, session

TARGET = "edge-npu"
LOSSY = (
    "overridable/awd", "quantised/int8", "loop/reads_weights", "functions/convolution_inside",
    "tied/unknown_twice", "if/constant_condition", "strings/constants", "sparse/folded",
    "documentation/training_info",
)  # fmt: skip


def optimised(
    found: Exotic, folder: Path, target: str = TARGET, **options: object
) -> tuple[Result, onnx.ModelProto]:
    path, out = folder / "model.onnx", folder / "out.onnx"
    path.write_bytes(found.proto.SerializeToString())
    result = optimize(path, target=target, output=out, force=True, **options)  # type: ignore[arg-type]
    return result, onnx.load(out)


def test_a_weight_that_is_an_input_is_not_folded(tmp_path: Path) -> None:
    """Another weight is fed and counts; nothing else of the model was held back for it."""
    found = EXOTIC["overridable/aw"]()
    result, written = optimised(found, tmp_path)
    assert result.plan.steps
    fed = found.feeds()[0]
    other = {**fed, "aw": np.ones((16, 8, 1, 1), np.float32)}
    before, after = session(found.proto.SerializeToString()), session(written.SerializeToString())
    assert not np.allclose(after.run(None, fed)[0], after.run(None, other)[0], atol=1e-3)
    np.testing.assert_allclose(after.run(None, other)[0], before.run(None, other)[0], rtol=1e-3, atol=1e-4)


def test_weights_that_training_would_change_stay(tmp_path: Path) -> None:
    """The scale that the training of the file updates is folded nowhere; the other block's is."""
    found = EXOTIC["documentation/training_info"]()
    result, written = optimised(found, tmp_path)
    weights = {tensor.name: tensor for tensor in written.graph.initializer}
    [scale] = [tensor for tensor in found.proto.graph.initializer if tensor.name == "ag"]
    assert weights["ag"] == scale
    assert written.training_info == found.proto.training_info
    assert "bg" not in weights
    assert any("parameters are not" in row.reason for row in result.report.skipped)


def test_a_custom_operator_is_left_alone_and_the_reason_said(tmp_path: Path) -> None:
    """ONNX Runtime does not know it, so nothing can be proved; asked to, hwopt rewrites around it."""
    found = EXOTIC["custom/in_the_middle"]()
    result, written = optimised(found, tmp_path)
    assert written == found.proto
    assert any("no rewrite could be proved" in note and "odd:Twist" in note for note in result.report.notes)
    _, rewritten = optimised(found, tmp_path, allow_unverified=True)
    assert rewritten != found.proto
    assert broken(found, rewritten.SerializeToString()) == []


def test_what_only_the_full_check_refuses_comes_back_with_what_it_says(tmp_path: Path) -> None:
    """Sparse weights: shape inference does not take them, ONNX Runtime does."""
    found = EXOTIC["sparse/folded"]()
    with pytest.raises(onnx.shape_inference.InferenceError):
        onnx.checker.check_model(found.proto, full_check=True)
    _, written = optimised(found, tmp_path)
    assert broken(found, written.SerializeToString()) == []
    onnx.checker.check_model(written, full_check=True)


def test_nodes_inside_other_graphs_are_not_folded(tmp_path: Path) -> None:
    """Only the main graph is rewritten; the block in the branch comes back as it was."""
    found = EXOTIC["if/block_inside"]()
    _, written = optimised(found, tmp_path)

    assert _inside(written) == _inside(found.proto)


def _inside(proto: onnx.ModelProto) -> list[tuple[str, list[str], list[str]]]:
    """Operators in the branches of every If."""
    graphs = [a.g for node in proto.graph.node if node.op_type == "If" for a in node.attribute]
    return [(n.op_type, list(n.input), list(n.output)) for graph in graphs for n in graph.node]


def test_an_input_without_samples_cannot_be_calibrated(tmp_path: Path) -> None:
    """A number that is an input, as the condition of an If, has no axis for samples."""
    found = EXOTIC["if/nested"]()
    np.savez(
        tmp_path / "calib.npz", x=np.ones((9, 8, 6, 6), np.float32), k=np.ones(9, bool), l=np.ones(9, bool)
    )
    with pytest.raises(BadInput, match="input 'k' is a single number"):
        optimised(found, tmp_path, calib=tmp_path / "calib.npz")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if i > 1 else n for i, n in enumerate(LOSSY)]
)
def test_lossy_passes_work_around_strange_things(name: str, tmp_path: Path) -> None:
    """With calibration data nothing crashes, and what has to stay stays."""
    found = replace(EXOTIC[name](), runs=False)  # its outputs may differ: they are judged by the data
    rng = np.random.default_rng(0)
    data = tmp_path / "calib.npz"
    inputs = [
        i for i in found.proto.graph.input if i.name not in {t.name for t in found.proto.graph.initializer}
    ]
    np.savez(data, allow_pickle=False, **{i.name: _samples(i, rng) for i in inputs})
    _, written = optimised(found, tmp_path, calib=data, max_divergence=0.5)
    assert broken(found, written.SerializeToString()) == []


def _samples(info: onnx.ValueInfoProto, rng: np.random.Generator) -> np.ndarray:
    tensor = info.type.tensor_type
    shape = [dim.dim_value for dim in tensor.shape.dim][1:]
    return rng.standard_normal((20, *shape)).astype(np.float32)
