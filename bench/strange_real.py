"""The fetched real models through `hwopt optimize`, in EXACT mode, and what became of each.

    python -m models.fetch all -o fetched
    python -m bench.strange_real fetched --target edge-npu --target ethos-u55-256

A row per model and target: nodes and latency before and after, steps of the plan, and whether the written
file has the input's interface and gives what it gives in ONNX Runtime (seeded noise, two seeds).
Exit code 1 where one does not, or is refused. A model that is not in the folder is left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hwopt.errors import HwoptError
from hwopt.estimate import Estimate
from hwopt.ir import interface, load_model
from hwopt.nodes import Array
from hwopt.pipeline import optimize
from hwopt.report.schema_costs import Costs, Missing
from hwopt.runtime import Session
from hwopt.verify import compare
from models.fetch import MODELS, FetchedModel

TARGETS = ("edge-npu", "ethos-u55-256")
_SEEDS = (1, 2)
_TOLERANCE = 1e-3  # of an output's largest magnitude


@dataclass(frozen=True)
class Row:
    """One model on one target; refused: the line that ended the run, "" where none did."""

    name: str
    target: str
    refused: str = ""
    steps: int = 0
    nodes: tuple[int, int] = (0, 0)
    latency_us: tuple[str, str] = ("", "")
    same: bool = False


def row_of(model: FetchedModel, path: Path, target: str) -> Row:
    """Optimises one model and holds the result against it."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out.onnx"
        try:
            result = optimize(path, target=target, output=out, input_shapes=dict(model.input_shapes))
        except HwoptError as error:
            return Row(model.name, target, str(error))
        costs = result.report.before, result.report.after
        (nodes, latency), (fewer, less) = _costs(costs[0]), _costs(costs[1])
        steps, alike = len(result.plan.steps), same(model, path, out)
        return Row(model.name, target, "", steps, (nodes, fewer), (latency, less), alike)


def _costs(costs: Costs | Missing) -> tuple[int, str]:
    """Nodes and latency; 0 and ? where nobody has them."""
    if isinstance(costs, Missing):
        return 0, "?"
    latency = costs.latency_us
    return costs.nodes, f"{latency.value:.1f}" if isinstance(latency, Estimate) else "?"


def same(model: FetchedModel, one: Path, two: Path) -> bool:
    """Whether both files look and compute alike."""
    if interface(load_model(one)) != interface(load_model(two)):
        return False
    first, second = Session(one.read_bytes()), Session(two.read_bytes())
    found = [compare(first.run(fed), second.run(fed)) for fed in (_feeds(model, seed) for seed in _SEEDS)]
    return all(item.max_rel <= _TOLERANCE for items in found for item in items)


def _feeds(model: FetchedModel, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    shapes = model.input_shapes.items()
    feeds: dict[str, Array] = {n: rng.standard_normal(shape).astype(np.float32) for n, shape in shapes}
    return feeds | {name: np.asarray(value, np.int64) for name, value in model.input_values.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the rows and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.strange_real")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", action="append", help=f"again for more; {' and '.join(TARGETS)}")
    asked = parser.parse_args(arguments)
    rows = []
    print("| model | target | steps | nodes | latency, us | same |\n|---|---|---|---|---|---|")
    for name, model in MODELS.items():
        path = asked.folder / f"{name}.onnx"
        for target in asked.target or TARGETS if path.is_file() else ():
            rows.append(row_of(model, path, target))
            print(_line(rows[-1]), flush=True)
    return 0 if all(row.same for row in rows) else 1


def _line(row: Row) -> str:
    nodes, latency = " -> ".join(map(str, row.nodes)), " -> ".join(row.latency_us)
    cells = [row.name, row.target, row.steps, nodes, latency, row.refused or ("yes" if row.same else "NO")]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    sys.exit(main())
