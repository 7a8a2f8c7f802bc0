"""Commands that explain themselves: help in sections, examples as they are typed, names guessed.

Plain text, because rich takes longer to import than everything else that a help page needs.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from hwopt.cli.commands import Command, Entry, Group
from hwopt.cli.config import effective, located, took
from hwopt.cli.debug import debug_level
from hwopt.errors import BadInput
from hwopt.wording import unknown

if TYPE_CHECKING:  # of click, or of the copy of it inside newer releases of typer
    from typer._click import Command as ClickCommand
    from typer._click import Context, HelpFormatter

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
OTHER = "Options"  # the heading of options that name no panel
_EXIT_CODES = ("0 done, 2 bad input or usage, 3 a bug in hwopt, 130 interrupted",)
_HEADING = re.compile(r"^([A-Z][a-z ]+):$")

Sections = dict[str, list[str]]


def sections(text: str) -> tuple[str, Sections]:
    """A docstring's prose, and what stands indented under headings such as `Examples:`."""
    prose: list[str] = []
    found: Sections = {}
    inside: list[str] | None = None
    for line in inspect.cleandoc(text).splitlines():
        heading = _HEADING.match(line)
        if heading:
            inside = found.setdefault(heading[1], [])
        elif inside is not None and (line.startswith(" ") or not line):
            inside += [line.strip()] if line else []
        else:
            inside = None
            prose.append(line)
    return "\n".join(prose).strip(), found


def _write_prose(text: str, formatter: HelpFormatter) -> None:
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(sections(text)[0])


def _write_sections(found: Sections, formatter: HelpFormatter) -> None:
    """Line by line, as they are written."""
    for heading, lines in found.items():
        with formatter.section(heading):
            for line in lines:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class HelpfulCommand(TyperCommand):
    """A command whose options stand under headings, and whose docstring may hold sections.

    `Examples:` and `Exit codes:` are shown as they are written, below the options. What is wrong with a value
    from a configuration is told with the line of that file.
    """

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Reads the command line, and the file that --config names."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            raise located(ctx, error) from None

    def invoke(self, ctx: Context) -> object:
        """Runs the command; with HWOPT_DEBUG it first says which settings hold, and why."""
        took(ctx)
        if debug_level():
            for name, value, who in effective(ctx):
                print(f"[{0:8.2f}s] setting   {name:<20} {value}  ({who})", file=sys.stderr)
        try:
            return super().invoke(ctx)
        except BadInput as error:
            raise located(ctx, error) from None

    def format_help_text(self, ctx: Context, formatter: HelpFormatter) -> None:
        """The prose of the docstring."""
        _write_prose(self.help or "", formatter)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Arguments, then options by panel, in the order of their first option; unnamed ones last."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        plain: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            argument = param.param_type_name == "argument"
            panel = "Arguments" if argument else getattr(param, "rich_help_panel", None)
            row = (record[0], record[1].replace("\\[", "["))  # some releases of typer write for rich
            (panels.setdefault(panel, []) if panel else plain).append(row)
        panels.setdefault(OTHER, []).extend(plain)
        for heading, rows in panels.items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        """The other sections of the docstring; exit codes, although it names none."""
        found = sections(self.help or "")[1]
        codes = found.pop("Exit codes", list(_EXIT_CODES))
        _write_sections({**found, "Exit codes": codes}, formatter)


class LazyGroup(TyperGroup):
    """Commands that are imported when they are wanted; a list of them needs none."""

    entries: Sequence[Entry] = ()

    def format_help_text(self, ctx: Context, formatter: HelpFormatter) -> None:
        """The prose of the docstring."""
        _write_prose(self.help or "", formatter)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """The commands first: they are what a reader came for."""
        self.format_commands(ctx, formatter)
        records = [record for param in self.get_params(ctx) if (record := param.get_help_record(ctx))]
        with formatter.section(OTHER):
            formatter.write_dl(records)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        """The other sections of the docstring."""
        _write_sections(sections(self.help or "")[1], formatter)

    def list_commands(self, ctx: Context) -> list[str]:
        """In the order in which a user meets them."""
        return [entry.name for entry in self.entries]

    def get_command(self, ctx: Context, cmd_name: str) -> ClickCommand | None:
        """Imports the command's module; None where there is no such command."""
        for entry in self.entries:
            if entry.name == cmd_name and cmd_name not in self.commands:
                self.commands[cmd_name] = made(entry)
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Each with its purpose."""
        with formatter.section("Commands"):
            formatter.write_dl([(entry.name, entry.purpose) for entry in self.entries])

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, ClickCommand | None, list[str]]:
        """The command that is meant. Raises BadInput, with a guess, for a word that is none."""
        names = self.list_commands(ctx)
        if args[0] in names or args[0].startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        raise BadInput(f"{unknown('command', args[0], names)} (see {ctx.command_path} --help)")


def made(entry: Entry) -> ClickCommand:
    """What click runs for a row of the table."""
    if isinstance(entry, Group):
        group = LazyGroup(name=entry.name, help=entry.purpose, rich_markup_mode=None)
        group.entries = entry.commands
        return group
    return made_of(entry.function(), entry)


def made_of(function: Callable[..., object], entry: Command) -> ClickCommand:
    """A command that runs the function; its docstring is the help."""
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(entry.name, cls=HelpfulCommand)(function)
    return get_command(alone)
