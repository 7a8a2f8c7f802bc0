"""What a chart leaves out where there is more than anybody can see."""

import pytest

from hwopt.report.charts.memory import thinned


def test_few_steps_stay_as_they_are() -> None:
    assert thinned([1.0, 3.0, 2.0], 1) == ([1.0, 3.0, 2.0], [-0.5, 0.5, 1.5, 2.5])


def test_neighbours_share_a_column_as_high_as_the_largest() -> None:
    heights, edges = thinned([1.0, 3.0, 2.0, 5.0, 4.0], 2)
    assert heights == [3.0, 5.0, 4.0]
    assert edges == [-0.5, 1.5, 3.5, 4.5]


@pytest.mark.parametrize("together", [1, 7, 1000])
def test_no_peak_is_lost_and_the_axis_keeps_its_length(together: int) -> None:
    steps = [float(step % 13) for step in range(100)]
    heights, edges = thinned(steps, together)
    assert max(heights) == max(steps)
    assert (edges[0], edges[-1], len(edges)) == (-0.5, 99.5, len(heights) + 1)
