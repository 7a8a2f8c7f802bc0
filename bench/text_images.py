"""Pages of text for the detection benchmark: rendered, so that the place of every word is known.

Words of several sizes, at small angles, in colours that contrast with an uneven, noisy background.
A page is decided by its seed alone, and so is the truth about it. The font is Pillow's own (Aileron), so
that nothing has to be fetched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from hwopt.nodes import FloatArray

Quad = npt.NDArray[np.float64]  # [4, 2]: x, y of the corners in order
Pixels = npt.NDArray[np.uint8]
# A multiple of the model's stride of 32; large enough for a dozen words of the heights that the model
# was trained on (about 10 to 60 pixels), a quarter of the work of a page of 640.
SIDE = 320
WORDS = (5, 14)
FONT_SIZES = (13, 40)
MOST_DEGREES = 8.0
GAP = (32, 10)  # pixels between words, x and y: closer ones may rightly be found as one region
ATTEMPTS = 20
CONTRAST = 70  # least difference of text and background in luminance
MEAN, SCALE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # PaddleOCR's, in the order of its BGR channels
LETTERS = ("aeiou", "bcdfghklmnprstvwz")


@dataclass(frozen=True, eq=False)
class Page:
    """pixels: [side, side, 3], RGB; words: the corners of every word's box of ink."""

    pixels: Pixels
    words: tuple[Quad, ...]


def inputs_of(page: Page) -> FloatArray:
    """A page as the model's input, [3, side, side]."""
    scaled = page.pixels[..., ::-1].astype(np.float32) / 255
    normal = (scaled - np.asarray(MEAN, np.float32)) / np.asarray(SCALE, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))


def samples(seeds: Sequence[int]) -> Iterator[tuple[FloatArray, int]]:
    """Inputs and labels for these seeds; a page's label is its seed."""
    for seed in seeds:
        yield inputs_of(render(seed)), seed


@lru_cache(maxsize=1000)
def words_of(seed: int) -> tuple[Quad, ...]:
    """The truth about a page."""
    return render(seed).words


def render(seed: int) -> Page:
    """The page of a seed."""
    rng = np.random.default_rng(seed)
    page = _background(rng)
    words: list[Quad] = []
    for _ in range(int(rng.integers(*WORDS, endpoint=True))):
        found = _place(rng, words)
        if found is not None:
            text, size, quad, angle = found
            words.append(quad)
            _draw(page, rng, text, size, quad, angle)
    noise = rng.normal(0, rng.uniform(0, 12), (SIDE, SIDE, 3))
    pixels = np.asarray(page, dtype=np.float64) + noise
    return Page(pixels.round().clip(0, 255).astype(np.uint8), tuple(words))


def _background(rng: np.random.Generator) -> Image.Image:
    """A gradient between two shades of a colour, with blurred patches and a few lines."""
    base = rng.uniform(20, 235, 3)
    ends = [np.clip(base + rng.uniform(-25, 25, 3), 0, 255) for _ in range(2)]
    along = np.linspace(0, 1, SIDE)[:, None, None]
    ramp = ends[0] * (1 - along) + ends[1] * along
    pixels = np.broadcast_to(ramp, (SIDE, SIDE, 3)).round().astype(np.uint8)
    page = Image.fromarray(np.ascontiguousarray(pixels if rng.random() < 0.5 else pixels.transpose(1, 0, 2)))
    draw = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(0, 6))):
        x, y, wide, high = rng.integers(0, SIDE, 4)
        draw.rectangle((x, y, x + wide, y + high), fill=_near(rng, base))
    page = page.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 3))))
    draw = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(0, 4))):
        draw.line([int(v) for v in rng.integers(0, SIDE, 4)], fill=_near(rng, base), width=1)
    return page


def _near(rng: np.random.Generator, base: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in np.clip(base + rng.uniform(-30, 30, 3), 0, 255))
    return red, green, blue


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _word(rng: np.random.Generator) -> str:
    if rng.random() < 0.2:
        return str(rng.integers(10, 100_000))
    letters = [
        LETTERS[(i + 1) % 2][rng.integers(len(LETTERS[(i + 1) % 2]))] for i in range(rng.integers(3, 11))
    ]
    text = "".join(letters)
    return [text, text.capitalize(), text.upper()][int(rng.integers(3))]


def _place(rng: np.random.Generator, taken: Sequence[Quad]) -> tuple[str, int, Quad, float] | None:
    """A word, its font size, a free place for it and its angle in degrees; None where there is no room."""
    for _ in range(ATTEMPTS):
        text, size = _word(rng), int(rng.integers(*FONT_SIZES, endpoint=True))
        left, top, right, bottom = _font(size).getbbox(text)
        angle = float(rng.uniform(-MOST_DEGREES, MOST_DEGREES))
        corners = _turned(right - left, bottom - top, angle)
        half = np.abs(corners).max(axis=0) + 3
        if (2 * half > SIDE).any():
            continue
        quad = corners + rng.uniform(half, SIDE - half)
        if all(_apart(quad, other) for other in taken):
            return text, size, quad, angle
    return None


def _turned(wide: float, high: float, angle: float) -> Quad:
    """The corners of a box around the origin, turned clockwise as the picture is seen."""
    box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array([wide, high]) / 2
    turn = math.radians(angle)
    turned: Quad = box @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return turned


def _apart(one: Quad, two: Quad) -> bool:
    """Whether the upright boxes around two words leave a gap."""
    gap = np.maximum(one.min(axis=0) - two.max(axis=0), two.min(axis=0) - one.max(axis=0))
    return bool((gap >= GAP).any())


def _draw(
    page: Image.Image, rng: np.random.Generator, text: str, size: int, quad: Quad, angle: float
) -> None:
    """Draw a word so that its ink fills the quad."""
    font = _font(size)
    left, top, right, bottom = font.getbbox(text)
    side = 2 * math.ceil(math.hypot(right - left, bottom - top) / 2 + 2)
    mask = Image.new("L", (side, side), 0)
    at = ((side - (right - left)) / 2 - left, (side - (bottom - top)) / 2 - top)
    ImageDraw.Draw(mask).text(at, text, fill=255, font=font)
    mask = mask.rotate(-angle, resample=Image.Resampling.BICUBIC)
    x, y = (round(float(v)) for v in quad.mean(axis=0) - side / 2)
    behind = np.asarray(page.crop((x, y, x + side, y + side)), dtype=np.float64).mean(axis=(0, 1))
    page.paste(_contrasting(rng, behind), (x, y), mask)


def _contrasting(rng: np.random.Generator, behind: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    """A random colour that is read on that background."""
    weights = np.array([0.299, 0.587, 0.114])
    while True:
        red, green, blue = (int(v) for v in rng.integers(0, 256, 3))
        if abs(float(weights @ (np.array([red, green, blue]) - behind))) >= CONTRAST:
            return red, green, blue
