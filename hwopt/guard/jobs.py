"""What the guard's worker can do: native code on bytes and files, and nothing of hwopt.

A job takes its head and blocks of bytes and gives a head back; blocks of the answer go to the
end of a list.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import onnx
import onnxruntime as ort

from hwopt.guard.messages import Array, Head, pack_arrays, unpack_arrays
from hwopt.sessions import Outside, open_session, outside_arrays, session_options, unoptimised_options

Blocks = list[memoryview]
Out = list[bytes | memoryview]
OUT_OF_MEMORY = (
    "bad_alloc",
    "bad allocation",
    "failed to allocate memory",
    "cannot allocate memory",
    "unable to allocate",
)


def failed(error: BaseException) -> Head:
    """An error as an answer. memory: whether it is one of memory."""
    text = " ".join(str(error).split())
    short = isinstance(error, MemoryError) or any(word in text.lower() for word in OUT_OF_MEMORY)
    return {"error": text, "type": type(error).__name__, "memory": short}


def hello(head: Head, blocks: Blocks, out: Out) -> Head:
    """Does nothing: the worker has started."""
    return {"onnx": onnx.__version__, "onnxruntime": ort.__version__}


def check(head: Head, blocks: Blocks, out: Out) -> Head:
    """onnx.checker's full check of a file, in the folder that its path is relative to."""
    os.chdir(str(head["folder"]))
    onnx.checker.check_model(str(head["path"]), full_check=True)
    return {}


def infer(head: Head, blocks: Blocks, out: Out) -> Head:
    """onnx.shape_inference on a model."""
    found = onnx.shape_inference.infer_shapes(bytes(blocks[0]), data_prop=True)
    out.append(found.SerializeToString())
    return {}


def run(head: Head, blocks: Blocks, out: Out) -> Head:
    """One model on several sets of feeds: {"load": error}, or an answer for each set.

    shapes: each node is run as it stands, and of what comes out shape and dtype are told.
    """
    shapes = bool(head.get("shapes"))
    outside = outside_arrays(_places(head["outside"]))
    try:
        options = unoptimised_options() if shapes else session_options()
        session = open_session(bytes(blocks[0]), outside, options)
    except Exception as error:  # an operator that ONNX Runtime does not know, for one
        return {"load": failed(error)}
    sets = head["sets"]
    assert isinstance(sets, list)
    answers = list[Head]()
    for described in sets:
        try:
            values = outputs_of(session, unpack_arrays(described, blocks))
        except Exception as error:  # a size it cannot be run at, for one
            answers.append(failed(error))
            continue
        answers.append({"shapes": _shapes(values)} if shapes else {"arrays": pack_arrays(values, out)})
    return {"answers": answers}


def outputs_of(session: ort.InferenceSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """All outputs for one set of feeds, as arrays."""
    names = [str(spec.name) for spec in session.get_outputs()]
    return dict(flat(zip(names, session.run(names, dict(feeds)), strict=True)))


def flat(values: Iterable[tuple[str, object]]) -> Iterator[tuple[str, Array]]:
    """Values as arrays: the elements of sequences and maps by themselves, under names of their own."""
    for name, value in values:
        if isinstance(value, list):
            yield f"{name}.length", np.array(len(value))
            yield from flat((f"{name}[{index}]", item) for index, item in enumerate(value))
        elif isinstance(value, dict):
            yield f"{name}.keys", np.array(list(value))
            yield from flat((f"{name}[{key}]", item) for key, item in value.items())
        elif value is None:
            yield f"{name}.absent", np.array(True)
        else:
            yield name, np.asarray(value)


def _shapes(values: Mapping[str, Array]) -> list[Head]:
    return [
        {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
        for name, array in values.items()
    ]


def _places(described: object) -> list[Outside]:
    assert isinstance(described, list)
    return [
        Outside(item["name"], item["path"], item["dtype"], item["offset"], tuple(item["shape"]))
        for item in described
    ]


JOBS: dict[str, Callable[[Head, Blocks, Out], Head]] = {
    "hello": hello,
    "check": check,
    "infer": infer,
    "run": run,
}
