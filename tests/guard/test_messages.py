"""What goes through the pipe comes out as it was."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from hwopt.guard.messages import Array, pack, pack_arrays, unpack, unpack_arrays
from hwopt.guard.running import flat

ARRAYS: dict[str, Array] = {
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.array(2.5, np.float64),
    "nothing": np.zeros((0, 4), np.int64),
    "bits": np.array([True, False]),
    "bfloat16": np.array([1.5, -2.0], ml_dtypes.bfloat16),
    "strided": np.arange(12, dtype=np.int8).reshape(3, 4).T,
    "texts": np.array([["a", "ä\n"], ["", "0"]], dtype=object),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_survives(name: str) -> None:
    blocks = list[bytes | memoryview]()
    described = pack_arrays({name: ARRAYS[name]}, blocks)
    head, found = unpack(pack({"arrays": described}, blocks))
    back = unpack_arrays(head["arrays"], found)[name]
    assert back.dtype == ARRAYS[name].dtype
    assert back.shape == ARRAYS[name].shape
    assert back.tolist() == ARRAYS[name].tolist()


def test_a_message_that_was_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes"):
        unpack(pack({}, [b"12345678"])[:-3])


def test_sequences_and_maps_become_arrays() -> None:
    values = dict(flat([("s", [np.array([1.0]), np.array([2, 3])]), ("m", [{"a": 0.5}]), ("o", None)]))
    assert values["s.length"] == 2
    assert values["s[1]"].tolist() == [2, 3]
    assert values["m[0][a]"] == 0.5
    assert values["o.absent"]
