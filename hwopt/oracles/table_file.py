"""Reading a table of measurements: CSV (also .csv.xz) or Parquet, checked cell by cell.

One row per measurement. `latency_us` is in every row, and one of these says what was measured:

- `kind`, `input`, `output` and, where it slides a kernel, `kernel`, `stride`, `dilation`,
  `group`; `activation` where one is fused: what a person can fill in;
- `signature_json`, as in the measurement files of hwopt;
- `model`, the path of an ONNX file beside the table; or `model_sha256`, the SHA-256 of a model.

Optional in every row: `peak_bytes`, `weight_bytes`, `macs`, `off_chip_bytes`, `noise` (relative
standard deviation), `sample`, `family`, `network` (where it was taken from, for splitting data
fairly). A column whose name starts with `#` is a remark.
"""

from __future__ import annotations

import csv
import hashlib
import io
import lzma
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from hwopt.errors import BadInput
from hwopt.files.untrusted import read_bytes, shorten, unpacked
from hwopt.wording import guess

SHAPE_COLUMNS = ("kind", "input", "output", "kernel", "stride", "dilation", "group", "activation")
KEY_COLUMNS = ("kind", "signature_json", "model", "model_sha256")
COUNT_COLUMNS = ("peak_bytes", "weight_bytes", "macs", "off_chip_bytes")
COLUMNS = (
    "latency_us",
    *KEY_COLUMNS,
    *SHAPE_COLUMNS[1:],
    *COUNT_COLUMNS,
    "noise",
    "sample",
    "family",
    "network",
)
_DELIMITERS = ",;\t"
_LARGEST_FILE = 256 << 20  # bytes
_LARGEST_TEXT = 512 << 20  # bytes when unpacked
_MOST_ROWS = 2_000_000
_LARGEST_NUMBER = 1e18  # microseconds, bytes or multiply-adds: beyond, whole numbers no longer fit 64 bits
_BATCH = 10_000
_LONGEST_NAME = 100  # letters of a column's name that a guess looks at


@dataclass(frozen=True)
class TableRow:
    """The cells of one row that are not empty, and where the row stands."""

    path: Path
    line: int
    cells: Mapping[str, str]

    def get(self, column: str) -> str:
        """The cell's text, "" where it is empty."""
        return self.cells.get(column, "")

    def error(self, column: str, text: str) -> BadInput:
        """The error that names the file, the line and the column."""
        return BadInput(f"{self.path}, line {self.line}, column {column}: {text}")

    def number(self, column: str) -> float | None:
        """A number that is not negative; None where the cell is empty."""
        text = self.get(column)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            hint = ": write a decimal point" if "," in text else ""
            raise self.error(column, f"'{shorten(text)}' is no number{hint}") from None
        if not isfinite(value) or value < 0:
            raise self.error(column, f"'{shorten(text)}' must be a number that is not negative")
        if value > _LARGEST_NUMBER:
            raise self.error(column, f"'{shorten(text)}' is beyond all bounds: at most {_LARGEST_NUMBER:g}")
        return value

    def whole(self, column: str) -> int | None:
        """A whole number that is not negative; None where the cell is empty."""
        value = self.number(column)
        if value is not None and value != int(value):
            raise self.error(column, f"'{self.get(column)}' must be a whole number")
        return None if value is None else int(value)

    @property
    def latency_us(self) -> float:
        """The measured latency."""
        value = self.number("latency_us")
        if value is None:
            raise self.error("latency_us", "is empty: leave out rows that were not measured")
        return value

    @property
    def key_column(self) -> str:
        """The one column that says what was measured."""
        filled = [column for column in KEY_COLUMNS if self.get(column)]
        if len(filled) == 1:
            return filled[0]
        if filled:
            raise self.error(filled[1], f"says what was measured, and so does {filled[0]}: fill in one")
        raise self.error(KEY_COLUMNS[0], f"nothing says what was measured: fill in {', '.join(KEY_COLUMNS)}")


@dataclass(frozen=True)
class Table:
    """A table that was read. sha256: of the file's bytes."""

    path: Path
    sha256: str
    rows: tuple[TableRow, ...]


def read_table(path: Path) -> Table:
    """Reads a .csv, .csv.xz or .parquet file.

    Raises BadInput naming the file, and line and column where a cell is wrong; ImportError for
    a Parquet file where the extra `parquet` is not installed.
    """
    data = read_bytes(path, "table of measurements", _LARGEST_FILE)
    found = _parquet(data, path) if path.suffix == ".parquet" else _csv(data, path)
    header = next(found)
    columns = _columns(path, [str(name or "") for name in header])
    rows = tuple(_row(path, line, columns, cells) for line, cells in enumerate_rows(found))
    used = tuple(row for row in rows if row.cells)
    if not used:
        raise BadInput(f"{path}: holds no measurement")
    for row in used:
        _check(row)
    return Table(path, hashlib.sha256(data).hexdigest(), used)


def enumerate_rows(rows: Iterator[Sequence[object]]) -> Iterator[tuple[int, Sequence[object]]]:
    """Rows with their numbers as a spreadsheet shows them: the header is 1."""
    return enumerate(rows, start=2)


def _csv(data: bytes, path: Path) -> Iterator[Sequence[object]]:
    try:
        text = (unpacked(data, _LARGEST_TEXT) if path.suffix == ".xz" else data).decode("utf-8-sig")
    except (lzma.LZMAError, ValueError) as error:
        raise BadInput(f"{path}: not a CSV file in UTF-8: {shorten(str(error))}") from None
    first = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        yield next(reader, [])
        yield from reader
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num}: {error}") from None


def _parquet(data: bytes, path: Path) -> Iterator[Sequence[object]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        _check_claims(file.metadata, path)
        yield file.schema_arrow.names
        for batch in file.iter_batches(_BATCH):
            for row in batch.to_pylist():
                yield [row[name] for name in file.schema_arrow.names]
    except (pyarrow.ArrowException, OSError, OverflowError, ValueError) as error:
        raise BadInput(f"{path}: not a Parquet file: {shorten(str(error))}") from None


def _check_claims(metadata: Any, path: Path) -> None:
    """Raises BadInput for a file of few bytes that says it unpacks to very many."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    unpacked_bytes = sum(
        group.column(number).total_uncompressed_size
        for group in groups
        for number in range(group.num_columns)
    )
    if metadata.num_rows > _MOST_ROWS or unpacked_bytes > _LARGEST_TEXT:
        claim = f"{metadata.num_rows} rows of {unpacked_bytes} bytes"
        raise BadInput(f"{path}: {claim}: no table of measurements is that large")


def _columns(path: Path, header: Sequence[str]) -> list[str]:
    """The header's names, remarks as ""; raises BadInput for names that nobody knows."""
    names = [name.strip().lower() for name in header]
    for number, name in enumerate(names, start=1):
        if name and not name.startswith("#") and name not in COLUMNS:
            raise BadInput(
                f"{path}, line 1: unknown column '{shorten(name)}': {guess(name[:_LONGEST_NAME], COLUMNS)}"
                f"start its name with # to have it ignored"
            )
        if name in names[: number - 1] and name in COLUMNS:
            raise BadInput(f"{path}, line 1: column '{name}' is there twice")
    if "latency_us" not in names:
        raise BadInput(f"{path}, line 1: column 'latency_us' is missing")
    if not set(names) & set(KEY_COLUMNS):
        raise BadInput(f"{path}, line 1: no column says what was measured: {', '.join(KEY_COLUMNS)}")
    return ["" if name.startswith("#") else name for name in names]


def _row(path: Path, line: int, columns: Sequence[str], cells: Sequence[object]) -> TableRow:
    if line > _MOST_ROWS:
        raise BadInput(f"{path}: more than {_MOST_ROWS} rows: no table of measurements is that large")
    texts = ["" if cell is None else str(cell).strip() for cell in cells]
    if len(texts) > len(columns) and any(texts[len(columns) :]):
        raise BadInput(
            f"{path}, line {line}: {len(texts)} cells under {len(columns)} columns (a decimal comma?)"
        )
    named = zip(columns, texts, strict=False)
    return TableRow(path, line, {column: text for column, text in named if column and text})


def _check(row: TableRow) -> None:
    """Every cell that can be judged by itself."""
    assert row.key_column
    assert row.latency_us >= 0
    for column in COUNT_COLUMNS:
        row.whole(column)
    row.number("noise")
