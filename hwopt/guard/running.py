"""ONNX Runtime in the worker: a model on feeds, and what went wrong, in a form that can be sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnxruntime as ort

from hwopt.errors import BadInput
from hwopt.guard.messages import Array, Head
from hwopt.sessions import Outside
from hwopt.wording import said

_LONGEST = 2_000  # letters of what native code says, a model's names among them
OUT_OF_MEMORY = (
    "bad_alloc",
    "bad allocation",
    "failed to allocate memory",
    "cannot allocate memory",
    "unable to allocate",
)


def failed(error: BaseException) -> Head:
    """An error as an answer. memory: whether it is one of memory; ours: whether hwopt said it, not native
    code: external data that were changed, for one.
    """
    text = str(error)
    short = isinstance(error, MemoryError) or any(word in text.lower() for word in OUT_OF_MEMORY)
    return {
        "error": said(error, _LONGEST),
        "type": type(error).__name__,
        "memory": short,
        "ours": isinstance(error, BadInput),
    }


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


def places_of(described: object) -> list[Outside]:
    assert isinstance(described, list)
    return [
        Outside(**{**item, "shape": tuple(item["shape"]), "identity": tuple(item["identity"])})
        for item in described
    ]
