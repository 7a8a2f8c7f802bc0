"""Tiles: they fit, they fetch least, and they are those of a published compiler where its tables tell."""

from pathlib import Path

import numpy as np
import pytest

from hwopt.cost.raw import table
from hwopt.cost.tiles import NAMES, tile_columns
from hwopt.descriptor import WeightDescriptor
from hwopt.signature import Signature
from hwopt.target import read_target

ETHOS = read_target(Path(__file__).parents[2] / "targets" / "ethos-u55-256")


def conv(ci: int, co: int, size: int, k: int = 1, kind: str = "pointwise") -> Signature:
    group = ci if kind == "depthwise" else 1
    return Signature(
        kind,
        ("Conv",),
        ((1, ci, size, size),),
        ((1, co, size, size),),
        "int8",
        kernel=(k, k),
        strides=(1, 1),
        pads=(k // 2,) * 4,
        group=group,
        weight=WeightDescriptor(ci // group * co * k * k, 0.0, "dense", 255, ci // group * co * k * k),
    )


def tile(signature: Signature) -> tuple[float, ...]:
    found = tile_columns(table([signature]), ETHOS, "shared")
    return tuple(float(found[name][0]) for name in ("tile_height", "tile_width", "tile_depth"))


@pytest.mark.parametrize(
    ("signature", "expected"),
    [  # OFM blocks that Vela 5.2.0 lists for an Ethos-U55-256
        (conv(672, 672, 5, 3, "depthwise"), (6, 6, 16)),
        (conv(16, 64, 80), (4, 16, 64)),
        (conv(128, 128, 40, 3, "depthwise"), (14, 14, 16)),
        (conv(24, 88, 32, 3, "conv"), (8, 16, 32)),
    ],
)
def test_tiles_are_those_of_the_compiler(signature: Signature, expected: tuple[int, ...]) -> None:
    assert tile(signature) == expected


def test_no_design_gives_zeros_and_rows_stand_alone() -> None:
    some = [conv(c, c + 3, 5 + c % 20, 3, "conv") for c in range(3, 60)]
    assert not any(column.any() for column in tile_columns(table(some), ETHOS, "").values())
    together = tile_columns(table(some), ETHOS, "split")
    alone = [tile_columns(table([s]), ETHOS, "split") for s in some]
    for name in NAMES:
        assert together[name].tolist() == [float(a[name][0]) for a in alone]
        assert np.isfinite(together[name]).all()


@pytest.mark.parametrize("design", ["shared", "two-core", "split"])
def test_every_output_is_computed(design: str) -> None:
    s = conv(40, 72, 27, 5, "conv")
    found = {name: float(c[0]) for name, c in tile_columns(table([s]), ETHOS, design).items()}
    assert found["tiled_macs"] >= 27 * 27 * 72 * 25 * 40
    assert found["tiles"] * found["tile_height"] * found["tile_width"] * found["tile_depth"] >= 27 * 27 * 72
