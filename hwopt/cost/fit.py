"""From measurements to a pinned cost model: fit, judge, write, say how good it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hwopt.cost.accuracy import Evaluation, cross_validate
from hwopt.cost.bundle import pack
from hwopt.cost.card import (
    CARD_FILE,
    COST_MODEL,
    SIZES,
    cost_model_section,
    read_card,
    sizes_section,
    with_section,
)
from hwopt.cost.dataset import FILE_NAME, read_with_hash
from hwopt.cost.features import FEATURE_VERSION
from hwopt.cost.training import Settings, train, usable
from hwopt.errors import BadInput
from hwopt.target import read_target

MODEL_FILE = "cost_model.ubj.xz"
FOLDS = 4
_LEAST_ROWS = 50


@dataclass(frozen=True)
class Fitted:
    """What a fit wrote: the file, its size and hash, and the accuracy on held-out families.

    evaluation: None where the fit was not judged.
    """

    path: Path
    bytes: int
    sha256: str
    evaluation: Evaluation | None


def fit(
    folder: Path,
    settings: Settings | None = None,
    judged: int = FOLDS,
    progress: Callable[[int], None] = lambda trained: None,
) -> Fitted:
    """Fits the target's cost model on FOLDER/measurements.csv.xz and pins it in target.toml.

    Writes the model file, the [cost_model] table and two sections of card.md. judged: how many of
    the four family folds are tried, each at the price of one more training; 0 for none. progress: is told
    how many trainings are done, of judged + 1. Raises
    BadInput where measurements are missing, broken or too few.
    """
    settings = settings or Settings()
    target = read_target(folder)
    data = folder / FILE_NAME
    samples, data_sha256 = read_with_hash(data)
    rows = usable(samples)
    if len(rows) < _LEAST_ROWS or len({row.family for row in samples}) < 2:
        raise BadInput(
            f"{data}: {len(rows)} usable rows; a fit needs {_LEAST_ROWS} from two families or more"
        )
    found = cross_validate(samples, target, settings, FOLDS, judged, progress) if judged > 0 else None
    trained = train(samples, target, settings, data_sha256)
    progress(judged + 1)
    header = trained.header
    if found is not None and found.calibration is not None:
        header = replace(header, calibration=found.calibration.to_json())
    packed = pack(header, trained.boosters)
    sha256 = hashlib.sha256(packed).hexdigest()
    _replace(folder / MODEL_FILE, packed)
    pin_model(folder / "target.toml", sha256, data_sha256)
    section = cost_model_section(rows, settings, target, found, len(packed))
    card = with_section(read_card(folder, target.title), COST_MODEL, section)
    _replace(folder / CARD_FILE, with_section(card, SIZES, sizes_section(folder)).encode())
    return Fitted(folder / MODEL_FILE, len(packed), sha256, found)


def pin_model(path: Path, sha256: str, data_sha256: str) -> None:
    """Writes the [cost_model] table of a target.toml; every other line stays as it is."""
    table = (
        "[cost_model]\n"
        f'file = "{MODEL_FILE}"\n'
        f'sha256 = "{sha256}"\n'
        f"feature_version = {FEATURE_VERSION}\n"
        f'data_sha256 = "{data_sha256}"\n'
    )
    text = path.read_text("utf-8")
    without = re.sub(r"(?ms)^\[cost_model\]\n.*?(?=^\[|\Z)", "", text)
    _replace(path, (without.rstrip("\n") + "\n\n" + table).encode())


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    temporary.replace(path)
