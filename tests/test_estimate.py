"""Sums of figures: own errors add up squared, common ones plainly, equal figures are one error."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from hwopt.estimate import Estimate, Source, total


def predicted(value: float, spread: float, common: float = 0.0) -> Estimate:
    return Estimate(value, spread, Source.PREDICTED, common)


def test_a_sum_has_the_spread_of_simulated_errors() -> None:
    parts = [predicted(10.0 + i, 1.0 + 0.1 * i, 0.3 + 0.05 * i) for i in range(8)]
    rng = np.random.default_rng(0)
    common = rng.normal(size=(200_000, 1)) * [p.common for p in parts]
    own = rng.normal(size=(200_000, 8)) * [sqrt(p.spread**2 - p.common**2) for p in parts]
    whole = total(parts)
    assert whole.spread == pytest.approx((common + own).sum(axis=1).std(), rel=0.01)
    assert whole.common == pytest.approx(common.sum(axis=1).std(), rel=0.01)
    assert whole.value == sum(p.value for p in parts)


def test_the_order_and_the_brackets_do_not_matter() -> None:
    parts = [predicted(i, 0.1 * i, 0.03 * i) for i in range(1, 6)]
    nested = total([total(parts[:2]), total(parts[2:])])
    assert nested.spread == pytest.approx(total(parts[::-1]).spread)
    assert nested.common == pytest.approx(total(parts).common)


def test_equal_figures_are_wrong_together() -> None:
    assert total([predicted(5.0, 1.0)] * 4).spread == pytest.approx(4.0)
    assert total([predicted(5.0 + i, 1.0) for i in range(4)]).spread == pytest.approx(2.0)


def test_sources_and_extrapolation_go_along() -> None:
    exact = Estimate(1.0, 0.0, Source.COMPILED)
    far = Estimate(2.0, 1.0, Source.PREDICTED, extrapolated=True)
    assert (exact + exact).source is Source.COMPILED
    assert (exact + far).source is Source.PREDICTED
    assert (exact + far).extrapolated
    assert not (exact + exact).extrapolated
    assert total([Estimate(0.0, 0.0, Source.COMPUTED), exact]).source is Source.COMPILED
    assert total([]) == Estimate(0.0, 0.0, Source.PREDICTED)


def test_the_report_names_extrapolation_only_where_there_is_some() -> None:
    assert predicted(1.0, 0.5, 0.1).to_json() == {"value": 1.0, "spread": 0.5, "source": "predicted"}
    assert Estimate(1.0, 0.5, Source.PREDICTED, 0.0, True).to_json()["extrapolated"] is True
