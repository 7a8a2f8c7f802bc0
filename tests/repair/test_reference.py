"""The base model's values, read in pieces, are those of one run over the whole."""

from __future__ import annotations

import numpy as np
import pytest

from hwopt.calibration.data import Arrays, from_source
from hwopt.calibration.variants import augmented
from hwopt.damage.measure import measured
from hwopt.mapped import forget_pages, taken
from hwopt.nodes import FloatArray
from hwopt.repair import reference as module
from hwopt.repair.flow import cuts, downstream, unchanged
from hwopt.repair.frontier import Frontier, start_cut
from hwopt.repair.gather import draw
from hwopt.repair.marks import request_fit
from hwopt.repair.reference import Reference, pick, shared_out
from hwopt.repair.store import Store
from tests.graphs import classifier, output_of, values_of


def images(count: int = 23) -> FloatArray:
    return np.random.default_rng(0).normal(size=(count, 3, 16, 16)).astype(np.float32)


def reference() -> Reference:
    return Reference(classifier(), from_source(Arrays({"x": images()})), threads=1)


NAMES = ["s", "ea", "d", "p", "r", "ha", "f", "y"]


def test_streamed_values_are_those_of_the_whole_model() -> None:
    data = reference()
    whole = {name: values_of(data.base, images(), name) for name in NAMES}
    samples = [1, 4, 5, 11, 20, 3, 2, 8, 17, 22, 9, 14]
    for name in NAMES:
        found = np.concatenate([np.asarray(v, np.float32) for _, v in data.stream(name, samples)])
        np.testing.assert_allclose(found, whole[name][samples], rtol=1e-4, atol=1e-4)


def test_sampled_values_stand_at_their_positions() -> None:
    data = reference()
    whole = values_of(data.base, images(), "d")
    positions = draw(0, 23, 64, 9)
    found = data.sampled("d", positions, [7, 2])
    for row, sample in enumerate([7, 2]):
        flat = whole[sample].reshape(whole.shape[1], -1)
        np.testing.assert_allclose(found[row], flat[:, positions[sample]].T, rtol=1e-4, atol=1e-4)


def test_outputs_cover_all_samples() -> None:
    data = reference()
    found = np.asarray(data.outputs()["y"], np.float32)
    np.testing.assert_allclose(found, output_of(data.base, images()), rtol=1e-4, atol=1e-4)


def test_cuts_hold_everything_that_is_read_later() -> None:
    base = classifier()
    found = cuts(base, {"x": images(3)})
    order = list(base.graph)
    for cut in found:
        done = {str(v.name) for node in order[: cut.index] for v in node.outputs} | {"x"}
        read = {str(v.name) for node in order[cut.index :] for v in node.inputs if v is not None}
        read |= {str(v.name) for v in base.graph.outputs}
        assert set(cut.values) == done & read
    assert {len(cut.values) for cut in found} == {1, 2}  # within the residual block the skip lives too


def test_everything_before_a_change_is_unchanged() -> None:
    base = classifier()
    changed = base.clone()
    request_fit(next(node for node in changed.graph if node.outputs[0].name == "p"))
    same = unchanged(base, changed)
    assert {"x", "s", "sa", "e", "ea", "d", "da"} <= same
    assert same.isdisjoint({"p", "r", "h", "y"})
    assert set(downstream(changed, {"r"})) == {"h", "ha", "g", "f", "y"}


def test_the_changed_model_starts_at_the_last_cut_before_its_change() -> None:
    data = reference()
    changed = data.base.clone()
    request_fit(next(node for node in changed.graph if node.outputs[0].name == "h"))
    assert start_cut(data, changed).values == ("r",)
    request_fit(next(node for node in changed.graph if node.outputs[0].name == "s"))
    assert start_cut(data, changed).values == ("x",)


def test_frontier_gives_the_values_of_the_whole_model_wherever_it_stands() -> None:
    data = reference()
    samples = [4, 9, 21, 0, 13]
    changed = data.base.clone()
    request_fit(next(node for node in changed.graph if node.outputs[0].name == "e"))
    frontier = Frontier(data, changed, samples)
    whole = {name: values_of(data.base, images(), name) for name in NAMES}
    order = [str(node.outputs[0].name) for node in changed.graph]
    for name in ("d", "p", "ha", "y"):
        frontier.advance(order.index(name))
        found = np.concatenate([np.asarray(v[name], np.float32) for _, v in frontier.stream([name])])
        np.testing.assert_allclose(found, whole[name][samples], rtol=1e-4, atol=1e-4)


def test_positions_are_distinct_and_a_prefix_of_more() -> None:
    many, few = draw(3, 5, 100, 40), draw(3, 5, 100, 7)
    np.testing.assert_array_equal(many[:, :7], few)
    assert all(len(set(row)) == 40 for row in many.tolist())
    assert not np.array_equal(many, draw(4, 5, 100, 40))


def test_pick_takes_channels_last() -> None:
    values = np.arange(2 * 3 * 4).reshape(2, 3, 2, 2).astype(np.float32)
    found = pick(values, np.array([[3, 0], [1, 1]]))
    np.testing.assert_array_equal(found[0], [[3, 7, 11], [0, 4, 8]])
    np.testing.assert_array_equal(found[1], [[13, 17, 21], [13, 17, 21]])


def test_store_spills_to_files_beyond_its_memory() -> None:
    store = Store(memory_bytes=100)
    small, large = store.empty((20,), np.dtype(np.float32)), store.empty((20,), np.dtype(np.float32))
    assert not isinstance(small, np.memmap)
    assert isinstance(large, np.memmap)
    large[:] = 3
    forget_pages(large)
    np.testing.assert_array_equal(taken(large, [19, 0]), [3, 3])
    store.release(small)
    assert not isinstance(store.empty((10,), np.dtype(np.float32)), np.memmap)


def test_an_equal_seeded_share_of_every_fold_whatever_the_order() -> None:
    x, order = images(103), np.random.default_rng(5).permutation(103)
    one, two = from_source(Arrays({"x": x})), from_source(Arrays({"x": x[order]}))
    shares = shared_out(one, 40, seed=1)
    assert [len(share) for share in shares] == [8] * 5
    assert all(set(share) <= set(fold) for share, fold in zip(shares, one.folds, strict=True))
    assert [{int(order[i]) for i in share} for share in shared_out(two, 40, seed=1)] == [*map(set, shares)]
    assert shared_out(one, 40, seed=2) != shares
    assert shared_out(one, 1000, seed=1) == one.folds


def test_what_is_recorded_is_bounded_by_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept values of a sample have some bytes; many samples get no more than their room."""
    plain = from_source(Arrays({"x": images(103)}))
    cuts_of = Reference(classifier(), plain, threads=1).cuts
    kept = {n: s for cut in cuts_of for n, s in zip(cut.values, cut.sizes, strict=True) if n != "x"}
    size = sum(kept.values())
    monkeypatch.setattr(module, "RECORDED_BYTES", 62 * size)
    monkeypatch.setattr(module, "FEWEST_RECORDED", 10)
    few = Reference(classifier(), plain, threads=1)
    assert len(few.recorded) == 60
    varied = Reference(classifier(), augmented(from_source(Arrays({"x": images(25)})), 3, 0), threads=1)
    assert len(varied.originals) == 25
    assert len(varied.recorded) == 50  # one of three whole sets of variants
    assert few.originals == few.recorded


def test_large_outputs_are_judged_on_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Reference(classifier(), from_source(Arrays({"x": images(103)})), threads=1)
    monkeypatch.setattr(module, "OUTPUT_BYTES", 30 * 10 * 4)
    assert [len(fold) for fold in data.judged] == [6] * 5
    assert len(data.outputs()["y"]) == 30
    chosen = data.judged[3][::-1]
    whole = output_of(data.base, images(103))
    found = np.asarray(data.outputs(chosen)["y"], np.float32)
    np.testing.assert_allclose(found, whole[list(chosen)], rtol=1e-4, atol=1e-4)
    assert measured(data, data.base.clone()).samples == 30
