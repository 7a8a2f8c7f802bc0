"""Spreads hold what they promise: on simulated errors, and on what a shipped target held out."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from hwopt.cost.accuracy import Outcome, calibrated, crosswise, family_folds, predict_held_out
from hwopt.cost.dataset import FILE_NAME, read_samples
from hwopt.cost.training import Settings, usable
from hwopt.cost.uncertainty import Calibration, Residual, calibrate, from_json
from hwopt.estimate import Estimate, Source, total
from hwopt.registry import load_target

SHIPPED = Path(__file__).parents[2] / "targets" / "edge-npu"


def simulated(networks: int, common: float, seed: int = 0) -> list[Residual]:
    """Networks of 40 groups; errors grow with the first sign, a share of their variance is common."""
    rng = np.random.default_rng(seed)
    found = []
    for network in range(networks):
        shared = rng.normal()
        for _ in range(40):
            sign, scale = rng.normal(), rng.uniform(1, 3)
            error = sqrt(common) * shared + sqrt(1 - common) * rng.normal()
            kind = "conv" if rng.random() < 0.5 else "add"
            spread = (0.02 if kind == "conv" else 0.01) * np.exp(0.7 * sign)
            found.append(
                Residual(kind, f"n{network}", scale * np.exp(spread * error), scale, (sign, 0, 0, 0))
            )
    return found


def held(deviations: list[float], within: float) -> float:
    return float(np.mean(np.abs(deviations) <= within))


def sums(residuals: list[Residual], calibration: Calibration) -> list[float]:
    """Errors of the networks in their own spreads."""
    found = []
    for unit in sorted({r.unit for r in residuals}):
        own = [r for r in residuals if r.unit == unit]
        spreads = calibration.spread([r.kind for r in own], np.array([r.signs for r in own]))
        whole = total(
            Estimate(
                r.predicted_us,
                r.predicted_us * s,
                Source.PREDICTED,
                r.predicted_us * s * sqrt(calibration.common),
            )
            for r, s in zip(own, spreads.tolist(), strict=True)
        )
        found.append((whole.value - sum(r.measured_us for r in own)) / whole.spread)
    return found


def test_it_finds_the_spread_the_slope_and_the_common_share() -> None:
    calibration = calibrate(simulated(200, common=0.3))
    assert calibration.slopes[0] == pytest.approx(0.7, abs=0.05)
    assert calibration.slopes[1:] == (0.0, 0.0, 0.0)  # signs that never changed
    assert np.exp(calibration.level["conv"]) == pytest.approx(0.02, rel=0.1)
    assert np.exp(calibration.level["add"]) == pytest.approx(0.01, rel=0.1)
    assert calibration.common == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("common", [0.0, 0.2, 0.6])
def test_sums_of_fresh_networks_are_covered_however_correlated_their_errors(common: float) -> None:
    calibration = calibrate(simulated(150, common))
    deviations = sums(simulated(400, common, seed=1), calibration)
    assert held(deviations, 2) == pytest.approx(0.954, abs=3 * sqrt(0.954 * 0.046 / 400))
    assert held(deviations, 1) == pytest.approx(0.683, abs=0.08)


def test_taking_errors_for_independent_would_not_cover_them() -> None:
    found = calibrate(simulated(150, common=0.3))
    independent = Calibration(found.level, found.other, found.slopes, 0.0)
    assert held(sums(simulated(400, 0.3, seed=1), independent), 2) < 0.85


def test_what_was_free_has_no_relative_error() -> None:
    errors = simulated(20, 0.1)
    free = [Residual("concat", "n0", 0.01, 0.0, (0.0, 0.0, 0.0, 0.0))]
    assert calibrate(errors + free).level == calibrate(errors).level


def test_it_survives_the_header_and_nothing_gives_the_usual() -> None:
    calibration = calibrate(simulated(20, 0.1))
    assert from_json(calibration.to_json()) == calibration
    assert calibrate([]) == Calibration()
    with pytest.raises((KeyError, TypeError)):
        from_json({"level": 1})


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """Families that a small model never saw, with the spreads of a calibration on other families."""
    rows = usable(read_samples(SHIPPED / FILE_NAME))[::2]
    target, small = load_target("edge-npu"), Settings(depth=5, rounds=40, eta=0.2)
    parts = [
        predict_held_out(rows, [row.family in fold for row in rows], target, small)
        for fold in family_folds(rows, 3)
    ]
    return [outcome for part in crosswise(parts) for outcome in part]


def test_spreads_of_a_shipped_target_hold_what_they_promise(outcomes: list[Outcome]) -> None:
    timed = [o for o in outcomes if o.sample.latency_us > 0]
    deviations = [(o.predicted - o.sample.latency_us) / o.spread for o in timed]
    assert len(deviations) > 1000
    # Errors of one subgraph, and of one family, come together: as if there were a third as many.
    slack = 3 * sqrt(0.954 * 0.046 / (len(deviations) / 3))
    assert held(deviations, 2) == pytest.approx(0.954, abs=slack)
    assert 0.683 - slack <= held(deviations, 1) <= 0.90  # far tails: one spread holds more than 68%


def test_what_is_flagged_is_worse_and_its_spread_says_so(outcomes: list[Outcome]) -> None:
    flagged = [o for o in outcomes if o.extrapolated]
    usual = [o for o in outcomes if not o.extrapolated]
    assert 0 < len(flagged) < 0.3 * len(outcomes)

    def spread(group: list[Outcome]) -> float:
        return float(np.mean([o.spread / o.predicted for o in group]))

    assert spread(flagged) > 1.2 * spread(usual)
    assert held([(o.predicted - o.sample.latency_us) / o.spread for o in flagged], 2) > 0.85


def test_a_calibration_of_all_is_what_a_fit_keeps(outcomes: list[Outcome]) -> None:
    calibration = calibrated(outcomes)
    assert set(calibration.level) == {o.sample.signature.kind for o in outcomes if o.sample.latency_us > 0}
    assert 0.0 <= calibration.common <= 1.0
