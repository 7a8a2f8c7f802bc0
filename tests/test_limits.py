"""Limits as people write them."""

from __future__ import annotations

import pytest

from hwopt.errors import BadInput
from hwopt.limits import Bound, bytes_bound, fraction, input_shape, latency_bound, seconds


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("5ms", 5000), ("300us", 300), ("0.5 s", 500_000), ("1e3us", 1000), ("7 MS", 7000)],
)
def test_times(text: str, microseconds: float) -> None:
    assert latency_bound(text) == Bound(microseconds)


@pytest.mark.parametrize(
    ("text", "count"),
    [("2MB", 2_000_000), ("512KiB", 512 * 1024), ("1GiB", 2**30), ("100b", 100), ("3kB", 3000)],
)
def test_sizes(text: str, count: float) -> None:
    assert bytes_bound(text) == Bound(count)


@pytest.mark.parametrize(("text", "expected"), [("-30%", 70.0), ("+10%", 110.0), ("-0.5 %", 99.5)])
def test_a_change_is_relative_to_the_input(text: str, expected: float) -> None:
    assert latency_bound(text).against(100.0) == pytest.approx(expected)
    assert bytes_bound(text).against(100.0) == pytest.approx(expected)


def test_plain_numbers_are_in_the_base_unit() -> None:
    assert latency_bound(250).against(1.0) == 250
    assert bytes_bound(Bound(3.0)) == Bound(3.0)


@pytest.mark.parametrize(
    "text", ["", "fast", "5", "5 parsecs", "-5ms", "0ms", "-100%", "30%", "5MB", "1e999s"]
)
def test_what_is_not_a_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadInput, match=r"--max-latency .*5ms"):
        latency_bound(text)


@pytest.mark.parametrize("text", ["5ms", "2", "-1KB", "nan%"])
def test_what_is_not_a_size_is_refused_under_the_options_own_name(text: str) -> None:
    with pytest.raises(BadInput, match=r"--max-size .*2MB"):
        bytes_bound(text, "--max-size")


@pytest.mark.parametrize(
    ("text", "length"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2 min", 120), ("7", 7), (0.5, 0.5)]
)
def test_lengths_of_time(text: str | float, length: float) -> None:
    assert seconds(text) == length


@pytest.mark.parametrize("text", ["", "soon", "5ms", "-5s", "0", "1d", "nan", "+10%", float("nan"), -1.0])
def test_what_is_not_a_length_of_time_is_refused(text: str | float) -> None:
    with pytest.raises(BadInput, match="--time-limit"):
        seconds(text)


def test_shapes_of_inputs() -> None:
    assert input_shape("images:1,3,224,224") == ("images", (1, 3, 224, 224))
    assert input_shape("serving:0:8") == ("serving:0", (8,))


@pytest.mark.parametrize("text", ["images", "images:", ":1,2", "x:1,-2", "x:1,0", "x:1,two", "x:1,,2"])
def test_bad_shapes(text: str) -> None:
    with pytest.raises(BadInput, match="--input-shape"):
        input_shape(text)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_fractions_lie_between_nothing_and_all(value: float) -> None:
    assert fraction(0.03, "--max-drop") == 0.03
    with pytest.raises(BadInput, match="--max-drop"):
        fraction(value, "--max-drop")
