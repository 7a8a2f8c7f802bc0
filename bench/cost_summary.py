"""One table over all targets: how good their prices are on networks and rewrites never trained on.

    python -m bench.cost_summary

Reads what bench.cost_accuracy kept in each target's accuracy.json; prints Markdown.
"""

from __future__ import annotations

from hwopt.cost.card import table
from hwopt.cost.card_accuracy import OURS, Entry, read_results
from hwopt.registry import all_targets

COLUMNS = (
    "target", "refine", "networks", "MAPE %", "within 5 %", "within 10 %", "worst %",
    "rewrites", "counted", "right sign %", "best peer's MAPE %",
)  # fmt: skip


def main() -> None:
    """Prints the table."""
    rows = []
    for target in all_targets():
        entries = read_results(target.folder).entries
        peers = [entry.networks.mape for entry in entries if entry.predictor != OURS]
        ours = sorted((e for e in entries if e.predictor == OURS), key=lambda e: (e.recipe, e.refine))
        rows += [_row(target.name, entry, min(peers, default=None)) for entry in ours]
    print(table(COLUMNS, rows))


def _row(name: str, entry: Entry, peer: float | None) -> list[str]:
    nets, rewrites = entry.networks, entry.rewrites
    return [
        name,
        str(entry.refine),
        str(nets.number),
        f"{nets.mape:.2f}",
        f"{nets.within_5:.1f}",
        f"{nets.within_10:.1f}",
        f"{nets.worst:.1f}",
        str(rewrites.number),
        str(rewrites.moving),
        f"{rewrites.right_sign:.1f}",
        "" if peer is None else f"{peer:.2f}",
    ]


if __name__ == "__main__":
    main()
