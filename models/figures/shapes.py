"""The sixteen figures, as signed distance functions.

A signed distance function maps points of the plane to their distance from the figure's
edge, negative inside. All figures fill about the unit disc around the origin. Only
elementwise float64 arithmetic is used, so that pixels do not depend on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
SignedDistance = Callable[[Array, Array], Array]
"""Takes x and y of the points (equal shapes), returns distances of that shape."""

Vertex = tuple[float, float]


def disc(radius: float, centre: Vertex = (0.0, 0.0)) -> SignedDistance:
    """A filled circle."""

    def distance(x: Array, y: Array) -> Array:
        return np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2) - radius

    return distance


def ring(radius: float, width: float) -> SignedDistance:
    """A circle's outline; `radius` is that of its middle line."""

    def distance(x: Array, y: Array) -> Array:
        return np.abs(np.sqrt(x * x + y * y) - radius) - width / 2

    return distance


def half_plane(level: float) -> SignedDistance:
    """All points above ``y = level``."""
    return lambda x, y: level - y


def intersection(first: SignedDistance, second: SignedDistance) -> SignedDistance:
    """Points inside both."""
    return lambda x, y: np.maximum(first(x, y), second(x, y))


def difference(first: SignedDistance, second: SignedDistance) -> SignedDistance:
    """Points inside the first and outside the second."""
    return lambda x, y: np.maximum(first(x, y), -second(x, y))


def polygon(vertices: Sequence[Vertex]) -> SignedDistance:
    """A simple polygon, convex or not, from its corners in order.

    The distance is that to the nearest edge; the sign comes from counting the edges
    that a ray to the right crosses.
    """
    edges = list(zip(vertices, [*vertices[1:], vertices[0]], strict=True))

    def distance(x: Array, y: Array) -> Array:
        nearest = np.full(x.shape, np.inf)
        inside = np.zeros(x.shape, dtype=np.bool_)
        for (ax, ay), (bx, by) in edges:
            dx, dy = bx - ax, by - ay
            px, py = x - ax, y - ay
            along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0.0, 1.0)
            nearest = np.minimum(nearest, (px - along * dx) ** 2 + (py - along * dy) ** 2)
            if dy != 0.0:
                inside ^= ((y < ay) != (y < by)) & (px < py * (dx / dy))
        outside: Array = np.sqrt(nearest)
        return np.where(inside, -outside, outside)

    return distance


def segment(start: Vertex, end: Vertex, width: float) -> SignedDistance:
    """A straight stroke with round ends."""
    dx, dy = end[0] - start[0], end[1] - start[1]

    def distance(x: Array, y: Array) -> Array:
        px, py = x - start[0], y - start[1]
        along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0.0, 1.0)
        return np.sqrt((px - along * dx) ** 2 + (py - along * dy) ** 2) - width / 2

    return distance


def regular(corners: int) -> SignedDistance:
    """A regular polygon with its corners on the unit circle."""
    angles = [2 * math.pi * k / corners for k in range(corners)]
    return polygon([(math.cos(a), math.sin(a)) for a in angles])


def star(points: int, inner_radius: float) -> SignedDistance:
    """A star whose outer corners lie on the unit circle."""
    angles = [math.pi * k / points for k in range(2 * points)]
    radii = [1.0 if k % 2 == 0 else inner_radius for k in range(2 * points)]
    pairs = zip(radii, angles, strict=True)
    return polygon([(r * math.cos(a), r * math.sin(a)) for r, a in pairs])


def heart() -> SignedDistance:
    """The usual heart curve, as a polygon with 20 corners."""
    corners: list[Vertex] = []
    for k in range(20):
        t = 2 * math.pi * k / 20
        height = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        corners.append((math.sin(t) ** 3, (height + 2.5) / 15))
    return polygon(corners)


_CROSS: Final = (
    (-0.3, -1.0), (0.3, -1.0), (0.3, -0.3), (1.0, -0.3), (1.0, 0.3), (0.3, 0.3),
    (0.3, 1.0), (-0.3, 1.0), (-0.3, 0.3), (-1.0, 0.3), (-1.0, -0.3), (-0.3, -0.3),
)  # fmt: skip
_ARROW: Final = (
    (1.0, 0.0), (0.15, 0.75), (0.15, 0.28), (-0.95, 0.28),
    (-0.95, -0.28), (0.15, -0.28), (0.15, -0.75),
)  # fmt: skip
_ELL: Final = ((-0.75, -0.9), (0.75, -0.9), (0.75, -0.3), (-0.15, -0.3), (-0.15, 0.9), (-0.75, 0.9))
_TEE: Final = (
    (-0.3, -0.9), (0.3, -0.9), (0.3, 0.3), (0.9, 0.3),
    (0.9, 0.85), (-0.9, 0.85), (-0.9, 0.3), (-0.3, 0.3),
)  # fmt: skip
_BOLT: Final = (
    (0.1, 1.0), (-0.65, -0.15), (-0.1, -0.15), (-0.3, -1.0), (0.65, 0.2), (0.1, 0.2), (0.55, 1.0),
)  # fmt: skip
_HOURGLASS: Final = (
    (-0.75, -0.9), (0.75, -0.9), (0.15, 0.0), (0.75, 0.9), (-0.75, 0.9), (-0.15, 0.0),
)  # fmt: skip

FIGURES: Final[Mapping[str, SignedDistance]] = MappingProxyType(
    {
        "disc": disc(0.9),
        "ring": ring(0.75, 0.4),
        "half disc": intersection(disc(1.0, (0.0, -0.4)), half_plane(-0.4)),
        "crescent": difference(disc(0.95), disc(0.75, (0.45, 0.0))),
        "triangle": regular(3),
        "square": regular(4),
        "pentagon": regular(5),
        "hexagon": regular(6),
        "star": star(5, 0.45),
        "cross": polygon(_CROSS),
        "arrow": polygon(_ARROW),
        "heart": heart(),
        "ell": polygon(_ELL),
        "tee": polygon(_TEE),
        "bolt": polygon(_BOLT),
        "hourglass": polygon(_HOURGLASS),
    }
)
"""Class name to figure; a class's label is its position."""
