"""`hwopt analyze`: what a model costs; nothing is changed."""

from __future__ import annotations

from hwopt import cli_show
from hwopt.cli_common import command_line, print_json, running, shapes_of
from hwopt.cli_config import ConfigFile
from hwopt.cli_options import (
    AsJson,
    CostModelFile,
    Measure,
    Model,
    Quiet,
    Refine,
    Shapes,
    TargetName,
)
from hwopt.limits import DEFAULT_REFINE


def analyze(
    model: Model,
    target: TargetName,
    input_shape: Shapes = None,
    measure: Measure = False,
    refine: Refine = DEFAULT_REFINE,
    cost_model: CostModelFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show MODEL's latency and memory on a target, subgraph by subgraph. Nothing is changed.

    Examples:
        hwopt analyze model.onnx --target edge-npu
        hwopt analyze model.onnx --target edge-npu --measure
        hwopt analyze model.onnx --target edge-npu --input-shape x:1,3,480,480 --json
    """
    shapes = shapes_of(input_shape)
    with running(as_json, quiet) as listeners:
        from hwopt.pipeline import analyze as run

        report = run(
            model,
            target=target,
            input_shapes=shapes,
            measure=measure,
            refine=refine,
            cost_model=cost_model,
            command=command_line(),
            listeners=listeners,
        )
    if as_json:
        print_json(report)
    else:
        cli_show.show_analysis(report)
