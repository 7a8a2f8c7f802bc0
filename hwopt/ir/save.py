"""onnx_ir model  -->  ONNX file: deterministic, checked, written beside its name and then renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from hwopt.errors import BadInput, RewriteFailed
from hwopt.files.leftovers import flush_file
from hwopt.files.scratch import workshop
from hwopt.ir.checker import CHECK_FAILED, check_file
from hwopt.ir.external import EXTERNAL
from hwopt.ir.out import move_out, tensors_of, whole_proto
from hwopt.ir.training import add_training

MAX_FILE_BYTES = 2_000_000_000  # protobuf's limit is 2 GiB, the graph itself needs some of it
EMBED_UP_TO_BYTES = 256_000_000  # a model that came with external data: up to here its result is one file
_EXTERNAL_FROM_BYTES = 1024


@dataclass(frozen=True)
class Saved:
    """A model on disk. `unchecked` says why the full check was not possible, None where it passed."""

    path: Path
    sha256: str
    data_path: Path | None
    unchecked: str | None


def model_bytes(model: ir.Model) -> bytes:
    """The model as one protobuf message, the same bytes for the same model on every machine.

    Raises BadInput where it does not fit into protobuf's 2 GB.
    """
    if tensor_bytes(model) > MAX_FILE_BYTES:
        raise BadInput("the model is over 2 GB and does not fit into one ONNX message: save it to a file")
    return _serialise(model, whole_proto(model))


def save_model(model: ir.Model, path: Path, force: bool = False, max_file_bytes: int | None = None) -> Saved:
    """Writes the model so that the file appears complete or not at all.

    Above `max_file_bytes` of weights they go into PATH.data, tensor by tensor (`hwopt.ir.out`). By default
    that is what fits into one file, `MAX_FILE_BYTES`, and `EMBED_UP_TO_BYTES` for a model that came with
    external data: a small one is handier as one file, a large one would have to be held in memory.

    The full check of onnx.checker runs on the written file before it gets its name; only where the
    input had already failed it is an objection accepted and returned.

    Raises BadInput where the file exists and `force` is not set, or cannot be written;
    RewriteFailed where a model that was valid no longer is.
    """
    path = Path(path)
    if max_file_bytes is None:
        max_file_bytes = EMBED_UP_TO_BYTES if model.graph.meta.get(EXTERNAL) else MAX_FILE_BYTES
    data_path = path.with_name(path.name + ".data") if tensor_bytes(model) > max_file_bytes else None
    _refuse_to_overwrite([p for p in (path, data_path) if p is not None], force)
    try:
        with workshop(path) as folder:
            return _write(model, path, data_path, folder)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}") from None


def _refuse_to_overwrite(paths: list[Path], force: bool) -> None:
    for path in paths:
        if path.is_dir():
            raise BadInput(f"{path} is a folder: name a file")
        if path.exists() and not force:
            raise BadInput(f"{path} exists: choose another name or pass --force")


def _write(model: ir.Model, path: Path, data_path: Path | None, folder: Path) -> Saved:
    draft = folder / path.name
    if data_path is None:
        draft.write_bytes(model_bytes(model))
    else:
        _write_with_data(model, draft, data_path.name)
    unchecked = _check(model, draft, path)
    sha256 = hashlib.sha256(draft.read_bytes()).hexdigest()
    if data_path is not None:
        _publish(folder / data_path.name, data_path)
    _publish(draft, path)
    return Saved(path, sha256, data_path, unchecked)


def _write_with_data(model: ir.Model, draft: Path, data_name: str) -> None:
    """Weights of 1 KB and more go into a file beside the graph; the model itself stays as it is."""
    proto = move_out(model, draft.with_name(data_name), _EXTERNAL_FROM_BYTES)
    draft.write_bytes(_serialise(model, proto))


def _serialise(model: ir.Model, proto: onnx.ModelProto) -> bytes:
    add_training(model, proto)
    return bytes(proto.SerializeToString(deterministic=True))


def _check(model: ir.Model, draft: Path, path: Path) -> str | None:
    known = model.graph.meta.get(CHECK_FAILED)
    try:
        objection = check_file(draft)
    except BadInput as error:
        raise RewriteFailed(str(error).replace(str(draft), str(path))) from None
    if objection is not None and known is None:
        raise RewriteFailed(f"{path}: onnx.checker objects to the rewritten model: {objection}")
    return objection


def _publish(draft: Path, path: Path) -> None:
    """Flushes the file to disk, then gives it its name."""
    flush_file(draft)
    if path.exists():
        shutil.copymode(path, draft)
    os.replace(draft, path)


def tensor_bytes(model: ir.Model) -> int:
    """Bytes of all initializers and tensor attributes, nested graphs included."""
    return sum(_stored_bytes(tensor) for tensor in tensors_of(model))


def _stored_bytes(tensor: ir.TensorProtocol) -> int:
    """Bytes of a tensor's data; texts have no common size."""
    if tensor.dtype == ir.DataType.STRING:
        return sum(len(text) for text in tensor.numpy().reshape(-1).tolist())
    return int(tensor.nbytes)
