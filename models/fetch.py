"""Real pretrained ONNX models, taken out of public Python packages.

    python -m models.fetch all -o fetched
    python -m models.fetch ppocr_det silero_vad -o fetched

Each model is named by package, version and the SHA-256 of both the wheel and the ONNX
file inside it. ``pip download`` brings the wheel, so the registry is the one that the
user's own pip configuration names. The models are the work of their authors and keep
their licences; none of them is stored in this repository.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

PIP_TIMEOUT_S: Final = 600


class FetchError(Exception):
    """A model could not be brought here; the message is one line for the user."""


class RegistryError(FetchError):
    """pip did not get the wheel: no network, no such version, or no pip."""


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package registry."""

    package: str
    version: str
    sha256: str
    licence: str

    @property
    def requirement(self) -> str:
        """The wheel as pip names it, ``package==version``."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class FetchedModel:
    """One ONNX file inside a wheel.

    ``input_shapes`` binds every input that has a dynamic axis, batch included (as 1).
    ``input_values`` gives the value of inputs that cannot be arbitrary, such as a
    sampling rate in Hz.
    """

    name: str
    wheel: Wheel
    member: str
    sha256: str
    task: str
    input_shapes: Mapping[str, tuple[int, ...]]
    input_values: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def package(self) -> str:
        """Name of the Python package that ships the model."""
        return self.wheel.package

    @property
    def version(self) -> str:
        """Version of the Python package that ships the model."""
        return self.wheel.version

    @property
    def filename(self) -> str:
        """Name of the file that ``fetch`` writes."""
        return f"{self.name}.onnx"


_RAPIDOCR = Wheel(
    package="rapidocr-onnxruntime",
    version="1.4.4",
    sha256="971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    licence="Apache-2.0",
)
_NUDENET = Wheel(
    package="nudenet",
    version="3.4.2",
    sha256="5937dbd84e5d8e5de038f08ffea5a1bb50a08475776bf2b4795914ce0eaf0331",
    licence="MIT",
)
_SILERO = Wheel(
    package="silero-vad",
    version="6.2.3",
    sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    licence="MIT",
)

_ALL: Final = (
    FetchedModel(
        name="ppocr_det",
        wheel=_RAPIDOCR,
        member="rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        sha256="d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        task="text detection (PP-OCRv4); height and width are multiples of 32",
        input_shapes={"x": (1, 3, 640, 640)},
    ),
    FetchedModel(
        name="ppocr_rec",
        wheel=_RAPIDOCR,
        member="rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        sha256="48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        task="text recognition (PP-OCRv4); lines 48 pixels high",
        input_shapes={"x": (1, 3, 48, 320)},
    ),
    FetchedModel(
        name="ppocr_cls",
        wheel=_RAPIDOCR,
        member="rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        sha256="e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        task="direction of a text line, 0 or 180 degrees (PP-OCR mobile v2)",
        input_shapes={"x": (1, 3, 48, 192)},
    ),
    FetchedModel(
        name="nudenet_320n",
        wheel=_NUDENET,
        member="nudenet/320n.onnx",
        sha256="c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f",
        task="object detection (YOLOv8n at 320 pixels, SiLU activations)",
        input_shapes={"images": (1, 3, 320, 320)},
    ),
    FetchedModel(
        name="silero_vad",
        wheel=_SILERO,
        member="silero_vad/data/silero_vad.onnx",
        sha256="1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        task="voice activity; 64 samples of context and 512 new ones at 16 kHz",
        input_shapes={"input": (1, 576), "state": (2, 1, 128)},
        input_values={"sr": 16000},
    ),
)
MODELS: Final[Mapping[str, FetchedModel]] = MappingProxyType({m.name: m for m in _ALL})

Download = Callable[[Wheel, Path], Path]
"""Brings a wheel into a folder and returns the archive's path."""


def fetch(name: str, folder: Path) -> Path:
    """Bring the model called `name` into `folder` and return the path of its ONNX file.

    A file that is already there with the right SHA-256 is kept. Raises FetchError.
    """
    return fetch_many([name], folder)[name]


def download_wheel(wheel: Wheel, folder: Path) -> Path:
    """Download `wheel` into `folder` with pip and return its path.

    Raises RegistryError if pip fails, FetchError if the wheel is not the pinned one.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder)]
    try:
        done = subprocess.run(
            [*command, wheel.requirement],
            capture_output=True,
            text=True,
            timeout=PIP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RegistryError(f"{wheel.requirement}: pip took over {PIP_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise RegistryError(f"{wheel.requirement}: pip download failed: {_reason(done.stderr)}")
    return _checked_wheel(wheel, folder)


def _checked_wheel(wheel: Wheel, folder: Path) -> Path:
    found = sorted(folder.glob("*.whl"))
    if len(found) != 1:
        raise FetchError(f"{wheel.requirement}: pip left {len(found)} wheels, expected one")
    _require_hash(found[0].name, found[0].read_bytes(), wheel.sha256)
    return found[0]


def fetch_many(names: Sequence[str], folder: Path, download: Download = download_wheel) -> dict[str, Path]:
    """Like `fetch` for several models, each wheel downloaded once.

    Raises FetchError, before anything is downloaded if a name is unknown.
    """
    models = [_lookup(name) for name in names]
    paths = {model.name: folder / model.filename for model in models}
    missing = [model for model in models if not _is_intact(paths[model.name], model)]
    for wheel in dict.fromkeys(model.wheel for model in missing):
        with tempfile.TemporaryDirectory() as scratch:
            archive = download(wheel, Path(scratch))
            for model in missing:
                if model.wheel == wheel:
                    _write_atomically(paths[model.name], extract(model, archive))
    return paths


def extract(model: FetchedModel, archive: Path) -> bytes:
    """The model's ONNX file out of the wheel `archive`. Raises FetchError."""
    try:
        with zipfile.ZipFile(archive) as wheel:
            content = wheel.read(model.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{archive.name}: cannot read {model.member}: {error}") from error
    _require_hash(f"{archive.name}:{model.member}", content, model.sha256)
    return content


def _lookup(name: str) -> FetchedModel:
    if name not in MODELS:
        raise FetchError(f"unknown model {name!r}; there are: {', '.join(MODELS)}")
    return MODELS[name]


def _is_intact(path: Path, model: FetchedModel) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == model.sha256


def _require_hash(what: str, content: bytes, sha256: str) -> None:
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise FetchError(f"{what}: SHA-256 is {got}, expected {sha256}")


def _reason(stderr: str) -> str:
    """The most telling line of pip's complaints: its last ERROR line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no message"])[-1]


def _write_atomically(path: Path, content: bytes) -> None:
    """Write beside the final name, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def _parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {m.name:14}{m.task} [{m.wheel.requirement}]" for m in _ALL)
    parser = argparse.ArgumentParser(
        prog="python -m models.fetch",
        description="Bring pretrained ONNX models out of public Python packages.",
        epilog=f"models:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="model names, or 'all'")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when every model is there, 2 and one line on stderr otherwise."""
    options = _parser().parse_args(arguments)
    names: list[str] = list(MODELS) if "all" in options.names else options.names
    try:
        paths = fetch_many(names, options.output)
    except (FetchError, OSError) as error:
        print(f"models.fetch: error: {error}", file=sys.stderr)
        return 2
    for name, path in paths.items():
        print(f"{name}: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
