"""What the guard's worker can do: native code on bytes and files, and nothing of hwopt.

A job takes its head and blocks of bytes and gives a head back; blocks of the answer go to the
end of a list.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

import onnx
import onnxruntime as ort

from hwopt.files.data_file import unchanged
from hwopt.guard import carried
from hwopt.guard.messages import Array, Head, pack_arrays, unpack_arrays
from hwopt.guard.running import failed, outputs_of, places_of
from hwopt.sessions import open_session, outside_arrays, session_options, unoptimised_options

Blocks = list[memoryview]
Out = list[bytes | memoryview]
_BLOCK_BYTES = 1 << 20


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


def same(head: Head, blocks: Blocks, out: Out) -> Head:
    """Whether two parts of files, {"path", "offset", "identity"} each, hold the same `nbytes` bytes."""
    one, two = (_part(place, int(str(head["nbytes"]))) for place in (head["one"], head["two"]))
    return {"same": all(a == b for a, b in zip(one, two, strict=True))}


def _part(place: object, nbytes: int) -> Iterator[bytes]:
    """A part of a file, block by block. Raises OSError where it is shorter, BadInput as `unchanged` does."""
    assert isinstance(place, dict)
    with unchanged(str(place["path"]), tuple(place["identity"])) as descriptor:
        for start in range(0, nbytes, _BLOCK_BYTES):
            wanted = min(_BLOCK_BYTES, nbytes - start)
            block = os.pread(descriptor, wanted, int(place["offset"]) + start)
            if len(block) < wanted:
                raise OSError(f"{place['path']} ends too soon")
            yield block


def run(head: Head, blocks: Blocks, out: Out) -> Head:
    """One model on several sets of feeds: {"load": error}, or an answer for each set.

    shapes: each node is run as it stands, and of what comes out shape and dtype are told. plain: nothing is
    rewritten by ONNX Runtime first.
    """
    shapes = bool(head.get("shapes"))
    outside = outside_arrays(places_of(head["outside"]))
    try:
        session = open_session(bytes(blocks[0]), outside, _options(shapes, bool(head.get("plain"))))
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


def _options(shapes: bool, plain: bool) -> ort.SessionOptions:
    if shapes:
        return unoptimised_options(threads=1)
    return unoptimised_options() if plain else session_options()


def _shapes(values: Mapping[str, Array]) -> list[Head]:
    return [
        {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
        for name, array in values.items()
    ]


JOBS: dict[str, Callable[[Head, Blocks, Out], Head]] = {
    "hello": hello,
    "check": check,
    "infer": infer,
    "run": run,
    "same": same,
    "begin": carried.begin,
    "advance": carried.advance,
    "against": carried.against,
    "end": carried.end,
}
