"""From the detector's probability map to text regions, and how well they meet the truth.

The post-processing is that of Liao et al., "Real-time Scene Text Detection with Differentiable
Binarization", AAAI 2020, section 3.5: threshold, connected components, a score each, and the shrunken
region dilated by area * ratio / perimeter. Regions are rectangles of smallest area.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from bench.text_images import Quad, words_of
from hwopt.nodes import Array, FloatArray

THRESHOLD = 0.3
LEAST_SCORE = 0.6  # mean probability within a region
DILATION = 1.5
LEAST_SIDE = 3.0  # pixels, before and after the dilation
MATCH = 0.5  # intersection over union
Points = npt.NDArray[np.float64]


def f_score(outputs: Mapping[str, Array], labels: npt.NDArray[np.int64] | None) -> float:
    """Harmonic mean of precision and recall of text regions at an intersection over union of 0.5.

    outputs: one probability map, [pages, 1, height, width]; labels: the pages' seeds.
    """
    assert labels is not None, "the truth about a page is found by its seed"
    maps = next(iter(outputs.values()))
    matched, found, true = counts(maps, labels.tolist())
    return 2 * matched / max(found + true, 1)


def counts(maps: Array, seeds: Sequence[int]) -> tuple[int, int, int]:
    """(matched regions, found regions, true regions) over all pages."""
    matched = found = true = 0
    for page, seed in zip(maps, seeds, strict=True):
        regions, words = regions_of(np.asarray(page[0], np.float32)), words_of(seed)
        matched += matches(regions, words)
        found, true = found + len(regions), true + len(words)
    return matched, found, true


def regions_of(page: FloatArray) -> list[Quad]:
    """The text regions of one probability map, [height, width]."""
    labelled, _ = ndimage.label(page > THRESHOLD, structure=np.ones((3, 3)))
    found = []
    for index, where in enumerate(ndimage.find_objects(labelled), start=1):
        inside = labelled[where] == index
        rows, columns = np.nonzero(inside)
        corner = np.array([where[1].start, where[0].start], dtype=np.float64)
        box = smallest_rectangle(np.stack([columns, rows], axis=1) + corner)
        if box is None or float(page[where][inside].mean()) < LEAST_SCORE or least_side(box) < LEAST_SIDE:
            continue
        grown = dilated(box)
        if least_side(grown) >= LEAST_SIDE + 2:
            found.append(grown)
    return found


def smallest_rectangle(points: Points) -> Quad | None:
    """The rectangle of smallest area around points: one side lies on a side of their convex hull.

    (Freeman & Shapira, "Determining the minimum-area encasing rectangle", CACM 18(7), 1975.) None where
    the points lie on one line.
    """
    try:
        hull = points[ConvexHull(points).vertices]
    except QhullError:
        return None
    sides = np.roll(hull, -1, axis=0) - hull
    along = sides / np.linalg.norm(sides, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    u, v = hull @ along.T, hull @ across.T
    areas = np.ptp(u, axis=0) * np.ptp(v, axis=0)
    best = int(areas.argmin())
    u, v = u[:, best], v[:, best]
    box = np.array([[u.min(), v.min()], [u.max(), v.min()], [u.max(), v.max()], [u.min(), v.max()]])
    turned: Quad = box @ np.stack([along[best], across[best]])
    return turned


def dilated(box: Quad) -> Quad:
    """The box with every side moved outwards by area * ratio / perimeter (section 3.5)."""
    one, two = box[1] - box[0], box[3] - box[0]
    wide, high = np.linalg.norm(one), np.linalg.norm(two)
    by = wide * high * DILATION / (2 * (wide + high))
    e, f = by * one / wide, by * two / high
    grown: Quad = box + np.stack([-e - f, e - f, e + f, -e + f])
    return grown


def least_side(box: Quad) -> float:
    """The shorter side of a rectangle."""
    return float(min(np.linalg.norm(box[1] - box[0]), np.linalg.norm(box[3] - box[0])))


def matches(regions: Sequence[Quad], words: Sequence[Quad]) -> int:
    """How many regions meet a word each, the best pairs first."""
    overlaps = [(overlap(r, w), i, j) for i, r in enumerate(regions) for j, w in enumerate(words)]
    taken: set[tuple[str, int]] = set()
    count = 0
    for value, i, j in sorted(overlaps, key=lambda entry: (-entry[0], entry[1], entry[2])):
        if value >= MATCH and ("region", i) not in taken and ("word", j) not in taken:
            taken |= {("region", i), ("word", j)}
            count += 1
    return count


def overlap(one: Quad, two: Quad) -> float:
    """Intersection over union of two convex polygons."""
    if (one.max(axis=0) <= two.min(axis=0)).any() or (two.max(axis=0) <= one.min(axis=0)).any():
        return 0.0
    common = area(clipped(_ordered(one), _ordered(two)))
    return common / (area(one) + area(two) - common)


def area(polygon: Points) -> float:
    """By the shoelace formula."""
    if len(polygon) < 3:
        return 0.0
    x, y = polygon[:, 0], polygon[:, 1]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def clipped(polygon: Points, window: Points) -> Points:
    """The part of a polygon in a convex window, both ordered alike.

    (Sutherland & Hodgman, "Reentrant polygon clipping", CACM 17(1), 1974.)
    """
    for start, end in zip(window, np.roll(window, -1, axis=0), strict=True):
        if len(polygon) == 0:
            break
        side = end - start
        height = side[0] * (polygon[:, 1] - start[1]) - side[1] * (polygon[:, 0] - start[0])
        kept: list[Points] = []
        for i, (point, here) in enumerate(zip(polygon, height, strict=True)):
            before, last = polygon[i - 1], height[i - 1]
            if (here >= 0) != (last >= 0):
                kept.append(before + (point - before) * last / (last - here))
            if here >= 0:
                kept.append(point)
        polygon = np.array(kept).reshape(-1, 2)
    return polygon


def _ordered(polygon: Points) -> Points:
    x, y = polygon[:, 0], polygon[:, 1]
    return polygon if x @ np.roll(y, -1) - y @ np.roll(x, -1) > 0 else polygon[::-1]
