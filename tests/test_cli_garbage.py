"""Cycles are searched in full when memory has grown, and only then."""

import gc
from collections.abc import Iterator

import pytest

from hwopt.cli import garbage
from hwopt.cli.garbage import peak_bytes, searched_by_memory

MIB = 2**20


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """What the process is said to have needed so far, in bytes: the last one counts."""
    said = [100 * MIB]
    monkeypatch.setattr(garbage, "peak_bytes", lambda: said[-1])
    usual = gc.get_threshold()
    yield said
    gc.set_threshold(*usual)


def test_full_searches_wait_until_memory_has_grown(seen: list[int]) -> None:
    usual = gc.get_threshold()
    with searched_by_memory():
        gc.collect(1)
        waiting = gc.get_threshold()[2]
        seen.append(163 * MIB)
        gc.collect(1)
        assert gc.get_threshold()[2] == waiting > 1e6
        seen.append(165 * MIB)
        gc.collect(1)
        assert gc.get_threshold() == usual
        gc.collect()
        assert gc.get_threshold()[2] == waiting
    assert gc.get_threshold() == usual


def test_the_more_is_needed_the_more_it_may_grow(seen: list[int]) -> None:
    seen.append(1000 * MIB)
    with searched_by_memory():
        seen.append(1450 * MIB)
        gc.collect(1)
        assert gc.get_threshold()[2] > 1e6
        seen.append(1501 * MIB)
        gc.collect(1)
        assert gc.get_threshold()[2] < 1e3


def test_the_small_searches_go_on(seen: list[int]) -> None:
    usual = gc.get_threshold()
    with searched_by_memory():
        assert gc.get_threshold()[:2] == usual[:2]


def test_nothing_is_left_behind_by_an_error(seen: list[int]) -> None:
    usual, callbacks = gc.get_threshold(), len(gc.callbacks)
    with pytest.raises(ZeroDivisionError), searched_by_memory():
        raise ZeroDivisionError
    assert (gc.get_threshold(), len(gc.callbacks)) == (usual, callbacks)


def test_where_nobody_knows_the_memory_python_searches_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> int:
        raise OSError

    monkeypatch.setattr(garbage, "peak_bytes", unknown)
    usual, callbacks = gc.get_threshold(), len(gc.callbacks)
    with searched_by_memory():
        assert (gc.get_threshold(), len(gc.callbacks)) == (usual, callbacks)


def test_the_peak_is_what_was_needed_and_not_what_is() -> None:
    held = b"x" * (64 * MIB)
    with_it = peak_bytes()
    assert len(held) < with_it < 2**40
    del held
    assert peak_bytes() > with_it - 8 * MIB  # the kernel counts in batches
