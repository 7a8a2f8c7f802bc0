"""What was not measured is called so: new words, sizes beyond the ranges, holes inside them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwopt.cost.raw import table
from hwopt.cost.reach import Reach, from_json, reach_of
from hwopt.signature import Signature


def conv(ci: int = 32, co: int = 64, size: int = 28, **other: object) -> Signature:
    base = Signature(
        "conv", ("Conv",), ((1, ci, size, size),), ((1, co, size, size),), "int8", (3, 3), (1, 1),
        activation="relu", producers=("conv",), consumers=("add",),
    )  # fmt: skip
    return replace(base, **other)  # type: ignore[arg-type]


MEASURED = [conv(ci, co, size) for ci in (16, 32, 64) for co in (32, 64, 128) for size in (14, 28, 56)]
MEASURED += [conv(4, 1024, 4), conv(512, 8, 4)]
REACH = reach_of(MEASURED, table(MEASURED), context=True)


def flagged(signature: Signature, reach: Reach = REACH) -> bool:
    return bool(reach.outside([signature], table([signature])).extrapolated[0])


def reasons(signature: Signature) -> str:
    return "; ".join(REACH.reasons(signature, table([signature])))


def test_what_was_measured_and_what_lies_between_is_inside() -> None:
    outside = REACH.outside(MEASURED, table(MEASURED))
    assert not outside.extrapolated.any()
    assert outside.distance.max() < 0.2  # a grid of eighths in nine coordinates
    assert not flagged(conv(40, 96, 20))
    assert reasons(conv(40, 96, 20)) == ""


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        (conv(activation="silu"), "no conv with activation 'silu'"),
        (conv(producers=("softmax",)), "no conv with producer 'softmax'"),
        (conv(consumers=("add", "resize")), "no conv with consumer 'resize'"),
        (conv(ops=("ConvInteger",)), "no conv with operator 'ConvInteger'"),
        (conv(co=2048), "co 2048 is outside of 8 to 1024"),
        (conv(size=112), "ho 112 is outside of 4 to 56"),
        (conv(512, 1024, 4), "nothing of about this shape"),
    ],
)
def test_what_was_not_met_is_flagged_with_its_reason(signature: Signature, why: str) -> None:
    assert flagged(signature)
    assert why in reasons(signature)


def test_a_kind_without_rows_is_far_from_everything() -> None:
    other = conv(kind="pool", ops=("MaxPool",))
    assert flagged(other)
    assert REACH.outside([other], table([other])).distance[0] == 8.0


def test_neighbours_do_not_count_where_layers_were_measured_alone() -> None:
    alone = reach_of(MEASURED, table(MEASURED), context=False)
    assert not flagged(conv(producers=("softmax",)), alone)


def test_it_survives_the_header() -> None:
    again = from_json(REACH.to_json())
    assert again == REACH
    strangers = [conv(co=300), conv(7, 77, 7), conv(activation="tanh")]
    one, two = (reach.outside(strangers, table(strangers)) for reach in (REACH, again))
    assert one.distance.tolist() == two.distance.tolist()
    assert one.extrapolated.tolist() == two.extrapolated.tolist()


def test_a_distance_of_one_is_a_factor_of_two_in_one_size() -> None:
    few = [conv(32, 64)]
    reach = reach_of(few, table(few), context=True)
    twice = conv(32, 128)  # output channels and output elements double together
    assert reach.outside([twice], table([twice])).distance[0] == pytest.approx(2**0.5, abs=0.1)
