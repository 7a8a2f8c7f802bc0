"""The best plan as a mixed-integer program, solved by HiGHS.

One binary per choice and value, one per entry of a scope's table; an entry is taken exactly
when its values are. Sums are linear in the entries, the memory peak is a maximum. HiGHS:
Huangfu and Hall, "Parallelizing the dual revised simplex method", 2018.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import highspy
import numpy as np

from hwopt.choice import KEEP
from hwopt.errors import RewriteFailed
from hwopt.scope import Assignment, Price, Problem
from hwopt.search.problem import Budget, Objective, Outcome, Task, objective_value

NAME = "milp"
MAX_NODES = 20_000
RELATIVE_GAP = 1e-6
WORTHLESS = 1e-6  # a change that saves less than this share of the objective is taken back
_INF = highspy.kHighsInf


def search(task: Task) -> Outcome:
    """The plan with the smallest objective within the budget, and the proof of how good it is.

    Sums come from the tables alone; stops on counts, never on clocks.
    """
    problem, budget = task.problem, task.budget
    program = _Program(problem, budget)
    program.limits()
    for cut in task.cuts:
        program.forbid(cut)
    outcome = program.solve(task.seed)
    if outcome.assignment is None or task.cuts:
        return outcome
    return replace(outcome, assignment=without_worthless(problem, budget, outcome.assignment))


def solve(problem: Problem, budget: Budget, seed: int = 0, cuts: Sequence[Assignment] = ()) -> Outcome:
    """`search` for those who only have a problem and a budget."""
    return search(Task(problem, budget, seed, cuts=cuts))


def without_worthless(problem: Problem, budget: Budget, assignment: Assignment) -> dict[str, str]:
    """The plan with every change taken back that earns nothing: between equals, fewer rewrites win."""
    kept = dict(assignment)
    price = problem.total(kept)
    assert price is not None
    best = objective_value(price, budget.objective)
    for choice in sorted(assignment):
        fewer = {c: v for c, v in kept.items() if c != choice}
        price = problem.total(fewer)
        if price is None or budget.violations(price):
            continue
        if objective_value(price, budget.objective) <= best * (1 + WORTHLESS):
            kept = fewer
    return kept


@dataclass
class _Program:
    problem: Problem
    budget: Budget
    picks: dict[tuple[str, str], int] = field(default_factory=dict)
    entries: list[tuple[int, Price]] = field(default_factory=list)
    rows: list[tuple[float, float, list[int], list[float]]] = field(default_factory=list)
    columns: int = 0

    def __post_init__(self) -> None:
        for choice in self.problem.choices:
            names = [KEEP, *(value.name for value in choice.values)]
            columns = [self._column() for _ in names]
            self.picks.update({(choice.id, name): c for name, c in zip(names, columns, strict=True)})
            self.rows.append((1.0, 1.0, columns, [1.0] * len(columns)))
        self.peak = self._column()
        for scope in self.problem.scopes:
            self._table(scope.choices, scope.table)
        self._liveness()

    def _column(self) -> int:
        self.columns += 1
        return self.columns - 1

    def _table(self, choices: Sequence[str], table: Mapping[tuple[str, ...], Price]) -> None:
        columns = {key: self._column() for key in table}
        self.entries.extend((columns[key], entry) for key, entry in table.items())
        self.rows.append((1.0, 1.0, list(columns.values()), [1.0] * len(columns)))
        for position, choice in enumerate(choices):
            names = sorted(name for (owner, name) in self.picks if owner == choice)
            for name in names:
                members = [column for key, column in columns.items() if key[position] == name]
                pick = self.picks[choice, name]
                self.rows.append((0.0, 0.0, [*members, pick], [1.0] * len(members) + [-1.0]))

    def _liveness(self) -> None:
        """The peak is at least what is alive at any step of the schedule."""
        held: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for column, entry in self.entries:
            for step, size in entry.live:
                held[step].append((column, size))
        fixed = dict(self.problem.fixed.live)
        for step, members in sorted(held.items()):
            columns, sizes = [c for c, _ in members], [float(size) for _, size in members]
            self.rows.append((-_INF, -float(fixed.get(step, 0)), [*columns, self.peak], [*sizes, -1.0]))

    def limits(self) -> None:
        """One row per hard limit that the budget sets."""
        budget, fixed = self.budget, self.problem.fixed
        self._limit(budget.latency_us, fixed.latency_us.value, lambda p: p.latency_us.value)
        self._limit(budget.weight_bytes, fixed.weight_bytes, lambda p: float(p.weight_bytes))
        self._limit(budget.damage, fixed.damage, lambda p: p.damage)
        if budget.footprint_bytes is not None:
            columns, weights = self._weighted(lambda p: float(p.weight_bytes))
            room = budget.footprint_bytes - fixed.weight_bytes
            self.rows.append((-_INF, float(room), [*columns, self.peak], [*weights, 1.0]))

    def _limit(self, limit: float | None, used: float, weight: Callable[[Price], float]) -> None:
        if limit is not None:
            columns, weights = self._weighted(weight)
            self.rows.append((-_INF, float(limit) - used, columns, weights))

    def _weighted(self, weight: Callable[[Price], float]) -> tuple[list[int], list[float]]:
        pairs = [(column, weight(entry)) for column, entry in self.entries]
        return [c for c, w in pairs if w], [w for _, w in pairs if w]

    def forbid(self, assignment: Assignment) -> None:
        """A no-good cut: at least one choice must differ."""
        columns = [self.picks[choice.id, assignment.get(choice.id, KEEP)] for choice in self.problem.choices]
        self.rows.append((-_INF, len(columns) - 1.0, columns, [1.0] * len(columns)))

    def objective(self) -> np.ndarray:
        """Cost of each column, scaled so that the unchanged model costs about 1."""
        weight: Callable[[Price], float] = {
            Objective.LATENCY: lambda p: p.latency_us.value,
            Objective.MEMORY: lambda p: 0.0,
            Objective.SIZE: lambda p: float(p.weight_bytes),
            Objective.FOOTPRINT: lambda p: float(p.weight_bytes),
            Objective.DAMAGE: lambda p: p.damage,
        }[self.budget.objective]
        costs = np.zeros(self.columns)
        for column, entry in self.entries:
            costs[column] = weight(entry)
        if self.budget.objective in (Objective.MEMORY, Objective.FOOTPRINT):
            costs[self.peak] = 1.0
        costs /= self.scale
        return costs

    @property
    def scale(self) -> float:
        """The unchanged model's figure, so that tolerances mean the same for every objective."""
        base = self.problem.total({})
        return max(objective_value(base, self.budget.objective), 1e-9) if base is not None else 1.0

    def solve(self, seed: int) -> Outcome:
        highs = highspy.Highs()  # type: ignore[no-untyped-call]
        for option, setting in (
            ("output_flag", False),
            ("threads", 1),
            ("random_seed", seed),
            ("mip_rel_gap", RELATIVE_GAP),
            ("mip_max_nodes", MAX_NODES),
        ):
            highs.setOptionValue(option, setting)
        highs.passModel(self._lp())
        highs.run()
        status = highs.getModelStatus()
        info = highs.getInfo()
        if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            if status in (
                highspy.HighsModelStatus.kInfeasible,
                highspy.HighsModelStatus.kUnboundedOrInfeasible,
            ):
                return Outcome(None, NAME, int(info.mip_node_count))
            raise RewriteFailed(f"HiGHS stopped with {highs.modelStatusToString(status)} and no plan")
        solution = highs.getSolution().col_value
        assignment = {
            choice: name
            for (choice, name), column in self.picks.items()
            if name != KEEP and solution[column] > 0.5
        }
        offset = 0.0 if self.budget.objective == Objective.MEMORY else self._fixed_objective()
        bound = float(info.mip_dual_bound) * self.scale + offset
        return Outcome(assignment, NAME, int(info.mip_node_count), bound, float(info.mip_gap))

    def _fixed_objective(self) -> float:
        fixed = self.problem.fixed
        return {
            Objective.LATENCY: fixed.latency_us.value,
            Objective.SIZE: float(fixed.weight_bytes),
            Objective.FOOTPRINT: float(fixed.weight_bytes),
            Objective.DAMAGE: fixed.damage,
        }[self.budget.objective]

    def _lp(self) -> highspy.HighsLp:
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = self.columns, len(self.rows)
        lp.col_cost_ = self.objective()
        lower, upper = np.zeros(self.columns), np.ones(self.columns)
        lower[self.peak] = float(self.problem.fixed.peak_bytes)
        upper[self.peak] = _INF if self.budget.peak_bytes is None else float(self.budget.peak_bytes)
        lp.col_lower_, lp.col_upper_ = lower, upper
        kinds = [highspy.HighsVarType.kInteger] * self.columns
        kinds[self.peak] = highspy.HighsVarType.kContinuous
        lp.integrality_ = kinds
        lp.row_lower_ = np.array([row[0] for row in self.rows])
        lp.row_upper_ = np.array([row[1] for row in self.rows])
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = np.cumsum([0, *(len(row[2]) for row in self.rows)])
        lp.a_matrix_.index_ = np.array([c for row in self.rows for c in row[2]], dtype=np.int32)
        lp.a_matrix_.value_ = np.array([w for row in self.rows for w in row[3]], dtype=np.float64)
        return lp
