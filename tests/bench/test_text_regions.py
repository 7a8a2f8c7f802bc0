"""The text benchmark's geometry and score, against formulas and against the truth itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bench.text_images import SIDE, Quad, inputs_of, render, words_of
from bench.text_regions import (
    DILATION,
    area,
    clipped,
    dilated,
    f_score,
    matches,
    overlap,
    regions_of,
    smallest_rectangle,
)
from hwopt.nodes import FloatArray


def box(x: float, y: float, wide: float, high: float, degrees: float = 0.0) -> Quad:
    """A rectangle around (x, y)."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array([wide, high]) / 2
    turn = math.radians(degrees)
    turned: Quad = corners @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    turned += np.array([x, y])
    return turned


def drawn(quads: list[Quad]) -> FloatArray:
    """A probability map that is 1 within the quads."""
    page = Image.new("L", (SIDE, SIDE))
    for quad in quads:
        ImageDraw.Draw(page).polygon([tuple(point) for point in quad], fill=1)
    return np.asarray(page, np.float32)


def test_overlap_of_shifted_squares() -> None:
    for shift in (0.0, 1.0, 3.5, 9.0, 12.0):
        common = max(10 - shift, 0) * 10
        found = overlap(box(20, 20, 10, 10), box(20 + shift, 20, 10, 10))
        assert found == pytest.approx(common / (200 - common), abs=1e-12)


def test_a_square_and_itself_turned_by_45_degrees_share_an_octagon() -> None:
    octagon = 2 * (math.sqrt(2) - 1)  # of the unit square's area: its corners are cut off
    one, two = box(5, 5, 1, 1), box(5, 5, 1, 1, 45)
    assert area(clipped(one, two)) == pytest.approx(octagon)
    assert overlap(one, two[::-1]) == pytest.approx(octagon / (2 - octagon))  # whatever the direction


def test_smallest_rectangle_finds_a_turned_box() -> None:
    rng = np.random.default_rng(0)
    for degrees in (0, 7, 33, 80):
        quad = box(50, 60, 40, 12, degrees)
        inside = rng.dirichlet(np.ones(4), 200) @ quad
        found = smallest_rectangle(np.concatenate([inside, quad]))
        assert found is not None
        assert overlap(found, quad) == pytest.approx(1.0, abs=1e-9)
    assert smallest_rectangle(np.array([[0.0, 0], [1, 1], [2, 2]])) is None


def test_dilation_is_that_of_the_paper() -> None:
    quad = box(50, 60, 40, 12, 20)
    by = area(quad) * DILATION / (2 * (40 + 12))
    assert area(dilated(quad)) == pytest.approx((40 + 2 * by) * (12 + 2 * by))
    assert overlap(dilated(quad), box(50, 60, 40 + 2 * by, 12 + 2 * by, 20)) == pytest.approx(1.0)


def test_regions_of_shrunken_words_are_the_words() -> None:
    """A word shrunken as the network is taught to (its own dilation undone) comes back."""
    wide, high = 100.0, 30.0
    quad = box(160, 100, wide, high, -6)
    for by in np.linspace(0, 15, 1000):
        inner = area(box(0, 0, wide - 2 * by, high - 2 * by))
        if inner * DILATION / (2 * (wide + high - 4 * by)) <= by:
            break
    found = regions_of(drawn([box(160, 100, wide - 2 * by, high - 2 * by, -6)]))
    assert len(found) == 1
    assert overlap(found[0], quad) > 0.9


def test_faint_and_tiny_regions_are_left_out() -> None:
    assert regions_of(0.5 * drawn([box(100, 100, 60, 20)])) == []
    assert regions_of(drawn([box(100, 100, 60, 0.5)])) == []


def test_every_word_is_matched_once() -> None:
    words = [box(50, 50, 40, 20), box(150, 50, 40, 20)]
    assert matches([words[0], box(52, 50, 40, 20), box(250, 250, 9, 9)], words) == 1


def test_score_counts_matched_found_and_true_regions() -> None:
    seed = 3
    words = list(words_of(seed))
    shrunken = [quad.mean(axis=0) + (quad - quad.mean(axis=0)) * [0.8, 0.45] for quad in words]
    maps = drawn(shrunken[:-1])[None, None]
    expected = 2 * (len(words) - 1) / (2 * len(words) - 1)
    assert f_score({"m": maps}, np.array([seed])) == pytest.approx(expected)
    assert f_score({"m": np.zeros_like(maps)}, np.array([seed])) == 0.0


def test_pages_are_decided_by_their_seed_and_words_stand_apart() -> None:
    one, two = render(11), render(11)
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert not np.array_equal(one.pixels, render(12).pixels)
    assert inputs_of(one).shape == (3, SIDE, SIDE)
    for i, word in enumerate(one.words):
        assert word.min() >= 0
        assert word.max() <= SIDE
        assert all(overlap(word, other) == 0.0 for other in one.words[:i])


def test_ink_fills_its_box() -> None:
    """Where a page differs from the same page without words, there are words, right to their edges."""
    page = render(5)
    for quad in page.words:
        x, y = np.round(quad.mean(axis=0)).astype(int)
        wide, high = np.ptp(quad, axis=0)
        cut = page.pixels[int(y - high / 2) : int(y + high / 2), int(x - wide / 2) : int(x + wide / 2)]
        assert cut.astype(float).mean(axis=2).std() > 8  # ink and background
