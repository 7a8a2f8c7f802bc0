"""Hostile reports: `hwopt report` and `hwopt check` read what anybody may have written."""

from __future__ import annotations

import json
import os
import random
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import hwopt
from hwopt.cli.entry import main
from hwopt.cli.report import rendered
from hwopt.errors import BadInput
from hwopt.report.read import LARGEST_FILE, read_report
from tests.hostile.mutations import mutations, refused_by_command, refused_or_read

MODEL = Path(__file__).parents[2] / "models" / "figures" / "figures.onnx"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'></svg>]]>{{7*7}}{% raw %}\x1b[2J\u202e"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("run") / "out.onnx"
    hwopt.optimize(MODEL, target="edge-npu", output=out, refine=0)
    return out.with_name("out.report.json").read_text("utf-8")


@pytest.fixture
def table(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


class _Tags(HTMLParser):
    """The tags of a page, with the names of their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, [name for name, _ in attrs]))


def put(value: Any, words: str) -> Any:
    """The same report with words behind every text of it that is free."""
    fixed = {"computed", "predicted", "measured", "compiled", "changed", "exact", "lossy", "retrain"}
    if isinstance(value, dict):
        return {
            key: item if key in ("schema_version", "bound") else put(item, words)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [put(item, words) for item in value]
    return value + words if isinstance(value, str) and value not in fixed else value


def test_no_text_of_a_report_becomes_markup(table: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(put(table, MARKUP)), "utf-8")
    assert main(["report", str(tmp_path / "r.json"), "-o", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "&lt;script&gt;alert(1)" in page  # it is there, to be read
    assert "{{7*7}}{% raw %}" in page
    tags = _Tags()
    tags.feed(page)
    assert [name for name, _ in tags.found].count("script") == 1  # the page's own
    assert "img" not in [name for name, _ in tags.found]
    assert not [key for _, keys in tags.found for key in keys if key.startswith("on")]
    assert not set(page) & {"\x1b", "\u202e"}


@pytest.mark.parametrize("form", [".md", ".csv"])
def test_no_text_of_a_report_steers_a_terminal_that_shows_the_file(
    form: str, table: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.json").write_text(json.dumps(put(table, MARKUP)), "utf-8")
    for arguments in (["report", "r.json"], ["report", "r.json", "--json"], ["report", "r.json", "r.json"]):
        assert main([str(tmp_path / word) if word == "r.json" else word for word in arguments]) == 0
        said = capfd.readouterr()
        assert not set(said.out + said.err) & {"\x1b", "\u202e"}
    assert main(["report", str(tmp_path / "r.json"), "-o", str(tmp_path / f"r{form}")]) == 0
    assert (tmp_path / f"r{form}").stat().st_size > 1000


# Where something is put, what, and what must be said.
CHANGES: dict[str, tuple[tuple[str | int, ...], object, str]] = {
    "a latency below zero": (("subgraphs", "before", 0, "latency_us", "value"), -1, "latency_us is negative"),
    "a latency beyond all bounds": (("before", "latency_us", "value"), 1e300, "beyond all bounds"),
    "no nodes": (("subgraphs", "before", 0, "nodes"), [], "has no nodes"),
    "a bound that there is none of": (("subgraphs", "before", 0, "bound"), "x" * 9999, "bound is none of"),
    "a peak of no subgraph": (("before", "peak", "subgraph"), 10**9, "peak is of no subgraph"),
    "a peak before the first": (("before", "peak", "subgraph"), -1, "peak is of no subgraph"),
    "another schema": (("schema_version",), "9" * 10_000, "schema_version"),
    "a number of text": (("before", "macs"), "many", "macs"),
    "a list of nothing": (("choices",), {"a": 1}, "choices"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("command", [["report"], ["check", "--max-latency", "5ms"]])
def test_figures_that_cannot_be_are_refused(
    case: str, command: list[str], table: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, value, words = CHANGES[case]
    inner: Any = table
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (tmp_path / "r.json").write_text(json.dumps(table), "utf-8")
    refused_by_command([command[0], str(tmp_path / "r.json"), *command[1:]], tmp_path, capfd, "r.json", words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"seed": 0', '"seed": NaN', "is no number"),
        ('"seed": 0', '"seed": 1e999', "beyond all bounds"),
        ('"seed": 0', '"seed": ' + "9" * 5000, "is not JSON"),
        ('"seed": 0', '"seed": 0, "seed": 1', "given twice"),
        ('"seed": 0', '"seed": 0, "x": ' + "[" * 100_000, "nested beyond"),
    ],
)
def test_what_is_no_json_is_no_report(
    old: str, new: str, words: str, text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert old in text
    (tmp_path / "r.json").write_text(text.replace(old, new, 1), "utf-8")
    refused_by_command(["report", str(tmp_path / "r.json")], tmp_path, capfd, words)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(BadInput, match="not a file"):
            read_report(file)
    with (tmp_path / "huge").open("wb") as stream:
        stream.truncate(LARGEST_FILE + 1)
    with pytest.raises(BadInput, match="more than"):
        read_report(tmp_path / "huge")


NUMBERS = (1e18, 1e-320, 0, -1, -1e18, 10**18, 2**63, 0.5, True)
TEXTS = ("", MARKUP, "x" * 10_000, "nan", "../../etc/passwd", "\0")


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    inner = [leaf for key, item in items for leaf in _leaves(item, (*path, key))]
    return [*inner, path] if path else inner


def _replaced(table: Any, places: list[tuple[str | int, ...]], rng: random.Random) -> Any:
    """A copy in which some values became others of their kind."""
    made = json.loads(json.dumps(table))
    for _ in range(rng.choice((1, 2, 8))):
        place, inner = rng.choice(places), made
        try:
            for key in place[:-1]:
                inner = inner[key]
            old = inner[place[-1]]
        except (KeyError, IndexError, TypeError):  # an earlier change took it away
            continue
        kind: tuple[object, ...] = TEXTS if isinstance(old, str) else NUMBERS
        inner[place[-1]] = rng.choice(([], {}, None) if isinstance(old, list | dict) else kind)
    return made


def _hold(table: dict[str, Any], folder: Path, count: int, seed: int) -> None:
    rng, places, file, refused = random.Random(seed), _leaves(table), folder / "r.json", 0
    for _ in range(count):
        file.write_text(json.dumps(_replaced(table, places, rng)), "utf-8")
        refused += refused_or_read(lambda: _shown(file), file)
    assert refused < count


def _shown(file: Path) -> None:
    report = read_report(file)
    for form in (".html", ".md", ".csv"):
        assert rendered(report, form)
    assert main(["report", str(file)]) == 0
    assert main(["report", str(file), str(file)]) == 0
    assert main(["check", str(file), "--max-latency", "5ms", "--max-memory", "-5%"]) in (0, 1)


def test_reports_with_other_values_are_refused_or_shown(table: dict[str, Any], tmp_path: Path) -> None:
    _hold(table, tmp_path, 8, seed=0)


@pytest.mark.slow
def test_many_reports_with_other_values_are_refused_or_shown(table: dict[str, Any], tmp_path: Path) -> None:
    _hold(table, tmp_path, 200, seed=1)


def test_mutated_reports_are_refused_or_read(text: str, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    for data in mutations(text.encode(), 60, seed=0):
        file.write_bytes(data)
        refused_or_read(lambda: read_report(file), file)
