"""The backend test data of the onnx package: models of other people, with inputs and expected outputs.

Four kinds lie in the package as files, the fifth are the node tests, which it generates.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase

from hwopt.nodes import Array

KINDS = ("light", "simple", "pytorch-operator", "pytorch-converted", "node")
RTOL, ATOL = 1e-3, 1e-7  # the package's own, where a case says nothing
_DATA = Path(onnx.backend.test.__file__).parent / "data"

Datum = Array | Sequence[object] | None  # a tensor; a sequence of them; an optional that is absent
DataSet = tuple[tuple[Datum, ...], tuple[Datum, ...]]  # inputs, expected outputs


@dataclass(frozen=True)
class Case:
    """A model with what it is given and what must come out, within rtol and atol.

    model: the file's bytes.
    """

    kind: str
    name: str
    model: bytes
    sets: tuple[DataSet, ...]
    rtol: float
    atol: float


Open = Callable[[], Case]


def cases(kind: str) -> Mapping[str, Open]:
    """The cases of a kind by name, sorted, each opened when it is wanted."""
    if kind == "node":
        return {case.name: (lambda case=case: _generated(case)) for case in _node_cases()}  # type: ignore[misc]
    if kind == "light":
        paths = sorted((_DATA / kind).glob("light_*.onnx"))
        return {path.stem: (lambda path=path: _light(path)) for path in paths}  # type: ignore[misc]
    folders = sorted(path.parent for path in (_DATA / kind).glob("*/model.onnx"))
    return {path.name: (lambda path=path: _stored(kind, path)) for path in folders}  # type: ignore[misc]


def _node_cases() -> Iterator[TestCase]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # its generators overflow and divide by zero on purpose
        found = collect_testcases(None)
    yield from sorted(found, key=lambda case: str(case.name))


def _generated(case: TestCase) -> Case:
    assert case.model is not None
    sets = tuple((_data(inputs), _data(outputs)) for inputs, outputs in case.data_sets or ())
    return Case("node", case.name, case.model.SerializeToString(), sets, case.rtol, case.atol)


def _data(items: Sequence[object]) -> tuple[Datum, ...]:
    return tuple(_datum(item) for item in items)


def _datum(item: object) -> Datum:
    if isinstance(item, onnx.TensorProto):
        return numpy_helper.to_array(item)
    if isinstance(item, list | tuple):
        return [_datum(one) for one in item]
    return None if item is None else np.asarray(item)


def _light(path: Path) -> Case:
    """A well-known network whose weights are computed by nodes; its inputs are a ramp, as in the package."""
    model = onnx.load(path)
    known = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_ramp(info) for info in model.graph.input if info.name not in known)
    outputs = tuple(
        _read(path.with_name(f"{path.stem}_output_{number}.pb"), info.type)
        for number, info in enumerate(model.graph.output)
    )
    rtol, atol = _tolerances(_DATA / "real" / f"test_{path.stem.removeprefix('light_')}" / "data.json")
    return Case("light", path.stem, path.read_bytes(), ((inputs, outputs),), rtol, atol)


def _ramp(info: onnx.ValueInfoProto) -> Array:
    shape = [max(dim.dim_value, 1) for dim in info.type.tensor_type.shape.dim]
    count = int(np.prod(shape))
    return (np.arange(count).reshape(shape) / count).astype(np.float32)


def _stored(kind: str, folder: Path) -> Case:
    path = folder / "model.onnx"
    graph = onnx.load(path).graph
    sets = tuple(
        (_numbered(data, "input", graph.input), _numbered(data, "output", graph.output))
        for data in sorted(folder.glob("test_data_set_*"))
    )
    rtol, atol = _tolerances(folder / "data.json")
    return Case(kind, folder.name, path.read_bytes(), sets, rtol, atol)


def _tolerances(path: Path) -> tuple[float, float]:
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return float(found.get("rtol", RTOL)), float(found.get("atol", ATOL))


def _numbered(folder: Path, what: str, infos: Sequence[onnx.ValueInfoProto]) -> tuple[Datum, ...]:
    paths = (folder / f"{what}_{number}.pb" for number in range(len(infos)))
    return tuple(_read(path, info.type) for path, info in zip(paths, infos, strict=True) if path.exists())


def _read(path: Path, kind: onnx.TypeProto) -> Datum:
    """A tensor, sequence or optional as the package stores it."""
    data = path.read_bytes()
    if kind.HasField("sequence_type"):
        return _datum(numpy_helper.to_list(onnx.SequenceProto.FromString(data)))
    if kind.HasField("optional_type"):
        return _datum(numpy_helper.to_optional(onnx.OptionalProto.FromString(data)))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))
