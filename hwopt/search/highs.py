"""The solver behind the integer program: HiGHS, one thread, stopped by counts.

Huangfu and Hall, "Parallelizing the dual revised simplex method", 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import highspy
import numpy as np

from hwopt.search.arrays import Floats
from hwopt.search.program import Linear, Program
from hwopt.trace import Listeners, Progress, emit

MAX_NODES = 20_000
RELATIVE_GAP = 1e-6
FEASIBLE = 1e-9  # of rows, which are in units of their limits: as strict as Budget.violations


@dataclass(frozen=True)
class Solved:
    """values: of the columns, None where there is no solution. bound: of the figure, as it was given.

    proven: whether the solver ended by itself: no solution is then a proof that there is none.
    curve: (nodes, figure) at every better solution.
    """

    values: Floats | None
    nodes: int
    bound: float
    proven: bool
    stopped: bool
    curve: tuple[tuple[int, float], ...]


def minimise(
    program: Program,
    figure: Linear,
    seed: int,
    stopped: Callable[[], bool],
    start: Floats | None = None,
    listeners: Listeners = (),
) -> Solved:
    """The smallest value of a figure. start: a solution to begin from."""
    unit = float(np.abs(figure.weights).max(initial=0.0)) or 1.0
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, setting in (
        ("output_flag", False),
        ("threads", 1),
        ("random_seed", seed),
        ("mip_rel_gap", RELATIVE_GAP),
        ("mip_abs_gap", RELATIVE_GAP**2),
        ("mip_max_nodes", MAX_NODES),
        ("primal_feasibility_tolerance", FEASIBLE),
        ("mip_feasibility_tolerance", FEASIBLE),
        ("small_matrix_value", 1e-12),
    ):
        highs.setOptionValue(option, setting)
    highs.passModel(_lp(program, figure, unit))
    if start is not None:
        solution = highspy.HighsSolution()
        solution.col_value = start.tolist()
        highs.setSolution(solution)
    watch = _Watch(stopped, unit, listeners)
    highs.cbMipInterrupt.subscribe(watch.ask)
    highs.cbMipImprovingSolution.subscribe(watch.note)
    highs.run()
    return _solved(highs, watch, unit, program.integers)


class _Watch:
    """Hears from HiGHS while it runs."""

    def __init__(self, stopped: Callable[[], bool], unit: float, listeners: Listeners) -> None:
        self.stopped, self.unit, self.listeners = stopped, unit, listeners
        self.curve: list[tuple[int, float]] = []
        self.ended = False

    def ask(self, event: highspy.highs.HighsCallbackEvent) -> None:
        self.ended = self.ended or self.stopped()
        if self.ended:
            event.interrupt()

    def note(self, event: highspy.highs.HighsCallbackEvent) -> None:
        nodes = int(event.data_out.mip_node_count)
        self.curve.append((nodes, float(event.data_out.objective_function_value) * self.unit))
        emit(self.listeners, Progress("search", nodes, 0))


def _solved(highs: highspy.Highs, watch: _Watch, unit: float, integers: int) -> Solved:
    info, status = highs.getInfo(), highs.getModelStatus()
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    ended = highspy.HighsModelStatus
    bound = info.mip_dual_bound if integers else info.objective_function_value
    proven = status in (ended.kOptimal, ended.kInfeasible, ended.kUnboundedOrInfeasible)
    return Solved(
        np.array(highs.getSolution().col_value) if found else None,
        max(1, int(info.mip_node_count)),  # what is solved at the root is looked at once
        float(bound) * unit,
        proven,
        watch.ended,
        tuple(watch.curve),
    )


def _lp(program: Program, figure: Linear, unit: float) -> highspy.HighsLp:
    lp = highspy.HighsLp()
    count = len(program.lower)
    lp.num_col_, lp.num_row_ = count, len(program.rows)
    costs = np.zeros(count)
    costs[: len(figure.weights)] = figure.weights / unit
    lp.col_cost_, lp.offset_ = costs, figure.constant / unit
    lp.col_lower_, lp.col_upper_ = np.array(program.lower), np.array(program.upper)
    whole, real = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
    lp.integrality_ = [whole] * program.integers + [real] * (count - program.integers)
    lp.row_lower_ = np.array([row.lower for row in program.rows])
    lp.row_upper_ = np.array([row.upper for row in program.rows])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.cumsum([0, *(len(row.columns) for row in program.rows)])
    lp.a_matrix_.index_ = _flat([row.columns for row in program.rows]).astype(np.int32)
    lp.a_matrix_.value_ = _flat([row.weights for row in program.rows])
    return lp


def _flat(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)
