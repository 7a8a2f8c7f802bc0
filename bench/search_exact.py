"""How exact the search is, and how fast: brute force on small problems, EfficientNet-Lite0 on two targets.

    HWOPT_DATA=DIR python -m bench.search_exact [--problems 300] [--target NAME ...] [--exact]

Prints Markdown tables. Random problems: `milp` against every single plan, for each objective under
random limits of every kind: the same optimum, the same refusals, the same least excess over the limits.
Lite0: the problem that the pipeline's own steps make (with calibration images, unless `--exact` leaves damage
out), what curating drops from it, and for several budgets the solver's seconds, nodes and gap; and with how
many plans looked at a second, on one core and on two. Without HWOPT_DATA only the first table is made.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from hwopt.scope import Problem
from hwopt.search import Budget, Objective, Outcome
from hwopt.search.arrays import Ints
from hwopt.search.curate import curate
from hwopt.search.milp import solve
from hwopt.search.problem import objective_value
from hwopt.search.tables import Tables, figures_of, score
from hwopt.settings import settings
from hwopt.steps import find, price_choices
from hwopt.work import open_work
from tests.search.random_problems import every_plan, random_budget, random_problem

TARGETS = ("edge-npu", "ethos-u55-256")
PLANS = 200_000  # looked at, on each core
SAME = 2e-6  # twice the relative gap at which the solver stops


def main() -> int:
    """Makes the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=300, help="random problems (default 300)")
    parser.add_argument("--target", action="append", help=f"(default {', '.join(TARGETS)})")
    parser.add_argument("--exact", action="store_true", help="without calibration images: EXACT values alone")
    arguments = parser.parse_args()
    print(random_table([compared(seed) for seed in range(arguments.problems)]), flush=True)
    data = os.environ.get("HWOPT_DATA", "")
    for target in (arguments.target or TARGETS) if data else ():
        problem = real_problem(Path(data), target, arguments.exact)
        print(solved_table({target: problem}), flush=True)
        print(speed_table({target: problem}), flush=True)
    return 0


@dataclass(frozen=True)
class Compared:
    """One random problem. same: whether both found the same, be it a plan or that there is none."""

    objective: Objective
    plans: int
    feasible: bool
    same: bool
    difference: float
    closest: bool


def compared(seed: int) -> Compared:
    """The program's answer beside that of looking at every plan."""
    problem = random_problem(seed)
    budget, plans = random_budget(problem, seed), every_plan(problem)
    violation, objective = score(figures_of([problem.total(plan) for plan in plans]), budget)
    outcome, feasible = solve(problem, budget), bool(violation.min() == 0)
    if not feasible or outcome.assignment is None:
        same = not feasible and outcome.assignment is None
        return Compared(budget.objective, len(plans), feasible, same, 0.0, _closest(problem, budget, outcome))
    price = problem.total(outcome.assignment)
    assert price is not None
    assert not budget.violations(price), "a limit was broken"
    best = float(objective[violation == 0].min())
    difference = abs(objective_value(price, budget.objective) - best) / max(abs(best), 1e-9)
    return Compared(budget.objective, len(plans), True, difference <= SAME, difference, True)


def _closest(problem: Problem, budget: Budget, outcome: Outcome) -> bool:
    """Whether the plan that is named where none fits exceeds the limits least of all."""
    violation, _ = score(figures_of([problem.total(plan) for plan in every_plan(problem)]), budget)
    if outcome.closest is None:
        return not np.isfinite(violation.min())
    found = score(figures_of([problem.total(outcome.closest)]), budget)[0][0]
    return bool(found <= violation.min() * (1 + 1e-5))


def random_table(rows: Sequence[Compared]) -> str:
    """One line per objective."""
    lines = [
        _line("minimise", "problems", "plans each (most)", "with a plan", "equal to brute force",
              "largest difference", "closest plan right, where none fits"),
        _line(*["---"] * 7),
    ]  # fmt: skip
    for objective in Objective:
        mine = [row for row in rows if row.objective == objective]
        refused = [row for row in mine if not row.feasible]
        difference = max((row.difference for row in mine), default=0.0)
        lines.append(_line(
            objective.value, len(mine), max((r.plans for r in mine), default=0), len(mine) - len(refused),
            f"{sum(r.same for r in mine)} of {len(mine)}", f"{difference:.1e}",
            f"{sum(r.closest for r in refused)} of {len(refused)}",
        ))  # fmt: skip
    return "\n".join(lines) + "\n"


def real_problem(data: Path, target: str, exact: bool) -> Problem:
    """EfficientNet-Lite0, found and priced by the pipeline's own steps."""
    calibration = None if exact else data / "imagenet" / "calib"
    wanted = settings() if exact else settings(max_drop=0.03)
    work = open_work(data / "efficientnet_lite0.onnx", target, wanted, calibration)
    return price_choices(work, find(work))[0]


def budgets(problem: Problem) -> Iterator[tuple[str, Budget]]:
    """What is asked of Lite0: every objective, with limits that bind."""
    base = problem.total({})
    assert base is not None
    latency, footprint = base.latency_us.value, base.peak_bytes + base.weight_bytes
    fast = Budget(damage=0.1)
    yield "-", Budget()
    yield "damage 0.1", fast
    yield "damage 0.1, memory -20%", replace(fast, peak_bytes=int(0.8 * base.peak_bytes))
    yield "damage 0.5", replace(fast, damage=0.5)
    for objective in (Objective.MEMORY, Objective.SIZE, Objective.FOOTPRINT):
        yield "damage 0.1", replace(fast, objective=objective)
    yield "latency -20%", Budget(Objective.DAMAGE, latency_us=0.8 * latency)
    smaller = Budget(Objective.DAMAGE, latency_us=0.8 * latency, footprint_bytes=int(0.9 * footprint))
    yield "latency -20%, footprint -10%", smaller
    yield "latency -70%, damage 0.01 (none fits)", Budget(latency_us=0.3 * latency, damage=0.01)


def solved_table(problems: dict[str, Problem]) -> str:
    """Seconds are of wall clock and, in brackets, of the processor; those of curating stand in them."""
    lines = [
        _line("target", "minimise", "limits", "seconds (processor)", "nodes", "gap", "found", "bound"),
        _line(*["---"] * 8),
    ]
    for target, problem in problems.items():
        for limits, budget in budgets(problem):
            wall, used = time.perf_counter(), time.process_time()
            outcome = solve(curate(problem).problem, budget)
            seconds = f"{time.perf_counter() - wall:.2f} ({time.process_time() - used:.2f})"
            found = _found(problem, budget, outcome)
            gap, bound = ("-", "-") if outcome.assignment is None else (
                f"{100 * outcome.gap:.4f}%", f"{outcome.bound:.6g}"
            )  # fmt: skip
            cells = (target, budget.objective.value, limits, seconds, outcome.evaluations, gap, found, bound)
            lines.append(_line(*cells))
    return "\n".join(lines) + "\n"


def _found(problem: Problem, budget: Budget, outcome: Outcome) -> str:
    plan = outcome.closest if outcome.assignment is None else outcome.assignment
    price = None if plan is None else problem.total(plan)
    if price is None:
        return "no plan is possible"
    value = f"{objective_value(price, budget.objective):.6g}"
    return value if outcome.assignment is not None else f"none fits; the closest has {value}"


def speed_table(problems: dict[str, Problem]) -> str:
    """Of each problem its size, what curating drops, and how fast whole plans are looked at."""
    lines = [
        _line("target", "choices", "values", "tables", "entries", "values dropped as dominated",
              "entries left", "steps", "steps that matter", "plans/s, 1 core", "plans/s, 2 cores"),
        _line(*["---"] * 11),
    ]  # fmt: skip
    for target, problem in problems.items():
        curated = curate(problem)
        steps = {step for s in problem.scopes for price in s.table.values() for step, _ in price.live}
        matter = len(Tables(problem).arrays.steps)
        one, two = (f"{rate(problem, cores):,.0f}" for cores in (1, 2))
        values = sum(len(choice.values) for choice in problem.choices)
        lines.append(_line(target, len(problem.choices), values, len(problem.scopes), _entries(problem),
                           len(curated.dropped), _entries(curated.problem), len(steps), matter,
                           one, two))  # fmt: skip
    return "\n".join(lines) + "\n"


def _entries(problem: Problem) -> int:
    return sum(len(scope.table) for scope in problem.scopes)


def rate(problem: Problem, cores: int) -> float:
    """Whole plans a second: latency, weights, damage, MACs and the peak over the schedule of each."""
    tables = Tables(problem)
    codes = random_codes(tables, PLANS)
    with ProcessPoolExecutor(cores, get_context("fork"), _share, (tables, codes)) as pool:
        list(pool.map(_look, range(cores)))  # every process has started, and its caches are warm
        started = time.perf_counter()
        list(pool.map(_look, range(cores)))
        return cores * PLANS / (time.perf_counter() - started)


def random_codes(tables: Tables, plans: int) -> Ints:
    """Plans that change a tenth of the choices each."""
    rng = np.random.default_rng(0)
    shape = (plans, len(tables.sizes))
    changed = rng.random(shape) < 0.1
    return np.where(changed, rng.integers(0, np.maximum(tables.sizes, 1), shape), 0).astype(np.int64)


_shared: list[tuple[Tables, Ints]] = []


def _share(tables: Tables, codes: Ints) -> None:
    _shared[:] = [(tables, codes)]


def _look(_: int) -> int:
    tables, codes = _shared[0]
    return int(tables.evaluate(codes).possible.sum())


def _line(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    raise SystemExit(main())
