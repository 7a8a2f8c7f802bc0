"""hwopt between passes of onnx-ir: EXACT rewrites as one more pass of a pipeline that is there already.

    python docs/examples/onnx_ir_pipeline.py models/figures/figures.onnx figures.passes.onnx

`hwopt.ExactPasses()` without a target makes folds alone: nothing else pays everywhere.
"""

from __future__ import annotations

import sys

import onnx_ir as ir
import onnx_ir.passes.common as common
from onnx_ir.passes import Sequential

import hwopt


def main(model: str, out: str) -> None:
    """Runs the pipeline and saves what it gives."""
    reports = list[hwopt.Result]()
    pipeline = Sequential(
        common.CommonSubexpressionEliminationPass(),
        hwopt.ExactPasses("edge-npu", refine=0, on_result=reports.append),
        common.RemoveUnusedNodesPass(),
        common.CheckerPass(full_check=True),
    )
    result = pipeline(ir.load(model))
    ir.save(result.model, out)
    print(f"{out}: {'changed' if result.modified else 'as it was'}, {len(result.model.graph)} nodes")
    for one in reports:
        print(f"hwopt: {one.report.outcome}, {len(one.plan.steps)} steps")


if __name__ == "__main__":
    main(*sys.argv[1:])
