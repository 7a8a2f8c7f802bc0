"""Rates: found again where they are known, kept out where nothing speaks for them."""

from pathlib import Path

import numpy as np
import pytest

from hwopt.cost.rates import classes, fit_rates, log_base
from hwopt.cost.raw import table
from hwopt.cost.roofline import roofline
from hwopt.signature import Signature
from hwopt.target import read_target

ETHOS = read_target(Path(__file__).parents[2] / "targets" / "ethos-u55-256")


def lookup(channels: int, size: int, activation: str = "hardswish") -> Signature:
    shape = (1, channels, size, size)
    return Signature("add", ("Add",), (shape, shape), (shape,), "int8", activation=activation)


def some(count: int, seed: int) -> list[Signature]:
    rng = np.random.default_rng(seed)
    return [lookup(int(rng.integers(4, 200)), int(rng.integers(4, 60))) for _ in range(count)]


def test_an_element_a_cycle_is_found_and_extrapolates() -> None:
    known, larger = some(60, 0), [lookup(250, 50), lookup(2, 2)]
    rows, new = table(known), table(larger)
    rates = fit_rates(rows, roofline(rows, ETHOS), ETHOS, np.log(rows["out_elements"] + 200.0))
    assert sorted(rates) == ["add+table"]
    predicted = np.exp(log_base(new, roofline(new, ETHOS), ETHOS, rates))
    assert predicted == pytest.approx(new["out_elements"] + 200.0, rel=0.15)
    assert predicted[0] > 2 * roofline(new, ETHOS).cycles[0]  # what the plain roofline would have said


def test_classes_without_rows_fall_back_to_the_roofline() -> None:
    rows = table(some(5, 1))
    bounds = roofline(rows, ETHOS)
    assert fit_rates(rows, bounds, ETHOS, np.log(rows["out_elements"])) == {}
    assert log_base(rows, bounds, ETHOS, {}) == pytest.approx(np.log(bounds.cycles))


def test_clamps_are_free_and_tables_are_not() -> None:
    words = classes(table([lookup(8, 8, word) for word in ("", "relu6", "clip", "hardswish", "sigmoid")]))
    assert words.tolist() == ["add", "add", "add", "add+table", "add+table"]
