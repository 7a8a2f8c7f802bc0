"""Writes the result and holds the file, as a reader will find it, against what was promised."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx_ir as ir

from hwopt.errors import RewriteFailed
from hwopt.ir import load_model, save_model
from hwopt.settle import Settled
from hwopt.verify import differences, require_exact, require_same_interface
from hwopt.work import Work


def write_model(work: Work, settled: Settled, path: Path) -> None:
    """The result as an ONNX file; an unchanged input comes back byte for byte."""
    if settled.model is work.model and work.path and not has_external_data(work.model):
        shutil.copyfile(work.path, path)
    else:
        save_model(settled.model, path)


def has_external_data(model: ir.Model) -> bool:
    """Whether some weights lie in files of their own: a copy of the ONNX file alone would miss them."""
    return any(
        isinstance(value.const_value, ir.ExternalTensor) for value in model.graph.initializers.values()
    )


def check_written(work: Work, settled: Settled, path: Path) -> None:
    """Raises RewriteFailed where the file differs from the result that was decided on.

    Interface, arena, weights, latency and outputs are those of the file, read back.
    """
    written = load_model(path)
    require_same_interface(work.model, written)
    found, promised = work.assess(written), settled.after
    figures = (
        ("latency", found.latency_us.value, promised.latency_us.value),
        ("arena", found.memory.peak_bytes, promised.memory.peak_bytes),
        ("weights", found.weight_bytes, promised.weight_bytes),
    )
    for name, figure, expected in figures:
        if abs(figure - expected) > 1e-6 * max(abs(expected), 1.0):
            raise RewriteFailed(f"the written file's {name} is {figure:g}, the result's was {expected:g}")
    changes = differences(settled.model, written, work.input_shapes, work.settings.seed)
    require_exact(changes, "writing the file")
