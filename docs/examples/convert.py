"""One model for one accelerator: the Python twin of a single command, giving the same bytes.

    hwopt optimize models/figures/figures.onnx --target edge-npu --refine 0 -o by_command.onnx
    python docs/examples/convert.py models/figures/figures.onnx edge-npu by_python.onnx

Exit codes are those of the command.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hwopt
from hwopt.errors import HwoptError
from hwopt.estimate import Estimate


def main(model: str, target: str, out: str) -> int:
    """Writes OUT.onnx with its plan and its reports, and says what it came to."""
    try:
        result = hwopt.optimize(Path(model), target=target, refine=0, output=Path(out))
    except HwoptError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    before, after = result.report.before.latency_us, result.report.after.latency_us
    if isinstance(before, Estimate) and isinstance(after, Estimate):  # a figure that nobody has says why
        print(f"{before.value:.0f} us --> {after.value:.0f} us, {after.source}")
    for step in result.plan.steps:
        print(f"{step.pass_name}: {step.choice} = {step.value}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
