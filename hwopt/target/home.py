"""Where a target's files lie, what they weigh, and what its card says of its cost model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from hwopt.errors import BadInput
from hwopt.registry import config_folder
from hwopt.target.file import FILE_NAME, Target

CARD_FILE = "card.md"
SIZE_LIMIT = 25_000_000  # bytes of a target's folder
_ERROR, _WITHIN = "MAPE %", "within 10 %"
_OF_NETWORKS, _REFINED = "networks", "refine"  # columns of the table of held-out networks
_HELD_OUT = "held-out networks"
_PREFERRED = (_HELD_OUT, "whole networks", "subgraphs of unseen families", "subgraphs", "groups")


@dataclass(frozen=True)
class CardRow:
    """One row of a card's accuracy tables: mean absolute error and share within 10%, in percent."""

    unit: str
    mape: float
    within_10: float


def own_folder(target: Target, given: str, measurements: bool = True) -> Path:
    """The folder in which a user may measure and fit this target.

    given: how the target was asked for. A folder that was named is used as it is. A target that
        was asked for by name and ships with hwopt, or cannot be written, is copied into the
        user's folder first, where its name finds it from then on; measurements: these too.
    Raises BadInput where a folder that was named cannot be written.
    """
    by_path = os.sep in given or Path(given).is_dir() or given == FILE_NAME
    writable = os.access(target.folder, os.W_OK)
    if by_path and not writable:
        raise BadInput(f"{target.folder} cannot be written: copy it, or ask for the target by its name")
    if by_path or (writable and not is_shipped(target)):
        return target.folder
    folder = config_folder() / target.folder.name
    _copy(target.folder, folder, measurements)
    return folder


def is_shipped(target: Target) -> bool:
    """Whether the target is one of those that come with hwopt."""
    shipped = Path(str(files("hwopt.targets"))).resolve()
    return target.folder.resolve().parent == shipped


def _copy(source: Path, folder: Path, measurements: bool) -> None:
    """Every file of a target, target.toml last; what is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: (path.name == FILE_NAME, path.name)):
        skipped = path.name.startswith("measurements.") and not measurements
        if path.is_file() and not skipped and not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)


def folder_bytes(folder: Path) -> int:
    """What a target's folder weighs."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def card_accuracy(folder: Path) -> CardRow | None:
    """What a target's card says first of held-out accuracy, whole networks before parts."""
    rows = list(card_rows(folder))
    for words in _PREFERRED:
        for row in rows:
            if words in row.unit:
                return row
    return None


def card_rows(folder: Path) -> Iterator[CardRow]:
    """The rows of the card's tables that tell errors and shares of whole models and of parts."""
    path = folder / CARD_FILE
    header: list[str] = []
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else ():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            header = []
        elif _ERROR in cells and _WITHIN in cells:
            header = cells
        elif header and len(cells) == len(header):
            row = _row(header, cells)
            if row is not None:
                yield row


def _row(header: list[str], cells: list[str]) -> CardRow | None:
    """One row; None for the ruler below the header, and for figures that some groups were measured for."""
    named = dict(zip(header, cells, strict=True))
    if named.get(_REFINED, "0") != "0":
        return None
    try:
        figures = float(named[_ERROR]), float(named[_WITHIN])
    except ValueError:
        return None
    unit = f"{named[_OF_NETWORKS]} {_HELD_OUT}" if _OF_NETWORKS in named else cells[0]
    return CardRow(unit, *figures)
