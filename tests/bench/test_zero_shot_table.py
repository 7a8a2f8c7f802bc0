"""Rank correlations of the zero-shot benchmark, on figures whose order is known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.zero_shot_table import alike, better, correlation, kendall, spearman, table

ACCURACY = np.arange(12.0)
LATENCY = np.repeat([100.0, 200.0, 400.0], 4)


def test_a_perfect_score_has_one_and_its_reverse_minus_one() -> None:
    for statistic in (spearman, kendall, alike):
        assert statistic(ACCURACY**3, ACCURACY, LATENCY) == pytest.approx(1.0)
        assert statistic(-ACCURACY, ACCURACY, LATENCY) == pytest.approx(-1.0)


def test_only_pairs_of_like_latency_count_where_a_search_has_to_decide() -> None:
    within = np.tile([3.0, 2.0, 1.0, 0.0], 3)  # wrong in every group
    score = within + LATENCY  # but groups are in order
    assert alike(score, ACCURACY, LATENCY) == pytest.approx(-1.0)
    assert spearman(score, ACCURACY, LATENCY) > 0.5


def test_intervals_hold_the_value_and_noise_is_not_better() -> None:
    noise = np.random.default_rng(1).standard_normal(12)
    found = correlation(spearman, noise, ACCURACY, LATENCY)
    assert found.low <= found.value <= found.high
    assert better(ACCURACY, noise, ACCURACY) > 0.95
    assert better(noise, ACCURACY, ACCURACY) < 0.05
    rows = table({"noise": list(noise), "order": list(ACCURACY)}, ACCURACY, LATENCY).splitlines()
    assert len(rows) == 4
    assert rows[3].startswith("| order | +1.00 (+1.00 to +1.00)")
