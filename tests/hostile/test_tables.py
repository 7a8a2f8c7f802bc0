"""Hostile tables and measurement files: bombs, shapes beyond all bounds, paths that lead elsewhere."""

from __future__ import annotations

import csv
import io
import lzma
import os
from pathlib import Path

import pytest

from hwopt.cost import dataset
from hwopt.cost.dataset import COLUMNS, read_samples
from hwopt.cost.raw import table as raw_table
from hwopt.errors import BadInput
from hwopt.oracles import table_file
from hwopt.oracles.table import TableOracle
from hwopt.signature import Signature
from hwopt.target import Target, read_target
from tests.hostile.mutations import mutations, refused_or_read

TARGETS = Path(__file__).parents[2] / "targets"
SIGNATURE = Signature(
    "conv", ("Conv",), ((1, 3, 8, 8),), ((1, 4, 8, 8),), "int8", (3, 3), (1, 1), (1, 1, 1, 1)
)
HEADER = "kind,input,output,kernel,stride,group,activation,latency_us,noise,macs"


@pytest.fixture(scope="module")
def target() -> Target:
    return read_target(TARGETS / "edge-npu")


def good_table() -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["kind", "input", "output", "kernel", "latency_us", "signature_json", "noise", "macs"])
    writer.writerow(["Conv", "1x3x224x224", "1x32x224x224", "3", "812.5", "", "0.01", "1000"])
    writer.writerow(["Add", "1x24x56x56 1x24x56x56", "1x24x56x56", "", "61", "", "", ""])
    writer.writerow(["", "", "", "", "95.2", SIGNATURE.text(), "", ""])
    return text.getvalue().encode()


def good_samples() -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number in range(5):
        writer.writerow([f"s{number}", "family", "net", SIGNATURE.text(), "12.5", 100, 20, 30])
    return text.getvalue().encode()


# A row of the table, and what must be said of it.
ROWS = {
    "a size of 5,000 digits": ("Conv,1x3x" + "9" * 5000 + "x8,1x4x8x8,3,,,,1,,", "is no shape"),
    "a size beyond all bounds": ("Conv,1x3x" + "9" * 10 + "x8,1x4x8x8,3,,,,1,,", "is no shape"),
    "a size of nothing": ("Conv,1x3x0x8,1x4x8x8,3,,,,1,,", "is no shape"),
    "a size below zero": ("Conv,1x3x-8x8,1x4x8x8,3,,,,1,,", "is no shape"),
    "a latency without end": ("Conv,1x3x8x8,1x4x8x8,3,,,,inf,,", "not negative"),
    "a latency that is none": ("Conv,1x3x8x8,1x4x8x8,3,,,,nan,,", "not negative"),
    "a latency of ages": ("Conv,1x3x8x8,1x4x8x8,3,,,,1e300,,", "beyond all bounds"),
    "more MACs than can be": ("Conv,1x3x8x8,1x4x8x8,3,,,,1,,1e30", "beyond all bounds"),
    "groups of 10^18": ("GroupedConv,1x3x8x8,1x4x8x8,3,,1000000000000000000,,1,,", "do not divide"),
    "an operator of 10,000 letters": ("x" * 10_000 + ",1x3x8x8,1x4x8x8,3,,,,1,,", "unknown operator"),
    "a quote without end": ('"Conv,1x3x8x8', "line 2"),
    "a cell beyond all bounds": ("y" * 200_000, "field larger than field limit"),
    "cells without columns": ("Conv" + ",1" * 5000, "cells under 10 columns"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_cell_that_cannot_be_is_refused_with_its_line(case: str, tmp_path: Path, target: Target) -> None:
    row, words = ROWS[case]
    (tmp_path / "t.csv").write_text(f"{HEADER}\n{row}\n")
    with pytest.raises(BadInput, match=words) as caught:
        TableOracle(target, tmp_path / "t.csv")
    assert "t.csv, line 2" in str(caught.value)
    assert len(str(caught.value)) < 800


# What a signature's cell holds.
SIGNATURES = (
    "[]", "{}", "null", '"conv"', "NaN", "[" * 3000, '{"kind": "os.system"}',
    SIGNATURE.text().replace('"conv"', '["conv"]'), SIGNATURE.text().replace("[1,3,8,8]", "[1e30,3,8,8]"),
    SIGNATURE.text().replace("[1,3,8,8]", f"[{10**30},3,8,8]"),
    SIGNATURE.text().replace("[1,3,8,8]", "[-1,3,8,8]"),
    SIGNATURE.text().replace("[1,3,8,8]", '["a",3,8,8]'), SIGNATURE.text().replace("[[1,3,8,8]]", "3"),
    SIGNATURE.text().replace("{", '{"weight": {"elements": -1},', 1),
    SIGNATURE.text().replace("{", '{"__class__": "os.system",', 1),
)  # fmt: skip


@pytest.mark.parametrize("text", SIGNATURES)
def test_what_is_no_signature_is_refused(text: str, tmp_path: Path, target: Target) -> None:
    cell = '"' + text.replace('"', '""') + '"'
    (tmp_path / "t.csv").write_text(f"signature_json,latency_us\n{cell},1\n")
    with pytest.raises(BadInput, match="not a signature"):
        TableOracle(target, tmp_path / "t.csv")
    rows = good_samples().decode().replace('"' + SIGNATURE.text().replace('"', '""') + '"', cell)
    (tmp_path / "m.csv.xz").write_bytes(lzma.compress(rows.encode()))
    with pytest.raises(BadInput, match="not a measurement"):
        read_samples(tmp_path / "m.csv.xz")


@pytest.mark.parametrize("name", ["../m.onnx", "/etc/passwd", "link.onnx", "a/../../m.onnx"])
def test_a_model_that_a_table_names_lies_beside_it(name: str, tmp_path: Path, target: Target) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "m.onnx").write_bytes(b"x")
    (tmp_path / "inner" / "link.onnx").symlink_to(tmp_path / "m.onnx")
    (tmp_path / "inner" / "t.csv").write_text(f"model,latency_us\n{name},1\n")
    with pytest.raises(BadInput, match="no file beside the table or below it"):
        TableOracle(target, tmp_path / "inner" / "t.csv")


def test_bombs_are_not_unpacked(tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "_LARGEST_TEXT", 1 << 20)
    monkeypatch.setattr(dataset, "LARGEST_TEXT", 1 << 20)
    head = (HEADER + "\n").encode()
    (tmp_path / "t.csv.xz").write_bytes(lzma.compress(head + b"#" * (8 << 20)))
    with pytest.raises(BadInput, match="unpacks to more than"):
        TableOracle(target, tmp_path / "t.csv.xz")
    with pytest.raises(BadInput, match="unpacks to more than"):
        read_samples(tmp_path / "t.csv.xz")
    many = lzma.compress(b"x" * 1000) * 2000  # streams one after the other
    (tmp_path / "t.csv.xz").write_bytes(many)
    with pytest.raises(BadInput, match="unpacks to more than"):
        TableOracle(target, tmp_path / "t.csv.xz")


def test_a_table_of_millions_of_rows_in_a_few_bytes(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = 3_000_000
    columns = {"kind": ["Conv"] * rows, "latency_us": [1.0] * rows}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet", compression="zstd")
    assert (tmp_path / "t.parquet").stat().st_size < 100_000
    with pytest.raises(BadInput, match=r"3000000 rows .* no table of measurements is that large"):
        TableOracle(target, tmp_path / "t.parquet")
    monkeypatch.setattr(table_file, "_MOST_ROWS", 1 << 40)
    monkeypatch.setattr(table_file, "_LARGEST_TEXT", 1000)
    with pytest.raises(BadInput, match="no table of measurements is that large"):
        TableOracle(target, tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["t.csv", "t.csv.xz", "t.parquet"])
def test_what_is_no_file_is_not_waited_for(name: str, tmp_path: Path, target: Target) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(BadInput, match="not a file"):
        TableOracle(target, tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(BadInput, match="not a file"):
        TableOracle(target, tmp_path / name)
    with pytest.raises(BadInput, match="not a file"):
        read_samples(tmp_path / name)


def test_mutated_tables_are_refused_or_read(tmp_path: Path, target: Target) -> None:
    _mutated_tables(tmp_path, target, 300, seed=0)


def test_mutated_measurements_are_refused_or_read(tmp_path: Path) -> None:
    _mutated_samples(tmp_path, 300, seed=0)


@pytest.mark.slow
def test_many_mutated_tables_are_refused_or_read(tmp_path: Path, target: Target) -> None:
    _mutated_tables(tmp_path, target, 6000, seed=1)
    _mutated_samples(tmp_path, 6000, seed=1)


def _mutated_tables(folder: Path, target: Target, count: int, seed: int) -> None:
    refused = 0
    for name, pack in (("t.csv", bytes), ("t.csv.xz", lzma.compress)):
        for data in mutations(good_table(), count, seed):
            (folder / name).write_bytes(pack(data))
            refused += refused_or_read(lambda name=name: TableOracle(target, folder / name), folder)  # type: ignore[misc]
    assert 0.5 * count < refused < 2 * count


def _mutated_samples(folder: Path, count: int, seed: int) -> None:
    file, refused = folder / "m.csv.xz", 0
    for data in mutations(good_samples(), count, seed):
        file.write_bytes(lzma.compress(data, preset=0))
        refused += refused_or_read(lambda: raw_table([row.signature for row in read_samples(file)]), file)
    assert 0.3 * count < refused < count


def test_mutated_parquet_is_refused_or_read(tmp_path: Path, target: Target) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"kind": ["Conv"] * 3, "input": ["1x3x8x8"] * 3, "output": ["1x4x8x8"] * 3, "kernel": ["3"] * 3}
    made = io.BytesIO()
    parquet.write_table(pyarrow.table({**columns, "latency_us": [1.0, 2.0, 3.0]}), made)
    file, refused = tmp_path / "t.parquet", 0
    for data in mutations(made.getvalue(), 200, seed=0):
        file.write_bytes(data)
        refused += refused_or_read(lambda: TableOracle(target, file), file)
    assert refused > 100
