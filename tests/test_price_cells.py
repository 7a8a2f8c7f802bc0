"""Joint values: complete where there are few, thinned out where a table would burst, nothing unsaid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import onnx_ir as ir
import pytest

from hwopt.choice import KEEP, Choice, Kind, Risk, Stage, Value
from hwopt.pricing.cells import LARGEST_TABLE, joint_values, left_out


def no_rewrite(model: ir.Model) -> None:
    del model


def choice(kind: Kind, name: str, strengths: Sequence[float | None]) -> Choice:
    values = [
        Value(name, kind, f"v{at}", f"pass_{kind}", Risk.LOSSY, Stage.FORM, (), no_rewrite, strength=strength)
        for at, strength in enumerate(strengths)
    ]
    return Choice(name, kind, tuple(values))


FORM = choice(Kind.FORM, "form", [None] * 4)
WIDTH = choice(Kind.WIDTH, "width", [0.13, 0.17, 0.27, 0.33, 0.5, None, None])
NARROW = choice(Kind.WIDTH, "stream", [0.125, 0.25])
ZEROS = choice(Kind.WEIGHTS, "weights", [0.25, 0.4, 0.5, 0.6, 0.75, 0.9, None, None, None])
WHOLE = choice(Kind.MODEL, "model", [0.1, 0.2, 0.25, None])
SIZE = choice(Kind.INPUT, "input", [None, None])


def names(choices: Sequence[Choice]) -> list[tuple[str, ...]]:
    return [tuple(KEEP if v is None else v.name for v in joint) for joint in joint_values(choices)]


def test_few_choices_give_their_product_all_kept_first() -> None:
    found = names([FORM, NARROW])
    offers = [[KEEP, *(value.name for value in one.values)] for one in (FORM, NARROW)]
    assert found == list(product(*offers))
    assert left_out([FORM, NARROW]) == []


def test_the_whole_model_never_meets_a_single_width() -> None:
    found = names([FORM, NARROW, WHOLE])
    assert all(KEEP in joint[1:] for joint in found)
    assert len(found) == len(set(found)) == 5 * 3 + 4 * 5


@pytest.mark.parametrize("more", [(), (WHOLE,), (SIZE,), (WHOLE, SIZE)])
def test_every_value_is_priced_and_no_table_bursts(more: tuple[Choice, ...]) -> None:
    choices = [FORM, WIDTH, NARROW, ZEROS, *more]
    found = names(choices)
    assert len(found) == len(set(found))
    assert len(found) <= 2 * LARGEST_TABLE * (2 if WHOLE in more else 1) * (3 if SIZE in more else 1)
    for at, one in enumerate(choices):
        assert {joint[at] for joint in found} == {KEEP, *(value.name for value in one.values)}


def test_those_are_left_out_whose_neighbours_are_nearest() -> None:
    out = {(value.choice, value.name) for value in left_out([FORM, WIDTH, NARROW, ZEROS])}
    # of widths the step between 0.13 and 0.27 is the smallest, of zeros that between 0.4 and 0.6
    assert {("width", "v1"), ("weights", "v2")} <= out
    assert ("width", "v4") not in out  # half of the channels: nothing resembles it
    assert all(name not in ("v5", "v6") for owner, name in out if owner == "width")  # no ladder, no likeness
    assert {value.name for value in ZEROS.values[:6]} - {name for owner, name in out if owner == "weights"}


def test_what_is_left_out_still_meets_every_form() -> None:
    choices = [FORM, WIDTH, NARROW, ZEROS]
    found = set(names(choices))
    for value in left_out(choices):
        for form in (KEEP, *(v.name for v in FORM.values)):
            alone = [KEEP] * len(choices)
            alone[0], alone[[c.id for c in choices].index(value.choice)] = form, value.name
            assert tuple(alone) in found
