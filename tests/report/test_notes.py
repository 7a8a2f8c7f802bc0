"""What a report says to somebody whose run found nothing."""

from __future__ import annotations

import pytest

import hwopt
from hwopt.pipeline import Result
from hwopt.report.schema import Outcome
from tests.graphs import ibn


@pytest.fixture(scope="module")
def unchanged() -> Result:
    """A run without calibration data in which nothing EXACT is faster."""
    result = hwopt.optimize(ibn(), target="ethos-u55-256", refine=0)
    assert result.report.outcome is Outcome.UNCHANGED
    return result


def test_it_says_what_calibration_data_would_open(unchanged: Result) -> None:
    notes = [note for note in unchanged.report.notes if "--calib" in note]
    assert len(notes) == 1
    assert "fuse_ibn" in notes[0]
    assert "densify_depthwise" not in notes[0]  # it is EXACT: it was tried


def test_each_choice_has_a_reason_of_its_own(unchanged: Result) -> None:
    reasons = {row.reason for row in unchanged.report.choices}
    assert reasons
    assert all("dominated by keep" in reason or "no value is faster" in reason for reason in reasons), reasons
