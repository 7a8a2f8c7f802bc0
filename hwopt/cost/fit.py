"""From measurements to a pinned cost model: fit, judge, write, say how good it is."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from hwopt.cost.accuracy import Accuracy, Evaluation, cross_validate
from hwopt.cost.bundle import pack
from hwopt.cost.dataset import FILE_NAME, Sample, read_with_hash
from hwopt.cost.features import FEATURE_VERSION
from hwopt.cost.training import Settings, Trained, train, usable
from hwopt.errors import BadInput
from hwopt.target import Target, read_target

MODEL_FILE = "cost_model.ubj.xz"
CARD_FILE = "card.md"
_CARD_TITLE = "## Cost model"
_LEAST_ROWS = 50


@dataclass(frozen=True)
class Fitted:
    """What a fit wrote: the file, its size and hash, and the accuracy on held-out families."""

    path: Path
    bytes: int
    sha256: str
    evaluation: Evaluation


def fit(folder: Path, settings: Settings | None = None) -> Fitted:
    """Fits the target's cost model on FOLDER/measurements.csv.xz and pins it in target.toml.

    Writes the model file, the [cost_model] table and a section of card.md. Raises BadInput where
    measurements are missing, broken or too few.
    """
    settings = settings or Settings()
    target = read_target(folder)
    data = folder / FILE_NAME
    samples, data_sha256 = read_with_hash(data)
    count = len(usable(samples))
    if count < _LEAST_ROWS or len({sample.family for sample in samples}) < 2:
        raise BadInput(f"{data}: {count} usable rows; a fit needs {_LEAST_ROWS} from two families or more")
    evaluation = cross_validate(samples, target, settings)
    trained = train(samples, target, settings, data_sha256)
    packed = pack(trained.header, trained.boosters)
    sha256 = hashlib.sha256(packed).hexdigest()
    _replace(folder / MODEL_FILE, packed)
    _replace(folder / CARD_FILE, _card(folder, samples, settings, trained, evaluation, len(packed)).encode())
    pin_model(folder / "target.toml", sha256, data_sha256)
    return Fitted(folder / MODEL_FILE, len(packed), sha256, evaluation)


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


def _card(
    folder: Path,
    samples: list[Sample],
    settings: Settings,
    trained: Trained,
    evaluation: Evaluation,
    size: int,
) -> str:
    """card.md with its section on the cost model replaced, or added where it had none."""
    path = folder / CARD_FILE
    old = path.read_text("utf-8") if path.exists() else f"# {trained.model.target.title}\n"
    before, found, after = old.partition(_CARD_TITLE)
    following = re.search(r"(?m)^## ", after) if found else None
    rest = "" if following is None else "\n" + after[following.start() :]
    return (
        before.rstrip("\n")
        + "\n\n"
        + _section(samples, settings, trained.model.target, evaluation, size)
        + rest
    )


def _section(
    samples: list[Sample], settings: Settings, target: Target, evaluation: Evaluation, size: int
) -> str:
    rows = usable(samples)
    units = [("fused operator groups", evaluation.groups), ("measured subgraphs", evaluation.subgraphs)]
    if evaluation.unseen is not None:
        units.append(("subgraphs of unseen families", evaluation.unseen))
    if evaluation.networks is not None:
        units.append(("whole networks of unseen families", evaluation.networks))
    header = "| {} | number | MAPE % | bias % | within 5 % | within 10 % | within 2 spreads % |"
    ruler = "|---|---|---|---|---|---|---|"
    return "\n".join(
        [
            _CARD_TITLE,
            "",
            f"{len(rows)} fused operator groups of {len({row.sample for row in rows})} subgraphs from "
            f"{len({row.family for row in rows})} families; features of version {FEATURE_VERSION}.",
            f"{settings.members} XGBoost members of depth {settings.depth} and {settings.rounds} rounds "
            f"(eta {settings.eta}), fitted on log(cycles / roofline); {size / 1e6:.2f} MB.",
            "",
            f"Source of the labels: oracle `{target.oracle.name}`. Below, nothing is predicted by a model "
            "that was trained on an operator of the same shape; a family is unseen where the model was "
            "trained without any of its members.",
            "",
            header.format("unit"),
            ruler,
            *(_line(name, accuracy) for name, accuracy in units),
            "",
            header.format("kind of group"),
            ruler,
            *(_line(name, accuracy) for name, accuracy in evaluation.kinds),
            "",
        ]
    )


def _line(name: str, a: Accuracy) -> str:
    figures = (a.mape, a.bias, a.within_5, a.within_10, a.covered)
    return f"| {name} | {a.units} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |"
