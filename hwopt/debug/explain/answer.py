"""`hwopt explain`: all values of a choice, priced, and what decided; and why a node was left alone.

The same chain as `optimize` runs up to its decision; nothing is written. What is said of a choice is read off
the same tables, by the same functions, as the report of a run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from hwopt import __version__
from hwopt.debug.explain.choice import ChoiceExplained, ChoiceLine, choice_explained, line
from hwopt.debug.explain.nodes import NodesExplained, nodes_explained, out_of_reach
from hwopt.debug.explain.run import Run, decide_only
from hwopt.errors import BadInput
from hwopt.hints.names import Book, node_names
from hwopt.report.build import target_info
from hwopt.report.schema import TargetInfo, Tool
from hwopt.settings import Options, settings
from hwopt.stopping import Stop
from hwopt.target import Target
from hwopt.trace import Listeners, stage
from hwopt.versions import versions
from hwopt.work import CalibrationLike, ModelLike, open_work

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Explanation:
    """The answer.

    asked: what was asked for; "" for the list of all choices, which `listed` is. outcome: "changed" or
    "unchanged", as a run would end; else why no plan keeps the limits, and what is said of a plan is said of
    the closest one. unproved: of an unchanged one, why nothing could be held against the input; else "".
    """

    tool: Tool
    model: str
    target: TargetInfo
    outcome: str
    asked: str
    choices: tuple[ChoiceExplained, ...] = ()
    nodes: NodesExplained | None = None
    listed: tuple[ChoiceLine, ...] = ()
    unproved: str = ""
    schema_version: int = SCHEMA_VERSION


def explain(
    model: ModelLike,
    *,
    target: str | Path | Target,
    choice: str = "",
    calib: CalibrationLike | None = None,
    labels: str | Path | None = None,
    preprocess: str | Path | None = None,
    listeners: Listeners = (),
    **options: Unpack[Options],
) -> Explanation:
    """Explains a choice, or what became of a node.

    choice: an id, the beginning of one, or the name of a node; "" lists all choices. The other parameters
    are those of `hwopt.optimize`. Limits that cannot be met are part of the answer. Raises BadInput for
    what cannot be used, and for a name that nobody knows.
    """
    chosen = settings(**options)
    with stage(listeners, "load"):
        work = open_work(model, target, chosen, calib, labels, preprocess, Stop(chosen.time_limit))
    return answer(decide_only(work, listeners), choice)


def answer(run: Run, asked: str) -> Explanation:
    """What a run says of a choice or a node; of every choice where nothing is asked for."""
    outcome = run.decided.refused or ("unchanged" if run.decided.unchanged else "changed")
    tool = Tool("hwopt", __version__, versions())
    head = Explanation(tool, run.work.path, target_info(run.work), outcome, asked, unproved=run.unproved)
    if not asked:
        return replace(head, listed=tuple(line(run, choice) for choice in run.offered.values()))
    book = Book(_wrong, run.offered, node_names(run.work.model))
    family, _, rest = asked.partition(":")
    places = book.nodes.get(asked) or (book.nodes.get(rest, frozenset()) if family else frozenset())
    found = book.named(asked)
    if not places and not found and (unseen := out_of_reach(run, asked)) is not None:
        return replace(head, nodes=unseen)
    if not places:
        one = book.choice(asked, asked)
        return replace(
            head, choices=(choice_explained(run, one),), nodes=nodes_explained(run, one.places, one)
        )
    found.sort(key=lambda choice: choice.id.partition(":")[2] not in places)  # those of the node itself first
    return replace(
        head,
        choices=tuple(choice_explained(run, choice) for choice in found),
        nodes=nodes_explained(run, places),
    )


def _wrong(asked: str, what: str) -> BadInput:
    return BadInput(f"--choice {asked}: it {what}; without --choice all of them are listed")
