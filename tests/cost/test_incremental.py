"""Rows that are added later: known afterwards, and nothing else gets worse."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from hwopt.cost.dataset import FILE_NAME, Sample, read_samples, write_samples
from hwopt.cost.fit import MODEL_FILE, fit
from hwopt.cost.incremental import refit_folder
from hwopt.cost.loading import load_cost_model
from hwopt.cost.model import CostModel
from hwopt.cost.training import Settings
from hwopt.errors import BadInput
from hwopt.target import read_target

SHIPPED = Path(__file__).parents[2] / "targets" / "edge-npu"
SMALL = Settings(depth=5, rounds=60, eta=0.15)
ADDED = "mobilenet_v3"
ROWS = read_samples(SHIPPED / FILE_NAME)
OLD = [row for row in ROWS if row.family != ADDED][::2]
FAR = [row for row in ROWS if row.family != ADDED][1::4]
NEW = [row for row in ROWS if row.family == ADDED]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("target")
    shutil.copy(SHIPPED / "target.toml", folder / "target.toml")
    write_samples(folder / FILE_NAME, OLD)
    fit(folder, SMALL, judged=0)
    return folder


@pytest.fixture
def folder(fitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted, tmp_path / "target"))


def error(model: CostModel, rows: list[Sample]) -> float:
    """Mean relative error."""
    timed = [row for row in rows if row.latency_us > 0]
    predicted = np.array([e.value for e in model.predict([row.signature for row in timed])])
    return float(np.abs(predicted / [row.latency_us for row in timed] - 1).mean())


def test_new_rows_are_learned_and_others_kept(folder: Path) -> None:
    before = load_cost_model(read_target(folder))
    write_samples(folder / FILE_NAME, [*OLD, *NEW])
    result = refit_folder(folder, SMALL, rounds=40)
    after = load_cost_model(read_target(folder))
    assert result.new == sum(row.latency_us > 0 for row in NEW)
    assert error(after, NEW) < 0.5 * error(before, NEW)
    assert error(after, FAR) < 1.05 * error(before, FAR)
    flagged = [sum(e.extrapolated for e in m.predict([r.signature for r in NEW])) for m in (before, after)]
    assert flagged[1] == 0 < flagged[0]


def test_the_same_rows_give_the_same_bytes(folder: Path) -> None:
    write_samples(folder / FILE_NAME, [*OLD, *NEW])
    pinned = (folder / "target.toml").read_bytes()
    first = (folder / MODEL_FILE).read_bytes()
    refit_folder(folder, SMALL, rounds=5)
    one = (folder / MODEL_FILE).read_bytes()
    (folder / MODEL_FILE).write_bytes(first)
    (folder / "target.toml").write_bytes(pinned)
    refit_folder(folder, SMALL, rounds=5)
    assert (folder / MODEL_FILE).read_bytes() == one != first


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (OLD, "nothing was measured"),
        (OLD[10:] + NEW, "taken away"),
        (OLD + FAR + NEW * 4, "rows are new"),
    ],
)
def test_where_more_rounds_make_no_sense_it_says_so(folder: Path, rows: list[Sample], message: str) -> None:
    write_samples(folder / FILE_NAME, rows)
    with pytest.raises(BadInput, match=message):
        refit_folder(folder, SMALL)


def test_without_a_pinned_model_there_is_nothing_to_go_on_from(folder: Path) -> None:
    text = (folder / "target.toml").read_text()
    (folder / "target.toml").write_text(text.split("[cost_model]")[0])
    with pytest.raises(BadInput, match="no cost model yet"):
        refit_folder(folder, SMALL)
