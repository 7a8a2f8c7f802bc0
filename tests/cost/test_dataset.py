"""Measurement files: what is written is read back, byte for byte the same, and broken ones are named."""

import lzma
from pathlib import Path

import pytest

from hwopt.cost.dataset import COLUMNS, FILE_NAME, Sample, read_samples, read_with_hash, write_samples
from hwopt.descriptor import WeightDescriptor
from hwopt.errors import BadInput
from hwopt.signature import Signature

SIGNATURE = Signature(
    kind="gemm",
    ops=("Gemm", "Relu"),
    inputs=((1, 8),),
    outputs=((1, 4),),
    dtype="int8",
    activation="relu",
    producers=("graph_input",),
    consumers=("add", "graph_output"),
    weight=WeightDescriptor(32, 0.25, "dense", 17, 20),
    bias=4,
    attributes=(("transB", "1"),),
)
ROWS = [
    Sample("s0", "mobilenet", "net", SIGNATURE, 12.345678, 32, 40, 50),
    Sample("s1", "x", "", SIGNATURE, 0.1),
]


def test_rows_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    digest = write_samples(path, ROWS)
    back, found = read_with_hash(path)
    assert found == digest
    assert [row.signature for row in back] == [SIGNATURE, SIGNATURE]
    assert back[0].latency_us == pytest.approx(12.345678, rel=1e-6)
    assert (back[0].macs, back[0].weight_bytes, back[0].off_chip_bytes) == (32, 40, 50)
    assert write_samples(tmp_path / "again", back) == digest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", FILE_NAME]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(lzma.compress((",".join(COLUMNS) + "\na,b,c,{},oops,1,2,3\n").encode()))
    with pytest.raises(BadInput, match="line 2"):
        read_samples(path)


@pytest.mark.parametrize("data", [b"plain text", lzma.compress(b"a,b\n1,2\n")])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(data)
    with pytest.raises(BadInput, match=FILE_NAME):
        read_samples(path)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="hwopt targets measure"):
        read_samples(tmp_path / FILE_NAME)
