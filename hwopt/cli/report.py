"""`hwopt report`: a report shown again, or written in another form; two reports compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt.cli import show as cli_show
from hwopt.cli.common import print_json, print_object
from hwopt.errors import BadInput

if TYPE_CHECKING:
    from hwopt.report.compare_runs import Comparison
    from hwopt.report.schema import Report

_FORMS = (".html", ".md", ".csv")

First = Annotated[
    Path, typer.Argument(metavar="R.json", help="The OUT.report.json of a run.", show_default=False)
]
Second = Annotated[
    Path | None, typer.Argument(metavar="B.json", help="Another run: what differs?", show_default=False)
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write R.html, R.md, or R.csv (a row per subgraph); of two reports a .md.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite FILE.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report, or what differs, as JSON.")]


def report(
    one: First,
    two: Second = None,
    output: Output = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Show a report again, write it in another form, or compare two runs.

    A comparison names what differs in what went into the runs and in what came out (and whether that is more
    than noise), the choices that were decided differently and why, and the subgraphs whose time changed most.
    The exit code is 0 whatever it finds: hwopt check is the one that judges.

    Examples:
        hwopt report out.report.json
        hwopt report out.report.json -o out.report.html
        hwopt report out.report.json -o subgraphs.csv
        hwopt report before.report.json after.report.json
        hwopt report before.report.json after.report.json -o difference.md
    """
    from hwopt.report.read import read_report

    if output is not None:
        _check_output(output, two is not None, force)
    first = read_report(one)
    if two is None:
        _one(first, output, as_json)
    else:
        _two((str(one), str(two)), (first, read_report(two)), output, as_json)


def _check_output(path: Path, comparing: bool, force: bool) -> None:
    """Raises BadInput where nothing can be written there; asked before any work."""
    from hwopt.report.write import refuse_to_overwrite

    if path.suffix.lower() not in _FORMS:
        raise BadInput(f"{path}: name a file that ends in {', '.join(_FORMS)}")
    if comparing and path.suffix.lower() != ".md":
        raise BadInput(f"{path}: a comparison is written as Markdown: name a file that ends in .md")
    if not path.parent.is_dir():
        raise BadInput(f"{path.parent} is not a folder: make it first")
    refuse_to_overwrite(path, force)


def _one(found: Report, output: Path | None, as_json: bool) -> None:
    if output is not None:
        write_text(output, rendered(found, output.suffix.lower()))
    if as_json:
        print_json(found)
    elif output is not None:
        print(f"wrote {output}")
    else:
        _show(found)


def _show(found: Report) -> None:
    """As the command that made it did."""
    from hwopt.report.schema import Outcome

    if found.outcome == Outcome.ANALYSED:
        cli_show.show_analysis(found)
    else:
        cli_show.show_result(found, ())


def rendered(found: Report, form: str) -> str:
    """The report in the form that a file's ending names: .html, .md, else a row per subgraph."""
    if form == ".html":
        from hwopt.report.html import to_html

        return to_html(found)
    if form == ".md":
        from hwopt.report.markdown import to_markdown

        return to_markdown(found)
    from hwopt.report.csv_table import to_csv

    return to_csv(found)


def write_text(path: Path, text: str) -> None:
    """The whole file or none. Raises BadInput where the disk refuses."""
    from hwopt.files.scratch import workshop
    from hwopt.report.write import publish

    try:
        with workshop(path) as folder:
            draft = folder / path.name
            draft.write_text(text, "utf-8")
            publish(draft, path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}") from None


def _two(paths: tuple[str, str], reports: tuple[Report, Report], output: Path | None, as_json: bool) -> None:
    from hwopt.report import compare_text as text
    from hwopt.report.compare_runs import compare_runs

    found = compare_runs(*reports)
    heads = [text.head(*run) for run in zip("AB", paths, reports, strict=True)]
    if output is not None:
        write_text(output, text.to_markdown(found, heads))
    if as_json:
        runs = {name: text.run(path, run) for name, path, run in zip("ab", paths, reports, strict=True)}
        print_object({**runs, **vars(found)})
    elif output is not None:
        print(f"wrote {output}")
    else:
        _show_comparison(found, heads)


def _show_comparison(found: Comparison, heads: list[str]) -> None:
    from hwopt.report import compare_text as text

    for line in (*heads, *(f"note: {note}" for note in found.notes)):
        print(line)
    if found.inputs:
        cli_show.show_table(text.INPUT_HEADER, [text.input_row(row) for row in found.inputs])
    else:
        print("what went in: the same in both")
    cli_show.show_table(text.RESULT_HEADER, [text.result_row(row) for row in text.shown_results(found)])
    for line in text.result_notes(found):
        print(f"note: {line}")
    _show_choices(found)
    if found.subgraphs:
        shown = found.subgraphs[: text.SHOWN]
        print(f"\nsubgraphs that differ: {len(found.subgraphs)}; the time of these changed most:")
        cli_show.show_table(text.SUBGRAPH_HEADER, [text.subgraph_row(row) for row in shown])


def _show_choices(found: Comparison) -> None:
    from hwopt.report import compare_text as text

    rows = text.searched(found)
    print(f"choices decided differently: {len(rows) or 'none'}")
    for row in rows[: text.SHOWN]:
        for line in text.choice_lines(row):
            print(line)
    if len(rows) > text.SHOWN:
        print(f"and {len(rows) - text.SHOWN} more (--json lists them all)")
    if line := text.folds_line(found):
        print(line)
