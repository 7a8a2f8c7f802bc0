"""Delta debugging against brute force."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from hwopt.debug.bisect.ddmin import ddmin


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 25])
def test_a_single_cause_of_any_size_is_found(count: int) -> None:
    rng = random.Random(count)
    for size in range(1, min(count, 4) + 1):
        cause = set(rng.sample(range(count), size))
        assert set(ddmin(range(count), cause.issubset)) == cause


def test_the_result_fails_and_nothing_can_be_left_out_of_it() -> None:
    rng = random.Random(0)
    for _ in range(60):
        causes = [set(rng.sample(range(12), rng.randint(1, 4))) for _ in range(3)]

        def fails(some: tuple[int, ...], causes: list[set[int]] = causes) -> bool:
            return any(cause <= set(some) for cause in causes)

        found = ddmin(range(12), fails)
        assert fails(found)
        assert not any(fails(fewer) for fewer in combinations(found, len(found) - 1))
        assert list(found) == sorted(found)


def test_a_cause_that_not_every_superset_shows_ends_with_a_failing_set() -> None:
    rng = random.Random(1)
    for _ in range(60):
        known: dict[tuple[int, ...], bool] = {tuple(range(9)): True}

        def fails(some: tuple[int, ...], known: dict[tuple[int, ...], bool] = known) -> bool:
            return known.setdefault(some, rng.random() < 0.3)

        found = ddmin(range(9), fails)
        assert fails(found)
        assert not any(known.get(fewer) for fewer in combinations(found, len(found) - 1))


def test_the_trials_for_one_of_n_grow_with_the_logarithm() -> None:
    asked = []

    def fails(some: tuple[int, ...]) -> bool:
        asked.append(some)
        return 700 in some

    assert ddmin(range(1024), fails) == (700,)
    assert len(asked) <= 2 * 10


def test_it_ends_early_with_the_smallest_set_so_far() -> None:
    asked = []

    def fails(some: tuple[int, ...]) -> bool:
        asked.append(some)
        return 3 in some

    found = ddmin(range(64), fails, lambda: len(asked) >= 2)
    assert len(asked) == 2
    assert fails(found)
    assert 1 < len(found) < 64
