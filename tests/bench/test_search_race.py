"""The race: every strategy runs, rows survive the file, the table says what the rows say."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import search_race
from bench.search_race import SEARCHED, Row, append, race, read, table
from hwopt.search import Budget
from tests.search.random_problems import random_problem


def test_every_strategy_runs_and_none_beats_the_proven_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_race, "PLANS", (10, 50))
    rows = list(race("random", "none", random_problem(3), Budget(), 2))
    assert {row.strategy for row in rows} == set(SEARCHED)
    assert max(row.share for row in rows) <= 1 + 1e-6
    assert [row.seed for row in rows if row.strategy == "random"] == [0, 1, 0, 1]


def test_rows_come_back_from_the_file(tmp_path: Path) -> None:
    rows = [Row("net", "npu", 4, 9, "random", seed, 100, 0.1 * seed, 0.4, 1.5) for seed in (1, 2)]
    for row in rows:
        append([row], tmp_path / "race.csv")
    assert read(tmp_path / "race.csv") == rows


def test_a_cell_holds_the_mean_share_and_the_worst() -> None:
    rows = [Row("net", "npu", 4, 9, "random", seed, 100, 0.1 * seed, 0.4, 1.5) for seed in (1, 3)]
    rest = [Row("net", "npu", 4, 9, "random", 0, plans, 0.4, 0.4, 2.0) for plans in search_race.PLANS[1:]]
    assert "| net | npu | 4 / 9 | 40.0% | random | 50.0% (25.0) |" in table([*rows, *rest])
