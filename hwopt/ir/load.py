"""ONNX file  -->  onnx_ir model in its own opset, its nodes as they came, external data on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from hwopt.errors import BadInput
from hwopt.files.untrusted import read_bytes
from hwopt.ir.checker import CHECK_FAILED, check_file
from hwopt.ir.external import EXTERNAL, External, ExternalData
from hwopt.ir.foreign import foreign, foreign_folder
from hwopt.ir.sparse import make_dense
from hwopt.ir.training import keep_training
from hwopt.ir.vet import vet
from hwopt.ir.vet_words import invalid_model
from hwopt.wording import near, said

OLDEST_OPSET = 7  # that rewrites know; operators of older ones mean other things (broadcasting, for one)
_FIRST_IR_WITH_CONSTANT_INITIALIZERS = 4

LARGEST_FILE_BYTES = 2**31 - 1  # protobuf reads no longer message


def load_model(path: Path) -> ir.Model:
    """Reads an ONNX model; nothing is renamed, lifted or converted.

    Weights in the file itself are in memory; external data stays in its files, checked and read when
    somebody asks for it (`hwopt.ir.stored`). `model.graph.meta[EXTERNAL]` names those files.

    IR version 3 forced exporters to list every weight among the inputs; such weights become
    plain initializers and the IR version is raised to 4, as ONNX Runtime reads them too. Where
    the full check of `onnx.checker` objects to something that does not keep the model from
    running (shape inference, an operator it does not know), the objection is kept in
    `model.graph.meta` (which, unlike `model.meta`, survives `clone`).

    Raises BadInput where the file is missing, truncated, not ONNX, invalid, newer than this onnx
    package, or keeps data outside its folder.
    """
    path = Path(path)
    proto = _parse(path)
    _check_opsets(proto, path)
    vet(proto, path)
    external = ExternalData(path.parent)
    external.embed_small(proto)
    make_dense(proto)
    objection = check_file(path)
    model = _deserialise(proto, path)
    external.bind(model)
    keep_training(proto, model)
    _make_weights_constant(model)
    if objection is not None:
        model.graph.meta[CHECK_FAILED] = objection
    if external:
        model.graph.meta[EXTERNAL] = external.found
    return model


def model_identity(path: Path, model: ir.Model) -> str:
    """What a plan knows a loaded model by: the SHA-256 of its file, in hex.

    Of a model with external data it is one of the file and of what stands beside it (`ExternalData.found`):
    the file alone says nothing of the weights. Raises BadInput where it cannot be read.
    """
    own, external = model_sha256(path), model.graph.meta.get(EXTERNAL)
    if not isinstance(external, External):
        return own
    return hashlib.sha256(f"{own} {external.digest}".encode()).hexdigest()


def model_sha256(path: Path) -> str:
    """SHA-256 of the file, in hex. Raises BadInput where it cannot be read."""
    return hashlib.sha256(_read(Path(path))).hexdigest()


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise BadInput(f"{path} {foreign_folder(path)}")
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(f"{path} does not exist{near(path) or ': name an ONNX file'}") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if size > LARGEST_FILE_BYTES:
        raise BadInput(
            f"{path} is larger than {LARGEST_FILE_BYTES:,} bytes, which no ONNX file can be: "
            "save its weights as external data"
        )
    return read_bytes(path, "model", LARGEST_FILE_BYTES)


def _parse(path: Path) -> onnx.ModelProto:
    data = _read(path)
    if not data:
        raise BadInput(f"{path} is empty: an ONNX model was expected")
    other = foreign(path, data)
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except DecodeError:
        what = other or "is not an ONNX model, or it is truncated: export or copy it again"
        raise BadInput(f"{path} {what}") from None
    if proto.ir_version == 0 or not proto.graph.output:
        what = other or "is not an ONNX model, or it is truncated: it has no graph with outputs"
        raise BadInput(f"{path} {what}")
    return proto


def _check_opsets(proto: onnx.ModelProto, path: Path) -> None:
    opset = _standard_opset({entry.domain: entry.version for entry in proto.opset_import})
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= opset <= newest:
        raise BadInput(f"{path} is in opset {opset}: opsets 1 to {newest} are read, export it again")


def _standard_opset(versions: Mapping[str, int]) -> int:
    """Version of the standard operators; of a model that has none, the oldest that is no matter."""
    return versions.get("", versions.get("ai.onnx", OLDEST_OPSET))


def old_opset(model: ir.Model) -> int | None:
    """The model's opset where it is too old for any rewrite: then it is read, priced and left alone."""
    opset = _standard_opset(model.opset_imports)
    return opset if opset < OLDEST_OPSET else None


def _deserialise(proto: onnx.ModelProto, path: Path) -> ir.Model:
    try:
        return ir.from_proto(proto)
    except Exception as error:  # whatever a malformed graph makes the reader raise
        raise invalid_model(path, said(error)) from None


def _make_weights_constant(model: ir.Model) -> None:
    """IR version 3: weights leave the list of inputs; later versions mean it when they list one."""
    if model.ir_version >= _FIRST_IR_WITH_CONSTANT_INITIALIZERS:
        return
    weights = [value for value in model.graph.inputs if value.is_initializer()]
    for value in weights:
        model.graph.inputs.remove(value)
    model.ir_version = _FIRST_IR_WITH_CONSTANT_INITIALIZERS
