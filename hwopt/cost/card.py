"""card.md: prose that is kept by hand, and generated sections that are replaced where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hwopt.cost.accuracy import Accuracy, Evaluation
from hwopt.cost.dataset import Sample
from hwopt.cost.features import FEATURE_VERSION
from hwopt.cost.training import Settings
from hwopt.target import Target

CARD_FILE = "card.md"
COST_MODEL = "Cost model"
ACCURACY = "Accuracy on held-out networks and rewrites"
PEERS = "Against simpler predictors"
LANDSCAPE = "Landscape"
SIZES = "Sizes"
LIMIT_BYTES = 25_000_000  # of one target's folder in the repository

_ACCURACY_HEAD = (
    "number",
    "MAPE %",
    "bias %",
    "within 5 %",
    "within 10 %",
    "within 1 spread %",
    "within 2 spreads %",
)


def read_card(folder: Path, title: str) -> str:
    """The folder's card; one with nothing but a title where there is none."""
    path = folder / CARD_FILE
    return path.read_text("utf-8") if path.exists() else f"# {title}\n"


def with_section(text: str, title: str, body: str) -> str:
    """The card with the section of that title replaced, or added at the end where there is none."""
    section = f"## {title}\n\n{body.strip()}\n"
    before, found, after = (text.rstrip("\n") + "\n").partition(f"\n## {title}\n")
    if not found:
        return f"{before.rstrip()}\n\n{section}"
    following = re.search(r"(?m)^## ", after)
    rest = "" if following is None else "\n" + after[following.start() :]
    return f"{before.rstrip()}\n\n{section}{rest}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def cost_model_section(
    samples: Sequence[Sample], settings: Settings, target: Target, found: Evaluation | None, size: int
) -> str:
    """What `hwopt targets fit` says: the data, the model, and how good it is where it was not trained.

    samples: the rows that were trained on. found: None where the fit was not judged.
    """
    families = sorted({row.family for row in samples})
    subgraphs = len({row.sample for row in samples})
    parts = [
        f"{len(samples)} fused operator groups of {subgraphs} subgraphs from {len(families)} families, "
        f"measured by the oracle `{target.oracle.name}`; features of version {FEATURE_VERSION}. "
        f"{settings.members} XGBoost members of depth {settings.depth} and {settings.rounds} rounds "
        f"(eta {settings.eta}), fitted on the logarithm of cycles over the roofline; {size / 1e6:.2f} MB.",
    ]
    if found is None:
        parts.append("This fit was not judged: `hwopt targets fit` without `--quick` does it.")
        return "\n\n".join(parts)
    parts.append(
        f"Left out, part by part: {found.how}. Nothing below is predicted by a model that was trained on "
        "a member of the same family or on an operator of the same shape."
    )
    units = [("fused operator groups", found.groups), ("measured subgraphs", found.subgraphs)]
    if found.networks is not None:
        units.append(("whole networks", found.networks))
    if found.extrapolated is not None:
        units.append(("groups flagged as extrapolated", found.extrapolated))
    parts.append(table(("unit", *_ACCURACY_HEAD), (_cells(*unit) for unit in units)))
    parts.append(table(("kind of group", *_ACCURACY_HEAD), (_cells(*kind) for kind in found.kinds)))
    return "\n\n".join(parts)


def _cells(name: str, a: Accuracy) -> tuple[str, ...]:
    figures = (a.mape, a.bias, a.within_5, a.within_10, a.covered_1, a.covered)
    return (name, str(a.units), *(f"{figure:.2f}" for figure in figures))


def sizes_section(folder: Path) -> str:
    """What the target's folder holds, against the limit."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    # The card's own size would change with what is written here: it counts as nothing.
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    sizes.pop(CARD_FILE, None)
    rows = [(name, f"{size / 1e6:.3f}") for name, size in sorted(sizes.items(), key=lambda i: (-i[1], i[0]))]
    total = sum(sizes.values())
    rows.append(("together", f"{total / 1e6:.3f} of at most {LIMIT_BYTES / 1e6:.0f}"))
    return table(("file", "MB"), rows)
