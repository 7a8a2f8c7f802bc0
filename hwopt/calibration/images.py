"""Images as calibration samples: how a picture file becomes a model's input.

`preprocess.toml` beside the images says how:

    resize = 256               # shorter side, or [height, width]; left out: as they are
    crop = 224                 # centre crop, or [height, width]; left out: no crop
    channels = "RGB"           # or "BGR", "GRAY"
    mean = 127.0               # one number or one per channel, in pixel units (0..255)
    scale = 128.0              # input = (pixel - mean) / scale
    layout = "NCHW"            # or "NHWC"
    input = "x"                # name of the model's input; left out: its only one
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from PIL import Image, UnidentifiedImageError

from hwopt.errors import BadInput
from hwopt.nodes import FloatArray
from hwopt.target.keys import shown
from hwopt.target.toml_lines import read_tables, read_text

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp")
PREPROCESS_NAME = "preprocess.toml"
KEYS = ("channels", "crop", "input", "layout", "mean", "resize", "scale")
MODES = {"RGB": "RGB", "BGR": "RGB", "GRAY": "L"}
LARGEST_SIDE = 16_384  # of an image, in pixels
LARGEST_NUMBER = 1e30  # of means and scales: beyond, float32 ends
EVALUATION_CROP = 0.875  # crop over shorter side in the usual ImageNet evaluation
VARIED_AREA = (0.6, 1.0)
VARIED_ASPECT = 4 / 3
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Preprocess:
    """How pixels become the model's input: (pixel - mean) / scale, after resize and crop.

    resize: shorter side, or (height, width), or None for as it is; crop: (height, width) or
        None; mean, scale: one number or one per channel; input: the model input's name.
    fit_input: choose resize per image from the crop, where nobody said how.
    """

    input: str
    crop: tuple[int, int] | None = None
    resize: int | tuple[int, int] | None = None
    channels: str = "RGB"
    mean: tuple[float, ...] = (127.0,)
    scale: tuple[float, ...] = (128.0,)
    layout: str = "NCHW"
    fit_input: bool = False


def read_preprocess(path: Path, model: ir.Model) -> Preprocess:
    """Read and check a preprocess.toml; raises BadInput naming the file and the key."""
    table = read_tables(path, read_text(path, "preprocessing"))
    for key in table:
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(KEYS)}"
            raise BadInput(f"{path}: unknown key {shown(key)}; {hint}")
    crop = _sizes(path, table, "crop")
    channels = _one_of(path, table, "channels", ("RGB", "BGR", "GRAY"))
    scale = _numbers(path, table, "scale", 1.0)
    if 0.0 in scale:
        raise BadInput(f"{path}: scale = 0 cannot be; the input is (pixel - mean) / scale")
    return Preprocess(
        input=_input_name(path, table, model),
        crop=(crop, crop) if isinstance(crop, int) else crop,
        resize=_sizes(path, table, "resize"),
        channels=channels,
        mean=_numbers(path, table, "mean", 0.0),
        scale=scale,
        layout=_one_of(path, table, "layout", ("NCHW", "NHWC")),
    )


def _input_name(path: Path, table: Mapping[str, object], model: ir.Model) -> str:
    names = [str(value.name) for value in model.graph.inputs]
    if "input" not in table and len(names) == 1:
        return names[0]
    name = table.get("input")
    if name not in names:
        raise BadInput(f"{path}: input = {shown(name)} is no input of the model; it has {', '.join(names)}")
    return str(name)


def _sizes(path: Path, table: Mapping[str, object], key: str) -> int | tuple[int, int] | None:
    value = table.get(key)
    if value is None or (_is_size(value) and isinstance(value, int)):
        return value if isinstance(value, int) else None
    if isinstance(value, list) and len(value) == 2 and all(_is_size(v) for v in value):
        return int(value[0]), int(value[1])
    wanted = f"a positive integer or [height, width], at most {LARGEST_SIDE}"
    raise BadInput(f"{path}: {key} = {shown(value)} must be {wanted}")


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_SIDE


def _numbers(path: Path, table: Mapping[str, object], key: str, default: float) -> tuple[float, ...]:
    value = table.get(key, default)
    items = value if isinstance(value, list) else [value]
    if len(items) not in (1, 1 if table.get("channels") == "GRAY" else 3) or not all(map(_is_number, items)):
        raise BadInput(f"{path}: {key} = {shown(value)} must be a number or one number per channel")
    return tuple(float(str(v)) for v in items)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


def _one_of(path: Path, table: Mapping[str, object], key: str, known: Sequence[str]) -> str:
    value = table.get(key, known[0])
    if value not in known:
        raise BadInput(f"{path}: {key} = {shown(value)} must be one of {', '.join(known)}")
    return str(value)


def default_preprocess(folder: Path, model: ir.Model) -> Preprocess:
    """The common mobile convention, for a folder that says nothing: raises BadInput where it cannot be."""
    write = (
        f"write {folder / PREPROCESS_NAME} (or give --preprocess FILE) with crop, mean, scale, layout, input"
    )
    if len(model.graph.inputs) != 1:
        raise BadInput(f"{folder}: the model has {len(model.graph.inputs)} inputs; {write}")
    value = model.graph.inputs[0]
    sizes = [d if isinstance(d, int) else None for d in value.shape] if value.shape is not None else []
    first, last = (sizes[1], sizes[3]) if len(sizes) == 4 else (None, None)
    if first not in (1, 3) and last not in (1, 3):
        raise BadInput(f"{folder}: input {value.name!r} has no image shape {value.shape}; {write}")
    layout = "NCHW" if first in (1, 3) else "NHWC"
    height, width = (sizes[2], sizes[3]) if layout == "NCHW" else (sizes[1], sizes[2])
    if height is None or width is None:
        raise BadInput(f"{folder}: height and width of input {value.name!r} are not fixed; {write}")
    gray = (first if layout == "NCHW" else last) == 1
    return Preprocess(
        input=str(value.name),
        crop=(height, width),
        channels="GRAY" if gray else "RGB",
        layout=layout,
        fit_input=True,
    )


def describe(preprocess: Preprocess) -> str:
    """The preprocessing in one line, for the report."""
    mean, scale = (",".join(f"{v:g}" for v in values) for values in (preprocess.mean, preprocess.scale))
    size = "x".join(str(v) for v in preprocess.crop) if preprocess.crop else "as they are"
    return f"{size}, {preprocess.channels}, (pixel - {mean}) / {scale}, {preprocess.layout}"


class ImageFolder:
    """Image files decoded when asked for; small decoded pixels are remembered up to a limit."""

    PIXEL_BYTES = 256 << 20

    def __init__(self, files: Sequence[Path], preprocess: Preprocess) -> None:
        self._files = tuple(files)
        self._preprocess = preprocess
        self._pixels: dict[int, Pixels] = {}
        self._bytes = 0

    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of each file's content."""
        return tuple(hashlib.sha256(_content(file)).hexdigest() for file in self._files)

    def identity(self) -> str:
        """What beside the files decides the samples."""
        return repr(self._preprocess)

    def batch(self, indices: Sequence[int]) -> dict[str, FloatArray]:
        """The samples as the model's input, in the order asked for."""
        pixels = np.stack([self._decoded(index) for index in indices])
        return {self._preprocess.input: _normalised(pixels, self._preprocess)}

    def varied(self, index: int, rng: np.random.Generator) -> dict[str, FloatArray]:
        """A sample as another crop of its image, perhaps mirrored, stacked as one."""
        image = _opened(self._files[index], self._preprocess)
        size = self._preprocess.crop or (image.height, image.width)
        pixels = _as_pixels(random_crop(image, size, rng))
        return {self._preprocess.input: _normalised(pixels[None], self._preprocess)}

    def _decoded(self, index: int) -> Pixels:
        pixels = self._pixels.get(index)
        if pixels is None:
            pixels = _decode(self._files[index], self._preprocess)
            if self._bytes + pixels.nbytes <= self.PIXEL_BYTES:
                self._pixels[index] = pixels
                self._bytes += pixels.nbytes
        return pixels


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error}") from error


def _normalised(pixels: Pixels, preprocess: Preprocess) -> FloatArray:
    """[N, H, W, C] pixels as floats in the model's layout."""
    ordered = pixels[..., ::-1] if preprocess.channels == "BGR" else pixels
    mean, scale = (np.asarray(v, np.float32) for v in (preprocess.mean, preprocess.scale))
    values = (ordered.astype(np.float32) - mean) / scale
    moved = values.transpose(0, 3, 1, 2) if preprocess.layout == "NCHW" else values
    return np.ascontiguousarray(moved, dtype=np.float32)


def _decode(file: Path, preprocess: Preprocess) -> Pixels:
    """One file as [height, width, channels] pixels, resized and cropped."""
    pixels = _as_pixels(_opened(file, preprocess))
    return pixels if preprocess.crop is None else _cropped(file, pixels, preprocess.crop)


def _opened(file: Path, preprocess: Preprocess) -> Image.Image:
    """One file as an image, resized but not cropped."""
    try:
        with Image.open(file) as opened:
            image = opened.convert(MODES[preprocess.channels])
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise BadInput(f"{file}: cannot be read as an image; replace or remove the file") from error
    size = _resized(image.width, image.height, preprocess)
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def _as_pixels(image: Image.Image) -> Pixels:
    return np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, -1)


def random_crop(image: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A random part of an image at a size (height, width), mirrored every other time.

    The part has `VARIED_AREA` of the area and `VARIED_ASPECT` times the aspect of the largest part
    that has the wanted one (Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section
    6, with milder bounds: what is cropped should still look like calibration data).
    """
    height, width = size
    fit = min(image.height / height, image.width / width)
    side = math.sqrt(rng.uniform(*VARIED_AREA))
    stretch = math.exp(rng.uniform(-1, 1) * math.log(VARIED_ASPECT) / 2)
    wide = min(fit * width * side * stretch, image.width)
    high = min(fit * height * side / stretch, image.height)
    left, top = rng.uniform(0, image.width - wide), rng.uniform(0, image.height - high)
    box = (left, top, left + wide, top + high)
    part = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


def _resized(width: int, height: int, preprocess: Preprocess) -> tuple[int, int]:
    """The (width, height) to resize to before the crop."""
    wanted = preprocess.resize
    if isinstance(wanted, tuple):
        return wanted[1], wanted[0]
    short = min(width, height)
    target = wanted if wanted is not None else short
    if wanted is None and preprocess.fit_input and preprocess.crop is not None:
        low = max(preprocess.crop)
        target = min(max(short, low), round(low / EVALUATION_CROP))
    if target == short:
        return width, height
    return max(target, round(width * target / short)), max(target, round(height * target / short))


def _cropped(file: Path, pixels: Pixels, crop: tuple[int, int]) -> Pixels:
    top, left = (pixels.shape[0] - crop[0]) // 2, (pixels.shape[1] - crop[1]) // 2
    if top < 0 or left < 0:
        have = f"{pixels.shape[0]}x{pixels.shape[1]}"
        raise BadInput(
            f"{file}: {have} is smaller than the crop {crop[0]}x{crop[1]}; set resize in {PREPROCESS_NAME}"
        )
    return np.ascontiguousarray(pixels[top : top + crop[0], left : left + crop[1]])
