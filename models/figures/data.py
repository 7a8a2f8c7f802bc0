"""Images of figures on cluttered ground, made from a seed: no file, no download.

An image shows one large figure of a random colour, size, direction and stretch, partly
hidden by strokes, over a patterned ground with smaller figures strewn around it, under
uneven light and noise. The label is the large figure's class.

Sample `i` of a split is drawn from its own PCG64 stream, so that a set's first samples
do not depend on its length. Drawing is elementwise float64; only the last step rounds
to bytes, so that images are the same on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.figures.shapes import FIGURES, Array, SignedDistance, Vertex, segment

SIZE: Final = 64
CLASSES: Final = tuple(FIGURES)
SPLITS: Final = {"train": 0, "calib": 1, "eval": 2}
SEED: Final = 2024

Images = npt.NDArray[np.uint8]
"""N x 3 x 64 x 64 bytes, red, green, blue."""
Labels = npt.NDArray[np.int64]
"""N class numbers."""

_PIXEL: Final = 2.0 / SIZE
_AXIS: Final = (np.arange(SIZE, dtype=np.float64) + 0.5) * _PIXEL - 1.0
_X, _Y = np.meshgrid(_AXIS, _AXIS)
_SHAPES: Final = tuple(FIGURES.values())


class Dice:
    """Random numbers, all derived from one uniform stream."""

    def __init__(self, *key: int) -> None:
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))

    def between(self, low: float, high: float) -> float:
        """A uniform number from `low` to `high`."""
        return low + (high - low) * float(self._rng.random())

    def below(self, count: int) -> int:
        """A whole number from 0 to ``count - 1``."""
        return int(self._rng.random() * count)

    def colour(self) -> Array:
        """Red, green and blue from 0 to 1, shaped 3 x 1 x 1 to broadcast."""
        return self._rng.random((3, 1, 1))

    def noise(self) -> Array:
        """Triangular noise per channel and pixel, standard deviation 1."""
        first, second = self._rng.random((2, 3, SIZE, SIZE))
        triangular: Array = first + second - 1.0
        return triangular * math.sqrt(6.0)


@dataclass(frozen=True)
class Placement:
    """Where a figure lies: centre, radius, direction, stretch along a second direction.

    Lengths are in units of half the image; angles in radians. ``stretch`` makes one
    axis longer and the other shorter by that factor; ``mirror`` is 1 or -1.
    """

    centre: Vertex
    radius: float
    angle: float
    stretch: float
    stretch_angle: float
    mirror: int

    def coverage(self, shape: SignedDistance) -> Array:
        """How much of each pixel the figure covers, 0 to 1, shaped 64 x 64."""
        x, y = _turned(_X - self.centre[0], _Y - self.centre[1], self.stretch_angle)
        x, y = _turned(x / self.stretch, y * self.stretch, self.angle)
        distance = shape(x / self.radius, y * (self.mirror / self.radius)) * self.radius
        return _covered(distance)


def draw(label: int, dice: Dice) -> npt.NDArray[np.uint8]:
    """One image, 3 x 64 x 64 bytes, that shows the figure of class `label`."""
    hardship = dice.between(0.0, 1.0)
    ground = dice.colour()
    picture = _ground(ground, dice)
    figure = _placement(dice, 0.55 - 0.2 * hardship, 0.7, 0.3)
    for _ in range(dice.below(1 + round(4 * hardship))):
        picture = _strew(picture, figure, dice)
    paint = _paint(ground, dice, 0.6 - 0.35 * hardship)
    picture = _over(picture, paint, figure.coverage(_SHAPES[label]))
    for _ in range(dice.below(1 + round(2 * hardship))):
        picture = _hide(picture, figure, dice)
    return _expose(picture, dice, 0.08 * hardship)


def make(split: str, count: int, seed: int = SEED) -> tuple[Images, Labels]:
    """The first `count` samples of a split: images N x 3 x 64 x 64 and N labels.

    Labels go round the classes, so every class appears equally often up to one.
    """
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    images = np.empty((count, 3, SIZE, SIZE), dtype=np.uint8)
    for index in range(count):
        images[index] = draw(int(labels[index]), Dice(seed, SPLITS[split], index))
    return images, labels


def _turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    cosine, sine = math.cos(angle), math.sin(angle)
    return cosine * x + sine * y, cosine * y - sine * x


def _covered(distance: Array) -> Array:
    """Antialiased: a pixel whose centre lies on the edge is half covered."""
    return np.clip(0.5 - distance / _PIXEL, 0.0, 1.0)


def _over(picture: Array, paint: Array, coverage: Array) -> Array:
    return picture + coverage * (paint - picture)


def _placement(dice: Dice, smallest: float, largest: float, reach: float) -> Placement:
    return Placement(
        centre=(dice.between(-reach, reach), dice.between(-reach, reach)),
        radius=dice.between(smallest, largest),
        angle=dice.between(0.0, 2 * math.pi),
        stretch=math.exp(dice.between(-0.28, 0.28)),
        stretch_angle=dice.between(0.0, math.pi),
        mirror=1 - 2 * dice.below(2),
    )


def _wave(dice: Dice, lowest: float, highest: float) -> Array:
    """A plane wave from -1 to 1 in a random direction, frequency in radians per unit."""
    across, _ = _turned(_X, _Y, dice.between(0.0, 2 * math.pi))
    return np.sin(across * dice.between(lowest, highest) + dice.between(0.0, 2 * math.pi))


def _ground(colour: Array, dice: Dice) -> Array:
    """The ground: its colour, a slow drift towards another, and a faint pattern."""
    drift = _wave(dice, 0.5, 2.0) * dice.between(0.0, 0.25)
    pattern = _wave(dice, 4.0, 30.0) * _wave(dice, 0.0, 12.0) * dice.between(0.0, 0.15)
    return colour + (dice.colour() - 0.5) * drift + (dice.colour() - 0.5) * pattern


def _paint(ground: Array, dice: Dice, contrast: float) -> Array:
    """The figure's paint, at least `contrast` away from the ground; some is striped."""
    colour = _contrasting(ground, dice, dice.between(contrast, 0.8))
    if dice.below(2) == 0:
        return colour + (dice.colour() - 0.5) * (_wave(dice, 0.5, 3.0) * 0.2)
    stripes = np.clip(_wave(dice, 8.0, 26.0) * 3.0, -1.0, 1.0)
    return colour + (dice.colour() - 0.5) * (stripes * 0.35)


def _contrasting(ground: Array, dice: Dice, distance: float) -> Array:
    """A colour about `distance` away from the ground, towards a random one."""
    towards = dice.colour() - ground
    length = max(math.sqrt(sum(float(v) ** 2 for v in towards.flat)), 0.05)
    return ground + towards * (distance / length)


def _strew(picture: Array, figure: Placement, dice: Dice) -> Array:
    """A smaller figure of any class, anywhere."""
    small = _placement(dice, 0.30 * figure.radius, 0.55 * figure.radius, 1.0)
    shape = _SHAPES[dice.below(len(_SHAPES))]
    return _over(picture, dice.colour(), small.coverage(shape) * dice.between(0.4, 1.0))


def _hide(picture: Array, figure: Placement, dice: Dice) -> Array:
    """A stroke over a part of the figure."""
    middle = [c + figure.radius * dice.between(-0.8, 0.8) for c in figure.centre]
    angle, half = dice.between(0.0, 2 * math.pi), figure.radius * dice.between(0.3, 1.5)
    dx, dy = half * math.cos(angle), half * math.sin(angle)
    start, end = (middle[0] - dx, middle[1] - dy), (middle[0] + dx, middle[1] + dy)
    stroke = segment(start, end, figure.radius * dice.between(0.12, 0.4))
    return _over(picture, dice.colour(), _covered(stroke(_X, _Y)))


def _expose(picture: Array, dice: Dice, noise: float) -> npt.NDArray[np.uint8]:
    """Uneven light, noise of standard deviation up to `noise`, and rounding to bytes."""
    light = dice.between(0.65, 1.1) + _wave(dice, 0.5, 2.0) * dice.between(0.0, 0.2)
    exposed = picture * light + dice.noise() * dice.between(0.0, noise)
    return np.floor(np.clip(exposed, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
