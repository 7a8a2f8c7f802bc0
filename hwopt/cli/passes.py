"""`hwopt passes list`: the rewrites there are."""

from __future__ import annotations

from typing import Annotated

import typer

from hwopt.cli import show as cli_show
from hwopt.cli.common import print_object

AsJson = Annotated[bool, typer.Option("--json", help="Print the list as JSON.")]


def passes_list(as_json: AsJson = False) -> None:
    """Every rewrite: its risk, and what it does.

    EXACT values are equal to the original up to float rounding, LOSSY ones need calibration data, RETRAIN
    ones training. The names are those that --passes and --disable take.

    Examples:
        hwopt passes list
        hwopt passes list --json
    """
    from hwopt.registry import all_passes

    found = all_passes()
    if as_json:
        rows = [{"name": p.name, "risk": p.risk.value, "summary": p.summary} for p in found]
        print_object({"passes": rows})
        return
    rows_shown = [[item.name, item.risk.value, item.summary] for item in found]
    cli_show.show_table(["pass", "risk", "before --> after"], rows_shown)
