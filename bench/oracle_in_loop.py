"""Where prices do not add up: strategies with a whole-network compiler in the loop, against sums of tables.

    HWOPT_DATA=DIR python -m bench.oracle_in_loop [--model FILE] [--target ethos-u65-512-dedicated]
                                                  [--compiles 200] [--strategy NAME ...] [--csv FILE]

EfficientNet-Lite0 on a target whose compiler decides for the network as a whole what stays in its
384 KiB of SRAM. `milp` searches tables: as the cost model fills them (one compile, to see what its
plan is worth), with the refining rounds of hwopt/pricing/refine.py (every compile teaches the tables), and as
its best plans one after the other, each compiled and then cut off. The others ask the compiler for every
plan that they look at (`Task.evaluate`), until each has had as many different networks compiled.
All keep the same limit on how much is changed, which stands in for damage so that no data are needed:
a width counts by the share of channels that go, another form or kernel as a quarter. Prints who found
what, by the compiler's figure for the whole network, and after how many compiles; the CSV holds the curves.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hwopt.choice import KEEP, Choice, Kind, Risk
from hwopt.cost.learned import Learned
from hwopt.find import find_choices
from hwopt.pricing.price import Drafts, draft, make_scene
from hwopt.pricing.refine import ROUNDS
from hwopt.rewrite import chosen_values, rewrite
from hwopt.scope import NOTHING, Assignment, Price, Problem, Scope
from hwopt.search.milp import solve
from hwopt.search.problem import Budget, Evaluate, Task
from hwopt.search.strategies import NAMES, strategy
from hwopt.settings import settings
from hwopt.steps import Found, find
from hwopt.whole import whole_prices
from hwopt.work import Work, open_work

TARGET = "ethos-u65-512-dedicated"
COMPILES = 200
MILESTONES = (1, 10, 30, 50, 100, 200, 300)
STRUCTURAL = (Kind.FORM, Kind.WIDTH)
TABLES, REFINED, BEST_PLANS = "milp, tables alone", "milp, refined", "milp, its best plans"
SEARCHED = ("evolve", "greedy", "reinforce", "random")
STARTED = ("greedy",)
FROM_MILP = " from milp's plan"
FORM_COUNTS = 0.25  # a fused block or a smaller kernel, beside a width that counts by what goes of it
ALLOWED = 2.0  # the sum that a plan may have: eight fused blocks, or eight widths less a quarter


@dataclass
class Compiler:
    """The compiler's figure for whole networks, each counted once; stops answering when they are used up.

    curve: (compiles, least latency of a plan within the limit so far), at every improvement.
    """

    evaluate: Evaluate
    allowed: float
    compiles: int
    known: dict[tuple[tuple[str, str], ...], Price | None] = field(default_factory=dict)
    curve: list[tuple[int, float]] = field(default_factory=list)
    best: Assignment = field(default_factory=dict)

    def __call__(self, plans: Sequence[Assignment], /) -> list[Price | None]:
        """The price of each plan, None where it cannot be written or nothing may be compiled any more."""
        keys = [tuple(sorted(plan.items())) for plan in plans]
        fresh = list(dict.fromkeys(key for key in keys if key not in self.known))
        fresh = fresh[: self.compiles - len(self.known)]
        for key, price in zip(fresh, self.evaluate([dict(key) for key in fresh]), strict=True):
            self.known[key] = price
            self._note(dict(key), price)
        return [self.known.get(key) for key in keys]

    def used_up(self) -> bool:
        """Whether every compile has been made."""
        return len(self.known) >= self.compiles

    def _note(self, plan: Assignment, price: Price | None) -> None:
        if price is None or price.damage > self.allowed * (1 + 1e-9):
            return
        if not self.curve or price.latency_us.value < self.curve[-1][1]:
            self.curve.append((len(self.known), price.latency_us.value))
            self.best = dict(plan)


@dataclass(frozen=True)
class Scene:
    """The network, its choices, the tables before any compile, and the limit on added-up damage."""

    work: Work
    found: Found
    drafts: Drafts
    problem: Problem
    budget: Budget

    def compiler(self, compiles: int) -> Compiler:
        """A compiler that has been asked for nothing yet; its answers are cached on disk."""
        assert self.budget.damage is not None
        ask = whole_prices(self.work, self.found.base, self.problem)
        return Compiler(ask, self.budget.damage, compiles)


Run = Callable[[Scene, Compiler], None]


@dataclass(frozen=True)
class Row:
    """One way to search. compiles: how many it used. before_us: the canonical network, nothing changed."""

    name: str
    before_us: float
    compiles: int
    curve: tuple[tuple[int, float], ...]
    changes: int

    def at(self, compiles: int) -> float | None:
        """The best latency after so many compiles; None where there was none yet, or it had ended before."""
        found = [latency for number, latency in self.curve if number <= compiles]
        return found[-1] if found else None


def main() -> int:
    """Runs every way to search, prints the table, writes the curves."""
    arguments = _arguments()
    model = arguments.model or Path(os.environ["HWOPT_DATA"]) / "efficientnet_lite0.onnx"
    scene = open_scene(model, arguments.target)
    rows = []
    for name, run in runs(arguments.strategy or SEARCHED).items():
        rows.append(row(scene, name, run, arguments.compiles))
        print(_line(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows))
    if arguments.csv is not None:
        write_csv(rows, arguments.csv)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="another network than EfficientNet-Lite0")
    parser.add_argument("--target", default=TARGET)
    parser.add_argument("--compiles", type=int, default=COMPILES)
    parser.add_argument("--strategy", action="append", choices=[name for name in NAMES if name != "milp"])
    parser.add_argument("--csv", type=Path, help="also write the curves there")
    return parser.parse_args()


def open_scene(model: Path, target: str) -> Scene:
    """The network's structural choices with a limit on damage that stands for a limit on accuracy."""
    work = open_work(model, target, settings(seed=0))
    found = with_lossy(work, find(work))
    drafts = draft(make_scene(found.base, work.assess(found.base).shapes, work.target), found.choices)
    problem = with_proxy(drafts.problem(Learned(work.cost_model)))
    return Scene(work, found, drafts, problem, Budget(damage=ALLOWED))


def with_lossy(work: Work, found: Found) -> Found:
    """Forms, kernels and widths of single blocks, LOSSY ones too: no data are needed to compile them."""
    offered, _ = find_choices(found.base, work.passes, work.target, frozenset({Risk.EXACT, Risk.LOSSY}))
    return replace(found, choices=tuple(choice for choice in offered if choice.kind in STRUCTURAL))


def with_proxy(problem: Problem) -> Problem:
    """The problem with a stand-in for damage: one table per choice."""
    return replace(problem, scopes=(*problem.scopes, *(proxy(choice) for choice in problem.choices)))


def proxy(choice: Choice) -> Scope:
    """What each value counts in the place of its damage; EXACT ones nothing."""
    table: dict[tuple[str, ...], Price] = {(KEEP,): NOTHING}
    for value in choice.values:
        counts = FORM_COUNTS if value.strength is None or choice.kind != Kind.WIDTH else value.strength
        table[value.name,] = NOTHING if value.risk == Risk.EXACT else replace(NOTHING, damage=counts)
    return Scope(f"proxy:{choice.id}", (choice.id,), table)


def runs(names: Iterable[str]) -> dict[str, Run]:
    """Every way to search, by what it is called in the table; the one that solves most comes last."""
    ways: dict[str, Run] = {TABLES: from_tables, REFINED: from_refined}
    for name in names:
        ways[name] = partial(from_strategy, name=name, begin=False)
    ways |= {f"{name}{FROM_MILP}": partial(from_strategy, name=name, begin=True) for name in STARTED}
    return {**ways, BEST_PLANS: from_best_plans}


def from_tables(scene: Scene, compiler: Compiler) -> None:
    """The best plan of the tables, compiled."""
    plan = solve(scene.problem, scene.budget).assignment
    if plan is not None:
        compiler([plan])


def from_refined(scene: Scene, compiler: Compiler) -> None:
    """The best plan after each round of refining, compiled; every compile teaches the tables."""
    learned, plan = Learned(scene.work.cost_model), dict[str, str]()
    for _ in range(ROUNDS):
        teach(scene, plan, learned)
        problem = with_proxy(scene.drafts.problem(learned))
        proposed = solve(problem, scene.budget).assignment
        compiler([plan])
        if proposed is None or dict(proposed) == plan:
            break
        plan = dict(proposed)
    compiler([plan])


def teach(scene: Scene, plan: Assignment, learned: Learned) -> None:
    """What the compiler's table of operators says of a plan's subgraphs replaces the predictions."""
    model = rewrite(scene.found.base, chosen_values(scene.found.choices, plan))
    answer = scene.work.ask([model])[0]
    if answer.measurement is not None:
        groups = scene.work.assess(model).partition.subgraphs
        learned.learn(groups, answer.measurement, answer.source)


def from_best_plans(scene: Scene, compiler: Compiler) -> None:
    """The tables' best plan, second best and so on, until as many were compiled."""
    cuts: list[Assignment] = []
    while not compiler.used_up():
        plan = solve(scene.problem, scene.budget, cuts=cuts).assignment
        if plan is None:
            return
        compiler([plan])
        cuts.append(plan)


def from_strategy(scene: Scene, compiler: Compiler, name: str, begin: bool) -> None:
    """A strategy that asks the compiler for every plan; where it is said, begun from the tables' best."""
    start = solve(scene.problem, scene.budget).assignment if begin else None
    task = Task(
        scene.problem, scene.budget, evaluations=compiler.compiles, start=() if start is None else (start,),
        evaluate=compiler, stopped=compiler.used_up,
    )  # fmt: skip
    strategy(name)(task)


def row(scene: Scene, name: str, run: Run, compiles: int) -> Row:
    """One way to search, with a compiler of its own."""
    compiler = scene.compiler(compiles)
    before = compiler.evaluate([{}])[0]
    assert before is not None, "the network that came in can be compiled"
    run(scene, compiler)
    return Row(name, before.latency_us.value, len(compiler.known), tuple(compiler.curve), len(compiler.best))


def table(rows: Sequence[Row]) -> str:
    """Markdown: change of the compiler's latency after so many compiles, and at the end."""
    head = ["search", *(f"{number}" for number in MILESTONES), "best ms", "compiles", "changes"]
    lines = [_joined(head), "|" + "---|" * len(head)]
    return "\n".join([*lines, *(_line(found) for found in rows)])


def _line(found: Row) -> str:
    best = f"{found.curve[-1][1] / 1e3:.3f}" if found.curve else "-"
    changes = [_change(found, number) for number in MILESTONES]
    return _joined([found.name, *changes, best, str(found.compiles), str(found.changes)])


def _change(found: Row, compiles: int) -> str:
    """What was known after so many compiles; nothing is repeated once a search has ended."""
    latency = found.at(compiles)
    ended = any(found.compiles <= earlier < compiles for earlier in MILESTONES)
    return "-" if latency is None or ended else f"{100 * (latency / found.before_us - 1):+.2f}%"


def _joined(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_csv(rows: Sequence[Row], file: Path) -> None:
    """Every improvement of every search."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["search", "compiles", "latency_us", "before_us"])
        for found in rows:
            writer.writerows(
                [found.name, at, f"{us:.6g}", f"{found.before_us:.6g}"] for at, us in found.curve
            )


if __name__ == "__main__":
    sys.exit(main())
