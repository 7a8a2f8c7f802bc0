"""Fits that are remembered: the bytes of a fit made anew, and never a fit of something else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.calibration.data import Arrays, from_source
from hwopt.choice import Kind, Risk, Stage, Value
from hwopt.ir import model_bytes
from hwopt.nodes import constant_array
from hwopt.provenance import REWRITES
from hwopt.repair.effort import Effort
from hwopt.repair.fits import fitted
from hwopt.repair.fits_constants import fitted_constants, with_constants
from hwopt.repair.marks import fit_of, origin_of, request_fit
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import repair
from hwopt.rewrite import rewrite
from hwopt.trace import Recorder, RepairFitted
from tests.graphs import ibn, model_of

EFFORT = Effort(rows=500, pool=500, joint_rounds=3, downstream=2)

SHARED = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,4,6,6] x) => (float[N,4,6,6] y) {
  a = Conv<kernel_shape=[1,1]>(x, w)
  b = Relu(a)
  c = Conv<kernel_shape=[1,1]>(b, w)
  d = Relu(c)
  y = Conv<kernel_shape=[1,1]>(d, w)
}
"""
IN_NODES = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,2,6,6] x) => (float[N,2,6,6] y) {
  w = Constant<value = float[2,2,1,1] {1.0, 0.5, -0.5, 1.0}>()
  low = Constant<value_float = 0.0>()
  a = Conv<kernel_shape=[1,1]>(x, w)
  b = Max(a, low)
  y = Conv<kernel_shape=[1,1]>(b, v, bias)
}
"""
NETS: dict[str, tuple[Callable[[], ir.Model], Sequence[str]]] = {
    "bottleneck": (ibn, ("e", "d")),
    "one weight for three": (lambda: model_of(SHARED, {"w": (4, 4, 1, 1)}), ("a", "c", "y")),
    "one weight, two fitted": (lambda: model_of(SHARED, {"w": (4, 4, 1, 1)}), ("c", "y")),
    "weights in Constant nodes": (
        lambda: model_of(IN_NODES, {"v": (2, 2, 1, 1), "bias": (2,)}), ("a", "y")
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWOPT_CACHE", str(tmp_path))
    return tmp_path / "fits"


def refit(*outputs: str) -> Value:
    """A value that asks for the weights of these nodes to be fitted."""

    def write(model: ir.Model) -> None:
        for node in model.graph:
            if node.outputs[0].name in outputs:
                request_fit(node)

    return Value("form:a", Kind.FORM, "refit", "test", Risk.LOSSY, Stage.FORM, (), write)


def data_for(base: ir.Model, seed: int = 0) -> Reference:
    dims = [d for d in base.graph.inputs[0].shape or () if isinstance(d, int)]
    x = np.random.default_rng(seed).standard_normal((10, *dims)).astype(np.float32)
    return Reference(base, from_source(Arrays({"x": x})), threads=1)


def no_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr("hwopt.repair.fits.repair", refuse)


@pytest.mark.parametrize("net", NETS)
def test_a_fit_comes_back_with_its_bytes_and_marks(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, outputs = NETS[net]
    base = make()
    data, values = data_for(base), [refit(*outputs)]
    changed = rewrite(base, values)
    made = fitted(data, changed, values, seed=0, effort=EFFORT)
    anew = repair(data, changed, range(5), seed=0, effort=EFFORT)
    assert model_bytes(anew) != model_bytes(changed)
    no_repair(monkeypatch)
    read = fitted(data_for(base), rewrite(base, values), values, seed=0, effort=EFFORT)
    assert model_bytes(read) == model_bytes(made) == model_bytes(anew)
    for node, twin in zip(read.graph, anew.graph, strict=True):
        assert (fit_of(node), origin_of(node)) == (fit_of(twin), origin_of(twin))
        assert node.meta == twin.meta
    assert read.graph.meta == anew.graph.meta


def test_the_model_that_comes_in_is_not_edited() -> None:
    base = ibn()
    values = [refit("e")]
    changed = rewrite(base, values)
    before = model_bytes(changed)
    for _ in range(2):
        fitted(data_for(base), changed, values, seed=0, effort=EFFORT)
    assert model_bytes(changed) == before


def test_listeners_hear_the_same_of_a_fit_that_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    base, values = ibn(), [refit("e", "d")]
    changed = rewrite(base, values)
    made, read = Recorder(), Recorder()
    fitted(data_for(base), changed, values, seed=0, effort=EFFORT, listeners=(made,))
    no_repair(monkeypatch)
    fitted(data_for(base), changed, values, seed=0, effort=EFFORT, listeners=(read,))
    assert read.events == made.events
    told = [event for event in made.events if isinstance(event, RepairFitted)]
    assert {event.node for event in told} >= {"e", "d"}


def spoil(model: ir.Model) -> ir.Model:
    """A weight of its input is another one; nothing else."""
    clone = model.clone()
    value = clone.graph.initializers["wd"]
    array = constant_array(value)
    assert array is not None
    value.const_value = ir.tensor(np.asarray(array, np.float32) + np.float32(0.1), name="wd")
    return clone


@pytest.mark.parametrize("other", ["seed", "effort", "data", "base", "steps", "structure", "marks"])
def test_another_fit_is_not_taken_for_it(other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    base, values = ibn(), [refit("e")]
    fitted(data_for(base), rewrite(base, values), values, seed=0, effort=EFFORT)
    no_repair(monkeypatch)
    data, changed, seed, effort = data_for(base), rewrite(base, values), 0, EFFORT
    if other == "seed":
        seed = 1
    elif other == "effort":
        effort = replace(EFFORT, rounds=2)
    elif other == "data":
        data = data_for(base, seed=1)
    elif other == "base":
        data = data_for(spoil(base))
    elif other == "steps":
        values = [replace(values[0], name="other")]
    elif other == "structure":
        changed = spoil(changed)
    else:
        changed = rewrite(base, [refit("e", "p")])
    with pytest.raises(AssertionError, match="fitted again"):
        fitted(data, changed, values, seed=seed, effort=effort)


def test_what_nodes_say_of_their_steps_makes_no_other_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    base, values = ibn(), [refit("e")]
    made = fitted(data_for(base), rewrite(base, values), values, seed=0, effort=EFFORT)
    no_repair(monkeypatch)
    numbered = rewrite(base, values)
    numbered.graph.node(0).metadata_props[REWRITES] = '["7 test form:a = refit"]'
    read = fitted(data_for(base), numbered, values, seed=0, effort=EFFORT)
    assert REWRITES in read.graph.node(0).metadata_props
    read.graph.node(0).metadata_props.pop(REWRITES)
    assert model_bytes(read) == model_bytes(made)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "pickle"])
def test_a_damaged_file_means_fitting_again(cache: Path, damage: str) -> None:
    base, values = ibn(), [refit("e")]
    made = fitted(data_for(base), rewrite(base, values), values, seed=0, effort=EFFORT)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    if damage == "pickle":
        np.savez(path, index=np.asarray([{"constants": []}], dtype=object))
    else:
        path.write_bytes({
            "cut": whole[:middle],
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "empty": b"",
            "text": b"nothing of the kind",
        }[damage])  # fmt: skip
    again = fitted(data_for(base), rewrite(base, values), values, seed=0, effort=EFFORT)
    assert model_bytes(again) == model_bytes(made)
    assert path.read_bytes() == whole


def test_a_fit_is_made_where_nothing_can_be_kept(cache: Path) -> None:
    cache.write_text("a file in the place of the folder")
    base, values = ibn(), [refit("e")]
    made = fitted(data_for(base), rewrite(base, values), values, seed=0, effort=EFFORT)
    anew = repair(data_for(base), rewrite(base, values), range(5), seed=0, effort=EFFORT)
    assert model_bytes(made) == model_bytes(anew)


def test_the_oldest_go_where_there_is_no_room(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, values = ibn(), [refit("e")]
    changed = rewrite(base, values)

    def fit(seed: int) -> set[Path]:
        before = set(cache.iterdir()) if cache.exists() else set[Path]()
        fitted(data_for(base), changed, values, seed=seed, effort=EFFORT)
        return set(cache.iterdir()) - before

    (first,), (second,) = fit(1), fit(2)
    for age, path in enumerate((second, first)):
        os.utime(path, (1000 - age, 1000 - age))
    fit(1)  # read, so it is the younger one now
    monkeypatch.setattr("hwopt.repair.fits.MOST_BYTES", 2 * first.stat().st_size + 100)
    (third,) = fit(3)
    assert set(cache.iterdir()) == {first, third}


def test_nothing_is_kept_of_a_plan_that_asks_for_no_fit(cache: Path) -> None:
    base = ibn()
    same = fitted(data_for(base), base.clone(), [], seed=0, effort=EFFORT)
    assert model_bytes(same) == model_bytes(base)
    assert not cache.exists()


def test_constants_of_a_model_that_is_the_same_are_none() -> None:
    base = ibn()
    assert fitted_constants(base, base.clone()) == ()
    assert model_bytes(with_constants(base, ())) == model_bytes(base)
