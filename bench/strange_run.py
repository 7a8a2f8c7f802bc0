"""One case of the backend test data through `hwopt optimize`, and what became of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime as ort

from bench.strange_cases import Case, DataSet, Datum
from hwopt.errors import BadInput
from hwopt.nodes import Array
from hwopt.report import html
from hwopt.report.schema import Report
from hwopt.wording import said

PASSED, REFUSED, WRONG, CRASHED, NOT_RUN = "passed", "refused", "wrong", "crashed", "not run"


@dataclass(frozen=True)
class Row:
    """What became of a case on a target.

    runs: ONNX Runtime runs the model as it came, on the package's inputs. right: and what it gives is
        what the package expects. outcome: one of the words above; NOT_RUN: it was refused, and ONNX
        Runtime cannot run it or the checker rejects it. changed: the file is not the input's.
    """

    kind: str
    name: str
    target: str
    runs: bool
    right: bool
    outcome: str
    changed: bool
    message: str
    seconds: float

    @property
    def counted(self) -> bool:
        """Whether it is one of those that must pass."""
        return self.runs or self.outcome in (WRONG, CRASHED)


def judge(case: Case, target: str, pictures: bool = True) -> Row:
    """Optimises the case's model without data and holds the written file against what must come out.

    pictures: whether the page is drawn whole; its pictures are four fifths of the time of such a run.
    """
    with ExitStack() as opened, tempfile.TemporaryDirectory(prefix="strange.") as folder:
        path, out = Path(folder) / "model.onnx", Path(folder) / "out.onnx"
        path.write_bytes(case.model)
        reason, own = _own_outputs(case)
        if not pictures:
            opened.enter_context(patch.object(html, "_charts", _no_charts))
        start = time.perf_counter()
        outcome, message = _optimised(case, target, path, out)
        seconds = round(time.perf_counter() - start, 3)
        if outcome == REFUSED and reason:
            outcome, message = NOT_RUN, f"{message} / {reason}"
        changed = False
        if outcome == PASSED:
            changed = out.read_bytes() != case.model
            objection = _objection(case, out, own)
            outcome, message = (WRONG, objection) if objection else (PASSED, reason)
        right = own is not None and all(
            not _differ(got, wanted, case) for got, (_, wanted) in zip(own, case.sets, strict=True)
        )
        return Row(case.kind, case.name, target, not reason, right, outcome, changed, message, seconds)


def _no_charts(report: Report) -> dict[str, html.Chart]:
    del report
    return {name: html.Chart("", "") for name in ("latency", "memory", "pareto", "roofline")}


def _optimised(case: Case, target: str, path: Path, out: Path) -> tuple[str, str]:
    from hwopt.pipeline import optimize

    try:
        optimize(path, target=target, output=out, refine=0, input_shapes=free_shapes(case))
    except BadInput as error:
        return REFUSED, str(error)
    except Exception as error:
        return CRASHED, f"{type(error).__name__}: {error}"
    return PASSED, ""


def free_shapes(case: Case) -> dict[str, list[int]] | None:
    """What a user would give with --input-shape: the shape of each input that has a free axis."""
    found: dict[str, list[int]] = {}
    for info, value in zip(_inputs(onnx.load_from_string(case.model)), case.sets[0][0], strict=False):
        tensor = info.type.tensor_type
        if isinstance(value, np.ndarray) and info.type.HasField("tensor_type"):
            sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
            if not tensor.HasField("shape"):
                sizes = [None] * value.ndim
            if None in sizes:  # a size of 0 is no size that anybody would give
                pairs = zip(sizes, value.shape, strict=True)
                found[info.name] = [max(real, 1) if size is None else size for size, real in pairs]
    return found or None


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller must give. With IR version 3 weights stand among them."""
    known = {tensor.name for tensor in model.graph.initializer}
    return [info for info in model.graph.input if info.name not in known]


def _own_outputs(case: Case) -> tuple[str, list[Sequence[Datum]] | None]:
    """Why ONNX Runtime cannot run the model as it came, "" where it can; and what it gives."""
    try:
        onnx.checker.check_model(case.model)
        session = _session(case.model)
        return "", [_run(session, case, data) for data in case.sets]
    except Exception as error:  # whatever either of them throws
        return f"{type(error).__name__}: {said(error)}", None


def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession, case: Case, data: DataSet) -> list[Datum]:
    names = [info.name for info in _inputs(onnx.load_from_string(case.model))]
    feeds = dict(zip(names, data[0], strict=False))
    outputs = [spec.name for spec in session.get_outputs()]
    if any(isinstance(value, np.ndarray) and value.dtype.kind == "V" for value in feeds.values()):
        return _run_small(session, outputs, feeds)
    return list(session.run(outputs, {name: value for name, value in feeds.items() if value is not None}))


def _run_small(session: ort.InferenceSession, outputs: list[str], feeds: dict[str, Datum]) -> list[Datum]:
    """The same for inputs of types that NumPy does not have: bfloat16, float8, int4."""
    values = {name: _small(value) for name, value in feeds.items() if isinstance(value, np.ndarray)}
    return [value.numpy() for value in session.run_with_ort_values(outputs, values)]


def _small(value: Array) -> ort.OrtValue:
    if value.dtype.kind != "V":
        return ort.OrtValue.ortvalue_from_numpy(value)
    kind = int(onnx.helper.np_dtype_to_tensor_dtype(value.dtype))
    bits = value.view(np.uint16 if value.dtype.itemsize == 2 else np.uint8)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, kind)


def _objection(case: Case, out: Path, own: list[Sequence[Datum]] | None) -> str:
    """What is wrong with the written file; "" where nothing is."""
    written = out.read_bytes()
    if written == case.model:
        return ""  # what it gives is what the input gives
    differs = _interface_differs(onnx.load_from_string(case.model), onnx.load_from_string(written))
    if differs:
        return differs
    try:
        onnx.checker.check_model(written)
    except Exception as error:
        return f"the checker rejects it: {said(error)}"
    return "" if own is None else _outputs_differ(case, written, own)


def _interface_differs(one: onnx.ModelProto, two: onnx.ModelProto) -> str:
    for what, before, after in (
        ("inputs", _inputs(one), _inputs(two)),
        ("outputs", one.graph.output, two.graph.output),
        ("opsets", one.opset_import, two.opset_import),
        ("metadata", one.metadata_props, two.metadata_props),
    ):
        if [item.SerializeToString() for item in before] != [item.SerializeToString() for item in after]:
            return f"its {what} are not those of the input"
    return ""


def _outputs_differ(case: Case, written: bytes, own: list[Sequence[Datum]]) -> str:
    """Held against what the package expects; where ONNX Runtime's own answer is another, against that."""
    session = _session(written)
    for data, before in zip(case.sets, own, strict=True):
        after = _run(session, case, data)
        wanted = before if _differ(before, data[1], case) else data[1]
        found = _differ(after, wanted, case)
        if found:
            return found
    return ""


def _differ(found: Sequence[Datum], wanted: Sequence[Datum], case: Case) -> str:
    """How outputs differ beyond the case's tolerances; "" where they do not."""
    from onnx.backend.test.runner import Runner

    try:
        Runner.assert_similar_outputs(wanted, found, case.rtol, case.atol)
    except (AssertionError, TypeError, AttributeError, ValueError) as error:
        return said(error)
    return ""
