"""What a command may print, key by key; every refusal names the key and what was expected."""

from __future__ import annotations

import pytest

from hwopt.oracles.command_answer import BadReport, Refusal, Report, parse_report
from hwopt.oracles.protocol import Row
from hwopt.oracles.spread import noise_of_minimum


def test_everything_that_may_be_said() -> None:
    text = """{"latency_us": [3, 2.5], "peak_bytes": 10, "weight_bytes": 4.0,
    "rows": [{"output": "a", "latency_us": 2, "macs": 7,
              "weight_bytes": 4, "off_chip_bytes": 1, "bound": "compute"}],
    "details": {"watts": 1.5}}"""
    row = Row("a", 2.0, macs=7, off_chip_bytes=1, weight_bytes=4, bound="compute")
    assert parse_report(text) == Report((3.0, 2.5), 10, 4, (row,), {"watts": 1.5})
    assert parse_report('{"latency_us": 1, "peak_bytes": null}') == Report((1.0,))
    assert parse_report('log\n{"error": "no Resize"}\n') == Refusal("no Resize", ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "got nothing"),
        ("12.5", "expected a JSON object"),
        ("Segmentation fault", "got 'Segmentation fault'"),
        ('{"latency_ms": 3}', "unknown key 'latency_ms': did you mean 'latency_us'?"),
        ('{"peak_bytes": 3}', "'latency_us' is missing"),
        ('{"latency_us": "3"}', "'latency_us' is '3': expected a number"),
        ('{"latency_us": true}', "'latency_us' is true: expected a number"),
        ('{"latency_us": NaN}', "expected a number"),
        ('{"latency_us": 0}', "more than zero"),
        ('{"latency_us": []}', "empty list"),
        ('{"latency_us": [1, -2]}', "'latency_us[1]' is -2"),
        ('{"latency_us": 1, "peak_bytes": 1.5}', "'peak_bytes' is 1.5: expected a whole number"),
        ('{"latency_us": 1, "rows": {"a": 1}}', "'rows' is {\"a\": 1}: expected a list"),
        ('{"latency_us": 1, "rows": [3]}', "'rows[0]' is 3: expected an object"),
        ('{"latency_us": 1, "rows": [{"output": "a"}]}', "'rows[0].latency_us' is missing"),
        ('{"latency_us": 1, "rows": [{"output": "a", "latency_us": -1}]}', "'rows[0].latency_us' is -1"),
        ('{"latency_us": 1, "rows": [{"name": "a", "latency_us": 1}]}', "unknown key 'rows[0].name'"),
        (
            '{"latency_us": 1, "rows": [{"output": "a", "latency_us": 1}, {"output": "a", "latency_us": 2}]}',
            "'rows[1].output' is 'a' for the second time",
        ),
        ('{"latency_us": 1, "details": {"t": "hot"}}', "'details.t' is 'hot'"),
        ('{"error": 3}', "'error' is 3: expected text"),
        ('{"error": "x", "latency_us": 3}', "unknown key 'latency_us'"),
    ],
)
def test_anything_else_is_named(text: str, words: str) -> None:
    with pytest.raises(BadReport) as error:
        parse_report(text)
    assert words in str(error.value)


def test_noise_is_that_of_a_minimum() -> None:
    # Minima of the runs 10, 11, 13: median 11, deviations 1, 0, 2: their median is 1.
    assert noise_of_minimum([[10, 99], [50, 11], [13]]) == pytest.approx(1.4826 * 1 / 10)
    # One run: blocks of two samples have the minima 5, 6, 7, 8.
    assert noise_of_minimum([[5, 9, 6, 9, 7, 9, 8, 9]]) == pytest.approx(1.4826 * 1.0 / 5)
    assert noise_of_minimum([[4, 4, 4, 4]]) == 0.0
    assert noise_of_minimum([[5]]) is None
    assert noise_of_minimum([]) is None
