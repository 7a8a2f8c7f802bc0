"""The oracle's own figures in a report: with their noise, and with what they leave out."""

from __future__ import annotations

from hwopt.assess import OracleAnswer
from hwopt.estimate import Estimate, Source
from hwopt.oracles.protocol import Measurement
from hwopt.report.figures import oracle_costs
from hwopt.report.schema import Missing


def test_the_noise_of_a_measurement_is_its_spread() -> None:
    """Oracles give a relative standard deviation: 2% of 150 us are 3 us."""
    found = oracle_costs(
        OracleAnswer(Measurement(150.0, peak_bytes=64, details={"noise": 0.02}), source=Source.MEASURED)
    )
    assert found.latency_us == Estimate(150.0, 3.0, Source.MEASURED)
    assert found.peak_bytes == Estimate(64.0, 0.0, Source.MEASURED)


def test_a_compiler_that_says_the_same_every_time_has_none() -> None:
    found = oracle_costs(OracleAnswer(Measurement(150.0)))
    assert found.latency_us == Estimate(150.0, 0.0, Source.COMPILED)
    assert found.peak_bytes == Missing("this oracle does not tell")


def test_operators_that_a_figure_leaves_out_are_named() -> None:
    found = oracle_costs(OracleAnswer(Measurement(150.0, unpriced=("softmax", "resize"))))
    assert found.unpriced == ("resize", "softmax")
    nothing = oracle_costs(OracleAnswer(None, "not installed"))
    assert (nothing.latency_us, nothing.unpriced) == (Missing("not installed"), ())
