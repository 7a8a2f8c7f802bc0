"""Measurement files: one row per fused operator group measured in context.

A file is xz-compressed CSV with the columns of `Sample`. Writing is deterministic (fixed
column order, fixed compression), so that its SHA-256 identifies the data.
"""

from __future__ import annotations

import csv
import hashlib
import io
import lzma
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hwopt.errors import BadInput
from hwopt.files.untrusted import read_bytes, shorten, unpacked
from hwopt.signature import Signature, from_text

FILE_NAME = "measurements.csv.xz"
LARGEST_FILE = 64_000_000  # bytes; a target's folder weighs 25 million at most
LARGEST_TEXT = 1_000_000_000  # bytes when unpacked: a million rows
COLUMNS = (
    "sample",
    "family",
    "network",
    "signature_json",
    "latency_us",
    "macs",
    "weight_bytes",
    "off_chip_bytes",
)


@dataclass(frozen=True)
class Sample:
    """What an oracle said of one fused operator group.

    sample: id of the subgraph that was measured as one (rows of one sample add up to it).
    family, network: where it was taken from ("mobilenet", "random" ...): for grouped splits.
    latency_us: in-context latency of the group. macs, weight_bytes, off_chip_bytes: as the
        oracle counted them, 0 where it does not tell.
    """

    sample: str
    family: str
    network: str
    signature: Signature
    latency_us: float
    macs: int = 0
    weight_bytes: int = 0
    off_chip_bytes: int = 0


def write_samples(path: Path, samples: Iterable[Sample]) -> str:
    """Writes a measurement file and returns its SHA-256."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item in samples:
        # Seven digits: more than any simulator means, and stable between platforms.
        latency = f"{item.latency_us:.7g}"
        counts = (item.macs, item.weight_bytes, item.off_chip_bytes)
        writer.writerow((item.sample, item.family, item.network, item.signature.text(), latency, *counts))
    data = lzma.compress(text.getvalue().encode(), format=lzma.FORMAT_XZ, preset=6)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    temporary.replace(path)
    return hashlib.sha256(data).hexdigest()


def read_samples(path: Path) -> list[Sample]:
    """Reads a measurement file.

    Raises BadInput naming the file, and the line where the table is broken.
    """
    return read_with_hash(path)[0]


def read_with_hash(path: Path) -> tuple[list[Sample], str]:
    """The rows of a measurement file and its SHA-256, from one read of the file."""
    if not os.path.lexists(path):
        raise BadInput(f"no measurements at {path}: run `hwopt targets measure` first")
    data = read_bytes(path, "measurements", LARGEST_FILE)
    return _parse(data, path), hashlib.sha256(data).hexdigest()


def _parse(data: bytes, path: Path) -> list[Sample]:
    reader = csv.reader(io.StringIO(unpacked_text(path, data)))
    try:
        if tuple(next(reader, ())) != COLUMNS:
            raise BadInput(f"{path}: the first line must be {','.join(COLUMNS)}")
        return [_sample(path, reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num}: {error}") from None


def unpacked_text(path: Path, data: bytes) -> str:
    """The text of an xz-compressed file of a target. Raises BadInput where it is none, or far too much."""
    try:
        return unpacked(data, LARGEST_TEXT).decode()
    except (lzma.LZMAError, ValueError) as error:
        raise BadInput(f"{path}: not an xz-compressed table: {shorten(str(error))}") from None


def file_hash(path: Path) -> str:
    """SHA-256 of a measurement file."""
    return read_with_hash(path)[1]


def _sample(path: Path, line: int, row: list[str]) -> Sample:
    try:
        sample, family, network, signature, latency, *counts = row
        macs, weight_bytes, off_chip_bytes = (int(count) for count in counts)
        figure = float(latency)
        if not (
            math.isfinite(figure) and all(0 <= n < 1 << 63 for n in (macs, weight_bytes, off_chip_bytes))
        ):
            raise ValueError("a figure is beyond all bounds")
        return Sample(
            sample, family, network, from_text(signature), figure, macs, weight_bytes, off_chip_bytes
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadInput(f"{path}, line {line}: not a measurement: {shorten(str(error))}") from None
