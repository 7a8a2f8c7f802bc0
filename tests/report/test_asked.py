"""The report says what was asked, as it would be typed again."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from hwopt.report.asked import settings_asked
from hwopt.report.schema import Scalar
from hwopt.settings import Options, Settings, settings

HINTS = "schema_version = 1\n"

ASKED: list[tuple[Options, dict[str, Scalar]]] = [
    ({}, {}),
    ({"seed": 7}, {}),  # has a key of its own
    ({"max_latency": "5ms", "max_memory": "2MiB"}, {"max_latency": "5000us", "max_memory": "2097152B"}),
    ({"max_size": "-30%", "max_footprint": "+12.5%"}, {"max_size": "-30%", "max_footprint": "+12.5%"}),
    ({"max_drop": 0.02, "max_divergence": 0.5}, {"max_drop": 0.02, "max_divergence": 0.5}),
    ({"minimize": "memory", "refine": 0}, {"minimize": "memory", "refine": 0}),
    ({"passes": ["a", "b"], "disable": ["c"]}, {"passes": "a,b", "disable": "c"}),
    ({"input_shapes": {"x": (1, 3), "y": [2]}}, {"input_shapes": "x:1,3 y:2"}),
    ({"search": "greedy", "evaluations": 50}, {"search": "greedy", "evaluations": 50}),
    ({"time_limit": "10m", "quantize": "int8"}, {"time_limit": "600s", "quantize": "int8"}),
    ({"plan": Path("p.json"), "allow_unpriced": True}, {"plan": "p.json", "allow_unpriced": True}),
]


@pytest.mark.parametrize(("options", "told"), ASKED)
def test_options_that_are_not_the_default_are_told(options: Options, told: dict[str, Scalar]) -> None:
    assert settings_asked(settings(**options)) == told


@pytest.mark.parametrize("limit", ["5ms", "4.25us", "1s", "-30%", "-12.5%"])
def test_a_limit_means_the_same_when_it_is_typed_again(limit: str) -> None:
    told = settings_asked(settings(max_latency=limit))["max_latency"]
    again = settings(max_latency=str(told)).latency
    wanted = settings(max_latency=limit).latency
    assert again is not None
    assert wanted is not None
    assert again.value == pytest.approx(wanted.value)
    assert again.relative == wanted.relative


def test_files_and_functions_stand_there_by_name(tmp_path: Path) -> None:
    hints = tmp_path / "h.toml"
    hints.write_text(HINTS)
    told = settings_asked(settings(hints=hints, metric="math:hypot"))
    assert told["hints"] == str(hints)
    assert "hypot" in str(told["metric"])


def test_every_name_is_one_of_an_option() -> None:
    """Whatever stands in the report can be looked up in the help."""
    told = {name for _, expected in ASKED for name in expected}
    assert told <= set(Options.__annotations__)
    unnamed = {item.name for item in fields(Settings)} - set(Options.__annotations__)
    assert unnamed == {"objective", "latency", "memory", "size", "footprint"}
