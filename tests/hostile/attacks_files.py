"""External data that lies where it must not, or that is not there: builders, and `FILES`, all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from bench.fuzz_seeds import WEIGHTS_FILE, external, net

Build = Callable[[Path], onnx.ModelProto | bytes]
SHAPE = (1, 4, 5, 5)


def adds(tensor: TensorProto) -> onnx.ModelProto:
    """y = x + tensor"""
    return net([helper.make_node("Add", ["x", tensor.name], ["y"])], SHAPE, [tensor])


def refers(prepare: Callable[[Path], None] = lambda _: None, **entries: object) -> Build:
    def build(folder: Path) -> onnx.ModelProto:
        prepare(folder)
        return adds(external("w", (4, 1, 1), **entries))

    return build


def weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(np.ones(4, np.float32).tobytes())


def _secret(folder: Path) -> Path:
    outside = folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret.bin").write_bytes(b"\1" * 16)
    return outside


def _outside(folder: Path) -> onnx.ModelProto:
    _secret(folder)
    return adds(external("w", (4, 1, 1), location="../outside/secret.bin"))


def _absolute(folder: Path) -> onnx.ModelProto:
    return adds(external("w", (4, 1, 1), location=str(_secret(folder) / "secret.bin")))


def _linked_folder(folder: Path) -> None:
    (folder / "inner").symlink_to(_secret(folder), target_is_directory=True)


def _aliased(folder: Path) -> onnx.ModelProto:
    """1 MB of weights that 1000 tensors refer to: a gigabyte."""
    (folder / WEIGHTS_FILE).write_bytes(bytes(2**20))
    names = [f"w{n}" for n in range(1000)]
    nodes = [helper.make_node("Sum", ["x", *names], ["y"])]
    return net(nodes, SHAPE, [external(name, (2**18,)) for name in names])


FILES: Mapping[str, Build] = {
    "data outside": _outside,
    "data at an absolute path": _absolute,
    "data behind a link": refers(lambda f: (f / WEIGHTS_FILE).symlink_to(_secret(f) / "secret.bin")),
    "data behind a linked folder": refers(_linked_folder, location="inner/secret.bin"),
    "data behind .. that comes back": refers(weights, location=f"x/../{WEIGHTS_FILE}"),
    "data in /dev/zero": refers(location="/dev/zero"),
    "data in a link to /dev/zero": refers(lambda f: (f / WEIGHTS_FILE).symlink_to("/dev/zero")),
    "data in a pipe": refers(lambda f: os.mkfifo(f / WEIGHTS_FILE)),
    "data in a folder": refers(lambda f: (f / WEIGHTS_FILE).mkdir()),
    "data that is missing": refers(),
    "data that is missing, under a name of two red lines": refers(location="\x1b[31m\nb"),
    "data with NUL in its name": refers(location="a\0b"),
    "data with a name of 4000 characters": refers(location="a" * 4000),
    "an offset beyond the file": refers(weights, offset=2**40),
    "an offset of 2^63": refers(weights, offset=2**63),
    "an offset with 10,000 digits": refers(weights, offset="9" * 10_000),
    "a negative offset": refers(weights, offset=-16),
    "a negative length": refers(weights, length=-1),
    "a huge length": refers(weights, length=2**50),
    "a length that is no number": refers(weights, length="0x10"),
    "a length that does not fit the shape": refers(weights, length=8),
    "10 GB claimed of a small file": lambda f: weights(f) or adds(external("w", (50_000, 50_000))),  # type: ignore[func-returns-value]
    "one small file claimed a thousand times": _aliased,
}
