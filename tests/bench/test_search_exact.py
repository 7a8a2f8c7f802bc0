"""The tables of bench.search_exact."""

from __future__ import annotations

from bench.search_exact import budgets, compared, random_table, rate, solved_table
from tests.search.random_problems import random_problem


def test_random_problems_are_counted_by_objective() -> None:
    rows = [compared(seed) for seed in range(10)]
    assert all(row.same and row.closest for row in rows)
    table = random_table(rows).splitlines()
    assert len(table) == 2 + 5
    assert table[2].startswith("| latency | 2 |")


def test_every_budget_of_a_problem_gets_a_line() -> None:
    problem = random_problem(4)
    lines = solved_table({"none": problem}).splitlines()
    assert len(lines) == 2 + len(list(budgets(problem)))
    assert all(line.count("|") == lines[0].count("|") for line in lines)


def test_plans_are_counted_over_all_cores() -> None:
    assert rate(random_problem(4), 1) > 0
