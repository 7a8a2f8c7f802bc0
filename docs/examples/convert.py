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
from hwopt.report import counted


def main(model: str, target: str, out: str) -> int:
    """Writes OUT.onnx with its plan and its reports, and says what it came to."""
    try:
        result = hwopt.optimize(Path(model), target=target, refine=0, output=Path(out))
    except HwoptError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    figures = counted.latency(result.report)  # the ones that limits are held on
    if isinstance(figures.before, Estimate) and isinstance(figures.after, Estimate):
        print(f"{figures.before.value:.0f} us --> {figures.after.value:.0f} us, {figures.after.source}")
    for step in result.plan.steps:
        print(f"{step.pass_name}: {step.choice} = {step.value}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
