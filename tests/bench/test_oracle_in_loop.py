"""The benchmark with the compiler in the loop: what is counted, and what its table says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.oracle_in_loop import FORM_COUNTS, Compiler, Row, proxy, table, with_proxy, write_csv
from hwopt.choice import KEEP, Choice, Kind, Risk, Stage, Value
from hwopt.estimate import Estimate, Source
from hwopt.scope import NOTHING, Assignment, Price, Problem, Scope
from hwopt.search.problem import Budget, Task
from hwopt.search.strategies import strategy

# Each change saves 10 us by itself, both together nothing: a sum cannot say that.
LATENCY = {(): 100.0, ("a",): 90.0, ("b",): 90.0, ("a", "b"): 100.0}


def priced(latency: float, damage: float = 0.0) -> Price:
    return Price(Estimate(latency, 0.0, Source.COMPILED), damage=damage)


def choice(name: str, kind: Kind, *values: tuple[str, Risk, float | None]) -> Choice:
    made = tuple(
        Value(name, kind, v, "p", risk, Stage.FORM, (name,), lambda model: None, strength=strength)
        for v, risk, strength in values
    )
    return Choice(name, kind, made)


class Whole:
    """Prices of whole plans, and how often they were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, plans: Sequence[Assignment], /) -> list[Price | None]:
        self.asked += [tuple(sorted(plan)) for plan in plans]
        return [priced(LATENCY[tuple(sorted(plan))], float(len(plan))) for plan in plans]


def problem() -> Problem:
    choices = tuple(choice(name, Kind.FORM, ("on", Risk.LOSSY, None)) for name in "ab")
    scopes = tuple(Scope(name, (name,), {(KEEP,): priced(50.0), ("on",): priced(40.0, 1.0)}) for name in "ab")
    return Problem(choices, scopes, NOTHING)


def test_every_network_is_compiled_once_and_counted_once() -> None:
    whole = Whole()
    compiler = Compiler(whole, allowed=1.0, compiles=3)
    prices = compiler([{}, {"a": "on"}, {}])
    assert [price.latency_us.value for price in prices if price] == [100.0, 90.0, 100.0]
    assert whole.asked == [(), ("a",)]
    assert compiler([{"a": "on"}]) == prices[1:2]
    assert len(compiler.known) == 2
    assert not compiler.used_up()


def test_nothing_is_compiled_beyond_the_count() -> None:
    whole = Whole()
    compiler = Compiler(whole, allowed=2.0, compiles=2)
    assert [price is None for price in compiler([{}, {"a": "on"}, {"b": "on"}])] == [False, False, True]
    assert compiler.used_up()
    assert len(whole.asked) == 2


def test_the_curve_knows_only_plans_within_the_limit() -> None:
    compiler = Compiler(Whole(), allowed=0.5, compiles=9)
    compiler([{"a": "on"}, {}])
    assert compiler.curve == [(2, 100.0)]
    assert compiler.best == {}


def test_a_strategy_in_the_loop_finds_what_sums_deny() -> None:
    compiler = Compiler(Whole(), allowed=2.0, compiles=50)
    task = Task(problem(), Budget(damage=2.0), evaluations=50, evaluate=compiler, stopped=compiler.used_up)
    strategy("greedy")(task)
    assert compiler.curve[-1][1] == 90.0
    assert len(compiler.best) == 1
    alone = strategy("milp")(Task(problem(), Budget(damage=2.0))).assignment
    assert alone == {"a": "on", "b": "on"}  # by the sums 80, in truth 100


def test_what_stands_for_damage() -> None:
    width = choice("w", Kind.WIDTH, ("w8", Risk.LOSSY, 0.5), ("w32", Risk.EXACT, None))
    form = choice("f", Kind.FORM, ("fused", Risk.LOSSY, None), ("dense", Risk.EXACT, None))
    assert {key[0]: price.damage for key, price in proxy(width).table.items()} == {
        KEEP: 0.0, "w8": 0.5, "w32": 0.0,
    }  # fmt: skip
    assert proxy(form).table["fused",].damage == FORM_COUNTS
    whole = with_proxy(Problem((width, form), (), NOTHING)).total({"w": "w8", "f": "fused"})
    assert whole is not None
    assert whole.damage == 0.5 + FORM_COUNTS


def test_the_table_repeats_nothing_once_a_search_has_ended(tmp_path: Path) -> None:
    row = Row("random", 1000.0, 30, ((1, 1000.0), (12, 900.0), (27, 800.0)), 4)
    assert [row.at(compiles) for compiles in (0, 1, 11, 12, 100)] == [None, 1000.0, 1000.0, 900.0, 800.0]
    line = table([row]).splitlines()[-1]
    assert line == "| random | +0.00% | +0.00% | -20.00% | - | - | - | - | 0.800 | 30 | 4 |"
    write_csv([row], tmp_path / "curve.csv")
    assert (tmp_path / "curve.csv").read_text().splitlines()[-1] == "random,27,800,1000"
