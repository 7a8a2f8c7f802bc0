"""The folder of a run's dumps: numbered models that any viewer opens, and an index that comes last."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnx_ir as ir

from hwopt.errors import BadInput, RewriteFailed
from hwopt.files.scratch import workshop
from hwopt.ir import model_bytes, save_model
from hwopt.report.jsonable import encode, json_text
from hwopt.report.write import publish
from hwopt.shapes import static_shapes
from hwopt.wording import said

INDEX = "index.json"
UNWRITABLE = "the model cannot be written"
_DUMP = re.compile(r"\d{2,}-[\w.=-]+\.onnx(\.data)?")
_LONGEST = 100  # characters of a file's name before its ending


def prepared(folder: Path, force: bool) -> Path:
    """The folder, new or empty. With `force` the dumps of an earlier run go, as its index lists them.

    Raises BadInput where it holds something else, or cannot be made.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise BadInput(f"--dump-dir {folder} is a file: name a folder")
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            if not force:
                raise BadInput(f"--dump-dir {folder} is not empty: name a new folder or pass --force")
            _clear(folder)
    except OSError as error:
        raise BadInput(f"--dump-dir {folder} cannot be used: {error.strerror or error}") from None
    return folder


def remove_if_empty(folder: Path, fresh: bool) -> None:
    """Removes a folder that was made for dumps and got none. fresh: whether it was made for this run."""
    if fresh and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _clear(folder: Path) -> None:
    """Removes an earlier run's index and the dumps; nothing that only looks like one."""
    try:
        listed = json.loads((folder / INDEX).read_text("utf-8"))["dumps"]
        names = [str(entry["file"]) for entry in listed]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        names = []
    (folder / INDEX).unlink(missing_ok=True)
    for name in names:
        for path in (folder / name, folder / f"{name}.data"):
            if _DUMP.fullmatch(name) and path.is_file():
                path.unlink()


def file_name(number: int, digits: int, *words: str) -> str:
    """NN-word-word.onnx, of letters, digits and harmless signs alone."""
    text = "-".join(re.sub(r"[^A-Za-z0-9._=-]+", "-", word).strip("-.") for word in words if word)
    return f"{number:0{digits}d}-{text[:_LONGEST]}.onnx"


def write_dump(model: ir.Model, path: Path) -> str:
    """Writes a model as it is, with the shapes that can be inferred; what onnx.checker says of it.

    model: not edited. One that a pass left in pieces, so that it cannot be written, gives a text that begins
    with UNWRITABLE. Raises BadInput where the disk refuses.
    """
    try:
        return _written(with_shapes(model), path)
    except BadInput:
        raise
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}") from None
    except Exception as error:
        return f"{UNWRITABLE}: {_innermost(error)}"


def _written(model: ir.Model, path: Path) -> str:
    try:
        objection = save_model(model, path, force=True).unchecked
    except RewriteFailed as error:  # shown all the same: that is what a dump is for
        path.write_bytes(model_bytes(model))
        objection = str(error)
    return "passed" if objection is None else objection


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return said(error)


def with_shapes(model: ir.Model) -> ir.Model:
    """A clone whose values of the main graph carry the shapes that hold for every input, where known."""
    copy = model.clone()
    known = static_shapes(copy)
    for value in (value for node in copy.graph for value in node.outputs):
        info = known.get(value.name or "")
        if info is None or value.is_graph_output():
            continue
        if value.type is None:
            value.type = ir.TensorType(info.dtype)
        if value.shape is None:
            value.shape = ir.Shape(list(info.dims))
    return copy


def write_index(folder: Path, index: object) -> None:
    """Writes index.json, complete or not at all. Raises BadInput where the disk refuses."""
    try:
        with workshop(folder / INDEX) as place:
            draft = place / INDEX
            draft.write_text(json_text(encode(index)), "utf-8")
            publish(draft, folder / INDEX)
    except OSError as error:
        raise BadInput(f"{folder / INDEX} cannot be written: {error.strerror or error}") from None
