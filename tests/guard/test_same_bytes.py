"""Parts of two files are held against each other where the verifying is done."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from hwopt.errors import BadInput
from hwopt.guard.client import Place, same_bytes

SIZE = 3_000_000  # several blocks, and a last one that is not full


@pytest.fixture(params=["on", "off"])
def guard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    state = str(request.param)
    if state == "off":
        monkeypatch.setenv("HWOPT_GUARD", "off")
    return state


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The same bytes, in the second file 77 further on."""
    data = np.random.default_rng(0).bytes(SIZE)
    (tmp_path / "one").write_bytes(data)
    (tmp_path / "two").write_bytes(b"-" * 77 + data)
    return tmp_path / "one", tmp_path / "two"


@pytest.mark.usefixtures("guard")
def test_the_same_bytes_at_two_places_are_the_same(files: tuple[Path, Path]) -> None:
    one, two = files
    assert same_bytes(Place(str(one), 0), Place(str(two), 77), SIZE)
    assert not same_bytes(Place(str(one), 0), Place(str(two), 76), SIZE)


@pytest.mark.usefixtures("guard")
@pytest.mark.parametrize("at", [0, 1 << 20, SIZE - 1])
def test_one_bit_makes_a_difference(files: tuple[Path, Path], at: int) -> None:
    one, two = files
    with two.open("rb+") as file:
        file.seek(77 + at)
        bit = file.read(1)[0] ^ 1
        file.seek(77 + at)
        file.write(bytes([bit]))
    assert not same_bytes(Place(str(one), 0), Place(str(two), 77), SIZE)


@pytest.mark.usefixtures("guard")
def test_a_file_that_ends_too_soon_is_said(files: tuple[Path, Path]) -> None:
    one, two = files
    os.truncate(two, SIZE)
    with pytest.raises(BadInput, match="two ends too soon"):
        same_bytes(Place(str(one), 0), Place(str(two), 77), SIZE)
