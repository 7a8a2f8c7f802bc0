"""Stretch by stretch the verifier says what it says of whole models, and its worker stays small."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import hwopt
from hwopt import verify
from hwopt.alike import same_nodes, same_tensor
from hwopt.canonical import canonicalise
from hwopt.edit import set_constant
from hwopt.errors import RewriteFailed
from hwopt.gaps import Difference
from hwopt.guard import client
from hwopt.segments import Segment, segments
from hwopt.shapes import infer_shapes
from hwopt.verify import differences, require_exact
from hwopt.verify_segments import differences_by_segments
from tests import small_models
from tests.graphs import model_of

SMALL = 2000  # bytes of weights to a stretch


def tower(blocks: int = 6, width: int = 8) -> ir.Model:
    """Residual blocks of a convolution, its BatchNormalization and a Relu; two outputs, one read on."""
    lines, weights, last = [], dict[str, tuple[int, ...]](), "x"
    for at in range(blocks):
        lines += [
            f"c{at} = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>({last}, w{at})",
            f"n{at} = BatchNormalization(c{at}, s{at}, b{at}, m{at}, v{at})",
            f"r{at} = Relu(n{at})",
            f"a{at} = Add(r{at}, {last})" if at % 2 else f"a{at} = Identity(r{at})",
        ]
        weights |= {f"w{at}": (width, width, 3, 3)} | {f"{kind}{at}": (width,) for kind in "sbmv"}
        last = f"a{at}"
    body = "\n".join([*lines, f"y = GlobalAveragePool({last})"])
    shape = f"float[N,{width},4,4]"
    text = f"""<ir_version: 8, opset_import: ["": 13]>
        tower ({shape} x) => (float[N,{width},1,1] y, {shape} a1) {{ {body} }}"""
    model = model_of(text, weights)
    for at in range(blocks):
        held = model.graph.initializers[f"v{at}"]
        assert held.const_value is not None
        held.const_value = ir.tensor(np.abs(held.const_value.numpy()) + 0.5, name=held.name)
    return model


def folded(model: ir.Model) -> ir.Model:
    copy = model.clone()
    canonicalise(copy)
    return copy


def cut(one: ir.Model, two: ir.Model, most_bytes: int = SMALL) -> list[Segment]:
    dtypes = {name: info.dtype for name, info in infer_shapes(one, {}).items()}
    return segments(one, two, dtypes, most_bytes)


def spoiled(model: ir.Model, number: int = 3) -> ir.Model:
    """The weights of one channel of one convolution are others."""
    copy = model.clone()
    node = [node for node in copy.graph if node.op_type == "Conv"][number]
    weight = node.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    array = np.array(weight.const_value.numpy())
    array[1] += 0.5
    set_constant(node, 1, array)
    return copy


def verdict(found: tuple[Difference, ...] | str) -> bool:
    try:
        require_exact(found, "it")
    except RewriteFailed:
        return False
    return True


NETS = {**small_models.MODELS, "tower": tower}


@pytest.mark.parametrize("name", NETS)
def test_whole_and_by_stretches_agree(name: str) -> None:
    model = NETS[name]()
    result = folded(model)
    whole, parts = differences(model, result, {}, 0), differences_by_segments(model, result, {}, 0, 1)
    assert not isinstance(whole, str)
    assert not isinstance(parts, str)
    outputs = {item.output for item in whole}
    assert outputs <= {item.output for item in parts}
    assert verdict(whole)
    assert verdict(parts)


def test_a_tower_is_cut_into_many_and_they_are_all_of_it() -> None:
    model, result = tower(), folded(tower())
    parts = cut(model, result)
    assert len(parts) >= 5
    ran = [node for part in parts for node in part.one]
    assert sorted(map(id, ran)) == sorted(map(id, model.graph))
    assert {node for part in parts for node in part.two} == set(result.graph)
    made = {name for part in parts for name in part.makes}
    assert {"y", "a1"} <= made
    for part, following in pairwise(parts):
        assert set(following.reads) <= set(part.reads) | set(part.makes)


@pytest.mark.parametrize("number", range(6))
def test_a_planted_wrong_weight_is_found(number: int) -> None:
    model, wrong = tower(), spoiled(folded(tower()), number)
    found = differences_by_segments(model, wrong, {}, 0, SMALL)
    assert not isinstance(found, str)
    assert not verdict(found)
    assert not verdict(differences(model, wrong, {}, 0))


def test_only_the_stretch_that_changed_runs_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tower()
    jobs = list[object]()
    ask = client._ask

    def counted(head: dict[str, object], *rest: object) -> object:
        jobs.append(head["job"])
        return ask(head, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(client, "_ask", counted)
    assert not verdict(differences_by_segments(model, spoiled(model, 2), {}, 0, SMALL))
    ran = [job for job in jobs if job in ("advance", "against")]
    assert ran.count("against") == 1
    assert ran.count("advance") < len(cut(model, model))  # nothing runs behind the last change
    jobs.clear()
    assert verdict(differences_by_segments(model, model.clone(), {}, 0, SMALL))
    assert "advance" not in jobs


def test_what_cannot_be_cut_is_one_stretch() -> None:
    model = tower()
    other = model.clone()
    for node in other.graph:
        for value in node.outputs:
            if value.name not in ("y", "a1"):
                value.name = f"another_{value.name}"
    assert len(cut(model, other)) <= 2
    assert verdict(differences_by_segments(model, other, {}, 0, SMALL))
    assert not verdict(differences_by_segments(model, spoiled(other, 4), {}, 0, SMALL))


def test_names_prove_nothing() -> None:
    """Two values of the result that have changed names are found out, though the outputs are the same."""
    model, other = tower(2), tower(2)
    names = {"c0": "n0", "n0": "c0"}
    for node in other.graph:
        for value in node.outputs:
            value.name = names.get(str(value.name), value.name)
    assert not verdict(differences_by_segments(model, other, {}, 0, 1))


def test_a_result_that_lost_an_output_value_to_a_constant() -> None:
    text = """<ir_version: 8, opset_import: ["": 13]>
        g (float[N,2] x) => (float[2] y, float[N,2] z) { y = Add(a, b)  z = Mul(x, a) }"""
    model = model_of(text, {"a": (2,), "b": (2,)})
    folded_ = model_of(text.replace("y = Add(a, b)", "y = Identity(c)"), {"a": (2,), "b": (2,), "c": (2,)})
    for name in ("a", "b"):
        folded_.graph.initializers[name].const_value = model.graph.initializers[name].const_value
    sums = [model.graph.initializers[name].const_value for name in ("a", "b")]
    assert sums[0] is not None
    assert sums[1] is not None
    folded_.graph.initializers["c"].const_value = ir.tensor(sums[0].numpy() + sums[1].numpy(), name="c")
    assert verdict(differences_by_segments(model, folded_, {}, 0, 1))
    folded_.graph.initializers["c"].const_value = ir.tensor(sums[0].numpy(), name="c")
    assert not verdict(differences_by_segments(model, folded_, {}, 0, 1))


def test_the_same_is_told_by_what_is_there() -> None:
    model = tower()
    assert same_nodes(list(model.graph), list(model.clone().graph))
    assert same_nodes(list(model.graph), list(tower().graph))  # other objects, same bytes
    assert not same_nodes(list(model.graph), list(spoiled(model).graph))
    one = ir.tensor(np.array([0.0, 1.0], np.float32))
    assert same_tensor(one, ir.tensor(np.array([0.0, 1.0], np.float32)))
    assert not same_tensor(one, ir.tensor(np.array([-0.0, 1.0], np.float32)))
    assert not same_tensor(one, ir.tensor(np.array([[0.0, 1.0]], np.float32)))


def test_optimize_by_stretches_writes_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outs = [tmp_path / "whole.onnx", tmp_path / "parts.onnx"]
    whole = hwopt.optimize(tower(3), target="edge-npu", output=outs[0], refine=0)
    monkeypatch.setattr(verify, "WHOLE_UP_TO", 0)
    parts = hwopt.optimize(tower(3), target="edge-npu", output=outs[1], refine=0)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert whole.report.verification.how.startswith("whole")  # type: ignore[union-attr]
    assert parts.report.verification.how.startswith("stretch by stretch")  # type: ignore[union-attr]


@pytest.fixture
def own_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[client._Worker]:
    """A worker whose memory nobody else has used, and that tells its number."""
    worker = client._Worker("tests.guard.planted:answer")
    monkeypatch.setattr(client, "_WORKER", worker)
    yield worker
    worker.close()


def test_the_worker_holds_a_stretch_and_not_the_model(own_worker: client._Worker) -> None:
    model = tower(blocks=12, width=256)  # 2.4 MB of weights in each block, 28 MB in all
    wrong = spoiled(model, 10)
    before = _peak_bytes()
    assert not verdict(differences_by_segments(model, wrong, {}, 0, 3 << 20))
    parts = _peak_bytes() - before
    assert not verdict(differences(model, wrong, {}, 0))
    whole = _peak_bytes() - before
    assert parts < 24 * 2_400_000, "a stretch is 2.4 MB: as a message, as parsed, as ONNX Runtime packs it"
    assert whole > 2 * parts


def _peak_bytes() -> int:
    pid = client._ask({"job": "hello"}, [], 0, "nobody")[0]["pid"]
    path = Path(f"/proc/{pid}/status")
    if not path.exists():
        pytest.skip("no /proc here to read a process's peak memory from")
    line = next(line for line in path.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10
