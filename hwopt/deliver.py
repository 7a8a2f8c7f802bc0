"""Writes the result and holds the file, as a reader will find it, against what was promised."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from hwopt.assess import Assessment
from hwopt.errors import BadInput, RewriteFailed
from hwopt.files.scratch import temporary_folder
from hwopt.ir import load_model, save_model
from hwopt.ir.checker import check_file
from hwopt.ir.external import EXTERNAL, External
from hwopt.report.write import OutputFiles, Stage, not_written, staged
from hwopt.settle import Settled
from hwopt.verify import differences, require_exact, require_same_interface, same_message
from hwopt.work import Work


@contextmanager
def place_for(out: Path | None, force: bool) -> Iterator[Stage]:
    """Where the result's files are made: beside OUT, or in a scratch folder where nothing is kept.

    From the beginning of a run, so that two do not work for the same file, and that a folder which
    cannot be written to is known before anything is computed.
    """
    if out is not None:
        with staged(out, force) as place:
            yield place
        return
    try:
        scratch = temporary_folder()
    except OSError as error:
        raise BadInput(
            f"there is no folder for temporary files (TMPDIR): {error.strerror or error}"
        ) from None
    with scratch as folder:
        yield Stage(Path(folder), OutputFiles.beside(Path("model.onnx")))


@contextmanager
def disk_may_refuse(stage: Stage) -> Iterator[None]:
    """What the disk refuses while the result is written becomes a line for the user."""
    try:
        yield
    except OSError as error:
        raise not_written(stage.files.onnx, error) from None


def write_model(work: Work, settled: Settled, path: Path) -> str:
    """Writes the result; an unchanged input comes back byte for byte.

    One with external data is written anew: beside OUT.onnx its weights stand in OUT.onnx.data, or in
    OUT.onnx itself up to `hwopt.ir.save.EMBED_UP_TO_BYTES`.

    Returns what onnx.checker's full check says of it: "passed", or what it already objected to
    in the input.
    """
    if settled.delivered is work.model and work.path and not has_external_data(work.model):
        shutil.copyfile(work.path, path)
        objection = check_file(path)
    else:
        objection = save_model(settled.delivered, path).unchecked
    return "passed" if objection is None else f"as the input: {objection}"


def spare_input(work: Work, out: Path) -> None:
    """Raises BadInput where OUT.onnx.data is a file that the input's weights lie in."""
    external, data = work.model.graph.meta.get(EXTERNAL), OutputFiles.beside(out).data
    if isinstance(external, External) and os.path.realpath(data) in map(os.path.realpath, external.files):
        raise BadInput(f"{data} holds data of the input and would be overwritten: name another output")


def has_external_data(model: ir.Model) -> bool:
    """Whether some weights lay in files of their own: a copy of the ONNX file alone would miss them."""
    return bool(model.graph.meta.get(EXTERNAL)) or any(
        isinstance(value.const_value, ir.ExternalTensor) for value in model.graph.initializers.values()
    )


def check_written(work: Work, settled: Settled, path: Path) -> None:
    """Raises RewriteFailed where the file differs from the result that was decided on.

    Interface, arena, weights, latency and outputs are those of the file, read back; it is not run where
    ONNX Runtime would be given the very bytes that it was given before. What a file in another precision
    costs is what its fp32 twin costs on a target of that precision.
    """
    written = load_model(path)
    require_same_interface(settled.model, written)  # which `verify` held against the input's
    if settled.written is None:
        _check_figures(work.assess(written), settled.after)
    if not same_message(settled.delivered, written):
        changes = differences(settled.delivered, written, work.input_shapes, work.settings.seed)
        require_exact(changes, "writing the file")


def _check_figures(found: Assessment, promised: Assessment) -> None:
    figures = (
        ("latency", found.latency_us.value, promised.latency_us.value),
        ("arena", found.memory.peak_bytes, promised.memory.peak_bytes),
        ("weights", found.weight_bytes, promised.weight_bytes),
    )
    for name, figure, expected in figures:
        if abs(figure - expected) > 1e-6 * max(abs(expected), 1.0):
            raise RewriteFailed(f"the written file's {name} is {figure:g}, the result's was {expected:g}")
