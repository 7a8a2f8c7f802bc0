"""Features and roofline against formulas."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwopt.cost.features import feature_names, features
from hwopt.cost.raw import image, table
from hwopt.cost.roofline import roofline
from hwopt.descriptor import WeightDescriptor
from hwopt.signature import Signature
from hwopt.target import read_target

TARGETS = Path(__file__).parents[2] / "targets"
ETHOS = read_target(TARGETS / "ethos-u55-256")
EDGE = read_target(TARGETS / "edge-npu")


def conv(ci: int, co: int, size: int, k: int = 3, group: int = 1) -> Signature:
    elements = co * ci // group * k * k
    return Signature(
        "depthwise" if group > 1 else "conv",
        ("Conv",),
        ((1, ci, size, size),),
        ((1, co, size, size),),
        "int8",
        kernel=(k, k),
        strides=(1, 1),
        pads=(1, 1, 1, 1),
        group=group,
        weight=WeightDescriptor(elements, 0.0, "dense", 255, elements // 2),
        bias=co,
        producers=("graph_input",),
        consumers=("add", "pointwise"),
    )


def test_the_roofline_is_the_busiest_of_three() -> None:
    s = conv(24, 40, 56)
    bounds = roofline(table([s]), ETHOS)
    macs = 56 * 56 * 40 * 24 * 9
    assert bounds.mac[0] == pytest.approx(macs / 256)  # 24, 40 and 56 fill lanes of 8, 8 and 2
    moved = 56 * 56 * (24 + 40) + 24 * 40 * 9 // 2 + 4 * 40
    assert bounds.on_chip[0] == pytest.approx(moved / 8.0)
    assert bounds.off_chip[0] == pytest.approx(24 * 40 * 9 // 2 + 4 * 40)  # one byte per cycle
    assert bounds.cycles[0] == max(bounds.mac[0], bounds.on_chip[0], bounds.off_chip[0])


def test_dimensions_that_do_not_fill_the_array_cost_their_padding() -> None:
    full, ragged = roofline(table([conv(32, 32, 16), conv(25, 25, 16)]), EDGE).mac
    assert full == ragged
    depthwise = table([conv(32, 32, 16, group=32)])
    unsaid = replace(EDGE, depthwise_macs_per_cycle=None)
    assert roofline(depthwise, unsaid).mac[0] == pytest.approx(16 * 16 * 32 * 9 * 8 / 1024)  # 1 of 8 lanes
    assert roofline(depthwise, EDGE).mac[0] == pytest.approx(16 * 16 * 32 * 9 / 16)  # as the target says


@pytest.mark.parametrize(
    ("shape", "rows_first", "expected"),
    [
        ((1, 8, 4, 5), False, (8, 4, 5)),
        ((1, 12, 64), True, (64, 12, 1)),
        ((1, 1000), False, (1000, 1, 1)),
        ((7,), False, (7, 1, 1)),
        ((), False, (1, 1, 1)),
        ((1, 2, 3, 4, 5), False, (2, 3, 20)),
    ],
)
def test_any_rank_reads_as_an_image(
    shape: tuple[int, ...], rows_first: bool, expected: tuple[int, int, int]
) -> None:
    assert image(shape, rows_first) == expected


@pytest.mark.parametrize("target", [ETHOS, EDGE], ids=["ethos", "edge"])
def test_every_column_has_a_name_and_a_finite_number(target: object) -> None:
    assert target in (ETHOS, EDGE)
    chosen = ETHOS if target is ETHOS else EDGE
    odd = [
        Signature("other", ("Equal",), (), ((),), "int8"),
        Signature("softmax", ("Softmax",), ((1, 10),), ((1, 10),), "int8", attributes=(("axis", "-1"),)),
        Signature(
            "transpose", ("Transpose",), ((1, 2, 3),), ((1, 3, 2),), "int8", attributes=(("perm", "0,2,1"),)
        ),
        conv(3, 5, 7),
    ]
    matrix, base = features(odd, chosen)
    names = feature_names(chosen)
    assert matrix.shape == (4, len(names))
    assert len(set(names)) == len(names)
    assert np.isfinite(matrix).all()
    assert (base >= np.log(100)).all()
    row = dict(zip(names, matrix[3], strict=True))
    assert (row["ci%4"], row["co/8"], row["consumer=add"], row["consumer=pool"]) == (3, 5 / 8, 1, 0)


def test_rows_do_not_depend_on_their_neighbours() -> None:
    some = [conv(c, 8 + c, 14) for c in range(3, 40)]
    together = features(some, ETHOS)[0]
    alone = np.vstack([features([s], ETHOS)[0] for s in some])
    assert np.array_equal(together, alone)
