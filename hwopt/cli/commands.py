"""Which commands there are, in the order in which a user meets them, and where the code of each one is.

A command's module is imported when that command is wanted, so that `hwopt --help` and shell completion
stay quick. A new command is one row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Command:
    """One command. where: MODULE:FUNCTION. purpose: one sentence for the list of commands."""

    name: str
    where: str
    purpose: str

    def function(self) -> Callable[..., object]:
        """What runs it; imports its module."""
        module, _, name = self.where.partition(":")
        found: Callable[..., object] = getattr(import_module(module), name)
        return found


@dataclass(frozen=True)
class Group:
    """Commands under one word: `hwopt targets list`."""

    name: str
    purpose: str
    commands: tuple[Command, ...]


Entry = Command | Group

COMMANDS: tuple[Entry, ...] = (
    Command("analyze", "hwopt.cli.analyze:analyze", "Show what a model costs on a target, part by part."),
    Command("optimize", "hwopt.cli.optimize:optimize", "Rewrite a model for a target, and prove the result."),
    Command("explain", "hwopt.cli.explain:explain", "Show why a part was rewritten, or left as it is."),
    Command("compare", "hwopt.cli.compare:compare", "Run two models side by side: where do they differ?"),
    Command("bisect", "hwopt.cli.bisect:bisect", "Find the step of a plan that breaks a check."),
    Command("report", "hwopt.cli.report:report", "Show a report again, as HTML too, or compare two."),
    Command("check", "hwopt.cli.check:check", "Hold a report against limits: a gate for pipelines."),
    Group(
        "targets",
        "The accelerators there are, and making your own.",
        (
            Command("list", "hwopt.cli.targets:targets_list", "Every accelerator that can be named."),
            Command("show", "hwopt.cli.targets:targets_show", "One accelerator: hardware, rules, accuracy."),
            Command("new", "hwopt.cli.targets:targets_new", "Start one of your own: a file to fill in."),
            Command(
                "measure", "hwopt.cli.measure:targets_measure", "Measure what its cost model is made of."
            ),
            Command("fit", "hwopt.cli.fit:targets_fit", "Fit its cost model, and say how good it is."),
            Command("check", "hwopt.cli.targets_check:targets_check", "Tell whether it can be trusted."),
        ),
    ),
    Group(
        "passes",
        "The rewrites there are.",
        (Command("list", "hwopt.cli.passes:passes_list", "Every rewrite: its risk, and what it does."),),
    ),
)


def commands() -> Iterator[tuple[str, Command]]:
    """Every command with its words, such as `targets list`."""
    for entry in COMMANDS:
        if isinstance(entry, Group):
            yield from ((f"{entry.name} {item.name}", item) for item in entry.commands)
        else:
            yield entry.name, entry
