"""The rows of bench.lossy: what is counted, what an allocation spends, and how a record reads."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench import main_job
from bench.lossy_lab import listed, recount
from bench.lossy_rows import ROWS, Mark, row_named
from bench.lossy_table import COLUMNS, Record, met, read_records, table
from bench.main_job import EXACT, INT8, LOSSY, Job, Refused, jobs
from hwopt.choice import Choice, Kind, Risk, Stage, Value
from hwopt.scope import NOTHING, Price, Problem, Scope
from hwopt.search.milp import solve
from hwopt.search.problem import Budget, Objective

RECORD = Record(
    row="fused_1_2", tune=0, augment=0, held_out=(0,), samples=50, kl=0.02, agreement=0.94, before=0.88,
    after=0.86, drop=0.02, error=0.014, params=1.008, macs=1.27, zeros=0.0, open_s=9.0, choose_s=0.1,
    repair_s=12.0, peak_bytes=1_200_000_000, picks={"form:conv-1": "fused"},
)  # fmt: skip


def choice(name: str, *values: str) -> Choice:
    def made(value: str) -> Value:
        return Value(
            name, Kind.WEIGHTS, value, "sparsify", Risk.LOSSY, Stage.WEIGHTS, (name,), lambda model: None
        )

    return Choice(name, Kind.WEIGHTS, tuple(made(value) for value in values))


def _damage(name: str, costs: dict[str, float]) -> Scope:
    table: dict[tuple[str, ...], Price] = {(v,): replace(NOTHING, damage=cost) for v, cost in costs.items()}
    return Scope(f"damage:{name}", (name,), table)


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert row_named("params_10").mark == Mark(agreement=0.944)
    with pytest.raises(KeyError):
        row_named("params_15")


def test_an_allocation_spends_where_it_does_least_damage() -> None:
    """Half of 200 weights must go; the same share costs a tenth in `b`: more of it there."""
    choices = [
        choice("a", "zeros_25", "zeros_50", "zeros_75"),
        choice("b", "zeros_25", "zeros_50", "zeros_75"),
    ]
    amounts = {name: {"keep": 100, "zeros_25": 75, "zeros_50": 50, "zeros_75": 25} for name in "ab"}
    problem = listed(choices, amounts)
    damage = {"keep": 0.0, "zeros_25": 0.01, "zeros_50": 0.10, "zeros_75": 0.40}
    tables = [_damage("a", damage), _damage("b", {value: cost / 10 for value, cost in damage.items()})]
    whole = replace(problem, scopes=(*problem.scopes, *tables))
    found = solve(whole, Budget(Objective.DAMAGE, weight_bytes=100)).assignment
    assert found == {"a": "zeros_25", "b": "zeros_75"}


def test_what_is_limited_can_be_any_figure_of_a_price() -> None:
    table: dict[tuple[str, ...], Price]
    table = {("keep",): replace(NOTHING, macs=70, weight_bytes=7), ("w8",): replace(NOTHING, macs=40)}
    fixed = replace(NOTHING, macs=30, weight_bytes=3)
    problem = Problem((choice("a", "w8"),), (Scope("cost:0", ("a",), table),), fixed)
    counted = recount(problem, lambda price: float(price.macs))
    assert [counted.total(picks) for picks in ({}, {"a": "w8"})] == [
        replace(NOTHING, weight_bytes=100),
        replace(NOTHING, weight_bytes=70),
    ]


def test_a_mark_is_met_only_by_all_of_its_figures() -> None:
    assert met(RECORD, Mark()) == "-"
    assert met(RECORD, Mark(kl=0.02)) == "yes"
    assert met(RECORD, Mark(kl=0.019)) == "no"
    assert met(RECORD, Mark(kl=0.02, agreement=0.95)) == "no"


def test_records_come_back_from_the_file_and_read_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    evaluated = replace(RECORD, held_out=(), samples=500, tune=400, augment=2)
    file.write_text("".join(json.dumps(asdict(record)) + "\n" for record in (RECORD, evaluated)))
    assert read_records(file) == [RECORD, evaluated]
    head, rule, first, second = table(read_records(file)).splitlines()
    assert {line.count("|") for line in (head, rule, first, second)} == {len(COLUMNS) + 1}
    assert "calibration folds 0, n=50" in first
    assert "| +2.00 ± 1.40 | +0.8% | +27.0% |" in first
    assert "400 steps, 2 variants | eval, n=500" in second
    assert first.endswith("| KL ≤ 0.017 | no |")


def test_every_limit_is_run_in_every_mode_but_exact_ones_once() -> None:
    found = jobs(["edge-npu"], [EXACT, LOSSY, INT8], [0.01, 0.02])
    assert [(job.mode, job.max_drop) for job in found] == [
        (EXACT, None), (LOSSY, 0.01), (LOSSY, 0.02), (INT8, 0.01), (INT8, 0.02),
    ]  # fmt: skip
    assert len({job.file_name for job in found}) == len(found)


def test_a_limit_that_cannot_be_met_is_a_line_of_the_table() -> None:
    refused = Refused(Job("edge-npu", INT8, 0.01), "--max-drop 0.01 cannot be met", 90.0)
    line = main_job.table([refused]).splitlines()[-1]
    assert line.startswith("| edge-npu | int8 | 1 point | --max-drop 0.01 cannot be met | - |")
    assert line.endswith("| - | 1.5 |")
    assert line.count("|") == len(main_job.COLUMNS) + 1
