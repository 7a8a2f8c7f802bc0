"""OUT.report.html: what it says, that names cannot break it, that it asks for nothing, and its colours."""

from __future__ import annotations

import re
import tomllib
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import pytest

import hwopt
from hwopt.estimate import Estimate, Source
from hwopt.report import html_story, html_tables, words
from hwopt.report import schema as s
from hwopt.report.html import to_html
from hwopt.report.html_safe import bounded, visible
from tests.graphs import classifier
from tests.report import pages


class Page(HTMLParser):
    """The page as a browser sees it: tags with their attributes, and text outside of script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag not in ("bdi", "span", "strong"):
            self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def page() -> str:
    return to_html(pages.usual())


@pytest.fixture(scope="module")
def text(page: str) -> str:
    return Page(page).text


def test_the_verdict_says_how_much_by_whose_word_and_what_it_cost(text: str) -> None:
    assert (
        "Runs 2.5 times as fast (compiled), with 50.0% less peak memory and 40.0% less weight size; "
        "it cost 1.5 points of top1, measured on 400 samples." in text
    )


@pytest.mark.parametrize(
    "said",
    [
        "2.5 ms → 1 ms",
        "compiled, at int8: zigzag's own model, no device",
        "predicted: 2.55 ms ± 51 us → 1.02 ms ± 20 us (-60.0%)",
        "12 KB → 6 KB",
        "computed: counted from the graph",
        "90.75% → 89.25%",
        "95% interval of the drop: -0.33 to 3.33 points",
    ],
)
def test_each_headline_figure_has_its_source_and_precision(text: str, said: str) -> None:
    assert said in text


def test_what_gained_most_comes_first_and_folds_count_as_one() -> None:
    gains = html_tables.top_gains(pages.usual())
    assert [gain.title for gain in gains][:2] == ["1 fold all over the model", "block3 (2 operators)"]
    fold = gains[0].gain
    assert isinstance(fold, Estimate)
    assert fold.value == pytest.approx(2550 - 2000)  # the plan that keeps everything else
    assert gains[1].how == "1x1 Conv, depthwise Conv --> KxK Conv"
    assert gains[1].share == pytest.approx(23 / 2550)


def test_the_gain_of_folds_never_takes_a_compiled_figure_from_a_predicted_one() -> None:
    report = pages.usual()
    plans = [
        replace(row, latency_us=replace(row.latency_us, source=Source.COMPILED)) if not row.values else row
        for row in report.pareto
    ]
    compiled = html_tables.top_gains(replace(report, pareto=tuple(plans)))[0].gain
    assert isinstance(compiled, Estimate)
    assert compiled.value == pytest.approx(2500 - 2000)
    assert compiled.source == Source.COMPILED
    alone = replace(report, pareto=tuple(plans), verification=s.Missing("nobody was asked"))
    mixed = html_tables.top_gains(alone)[0].gain
    assert isinstance(mixed, Estimate)
    assert mixed.source == Source.PREDICTED


def test_every_part_of_the_report_is_there(text: str) -> None:
    for part in (
        "Why it is faster, and what it cost",
        "Latency by subgraph",
        "What bounds the time, before: 60%",
        "Peak before: 10 KB alive at block1.conv, of which block1.out 9 KB",
        "Roofline",
        "4 of 5 choices were changed",
        "its damage is better spent elsewhere",
        "3 values: keep, dense, fused",
        "folds are priced together: see before and after",
        "gains nothing from zeros",
        "BatchNorm → folded away",
        "the same as the input's",
        "largest difference to the input's 0.9",
        "peak memory unavailable: this oracle does not tell",
        "max_drop 0.02: met, at 0.015 (measured)",
        "By its tables no plan can be more than 0.2% better",
        "1 plan was repaired and measured",
        "one subgraph is extrapolated",
        "hwopt optimize model.onnx --target edge-npu --calib data -o out.onnx",
        "python 3.11.7",
        "400 samples with labels, 5 folds",
        "Accuracy (top1, fp32): 400 samples, cross-fitted",
    ):
        assert part in text, part
    for sha256 in ("a" * 64, "b" * 64, "c" * 64, "d" * 64):
        assert sha256 in text


def test_an_analysis_says_what_it_is_and_names_what_has_no_price() -> None:
    text = Page(to_html(pages.analysed())).text
    assert "An analysis, nothing was changed: one run takes 2.55 ms on edge-npu (predicted)." in text
    assert "1 operator has no price on this target" in text
    assert "no engine runs it" in text
    assert "the oracle was not asked: --measure does" in text
    assert "Decisions" not in text


def test_plans_without_damage_are_a_table_and_no_chart() -> None:
    report = pages.usual()
    report = replace(report, pareto=tuple(replace(row, damage=0.0) for row in report.pareto))
    page = to_html(report)
    assert "None of them does any damage." in Page(page).text
    assert "low is milder" not in page


def test_an_unchanged_model_says_why() -> None:
    text = Page(to_html(pages.unchanged())).text
    assert "The model came back unchanged: on edge-npu no plan beats it within the limits." in text
    assert "3 choices were looked at, and none was changed" in text
    assert "its damage is better spent elsewhere" in text


def test_limits_that_cannot_be_met_are_a_verdict() -> None:
    assert "cannot be met" in html_story.verdict(
        replace(pages.usual(), outcome=s.Outcome.BUDGET_NOT_MET, after=s.Missing("none"))
    )


def test_what_is_missing_says_why() -> None:
    report = pages.usual()
    gone = s.Missing("no operator has a price")
    report = replace(
        report,
        before=replace(report.before, latency_us=gone),
        after=replace(report.before, latency_us=gone),
        accuracy=s.Missing("no labels"),
        verification=s.Missing("it was a dry run"),
        search=s.Missing("a plan was replayed"),
        output=s.Missing("a dry run writes nothing"),
    )
    text = Page(to_html(report)).text
    for reason in (
        "no operator has a price",
        "no labels",
        "it was a dry run",
        "was replayed",
        "writes nothing",
    ):
        assert reason in text


@pytest.mark.parametrize(
    ("minimize", "before", "after", "start"),
    [
        ("latency", 1000.0, 950.0, "Takes 5.0% less time (predicted), with"),
        ("latency", 1000.0, 1100.0, "Takes 10.0% more time (predicted), with"),
        (
            "memory",
            1000.0,
            500.0,
            "Needs 50.0% less peak memory, with 40.0% less weight size and latency that",
        ),
        ("size", 1000.0, 500.0, "Needs 40.0% less weight size, with 50.0% less peak memory"),
    ],
)
def test_the_verdict_begins_with_what_was_asked_for(
    minimize: str, before: float, after: float, start: str
) -> None:
    report = pages.usual()
    assert isinstance(report.after, s.Costs)
    report = replace(
        report,
        budget=s.Budget(minimize),
        before=replace(report.before, latency_us=Estimate(before, 1, Source.PREDICTED)),
        after=replace(report.after, latency_us=Estimate(after, 1, Source.PREDICTED)),
        verification=s.Missing("not asked"),
    )
    assert html_story.verdict(report).startswith(start)


def test_a_page_asks_for_nothing_and_names_the_one_script_that_may_run(page: str) -> None:
    found = Page(page)
    for tag, attributes in found.tags:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "action", "srcset", "poster"):
                assert value is not None
                assert value.startswith(("#", "data:,")), (tag, name, value)
            assert not name.startswith("on"), (tag, name)
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page
    policy = next(a["content"] or "" for tag, a in found.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    assert "script-src 'sha256-" in policy
    assert found.count("script") == 1


def test_the_templates_go_into_the_wheel() -> None:
    project = tomllib.loads((Path(__file__).parent.parent.parent / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["hwopt.report"]
    folder = Path(__file__).parent.parent.parent / "hwopt" / "report"
    covered = {path for pattern in patterns for path in folder.glob(pattern)}
    assert {path for path in (folder / "templates").iterdir() if path.is_file()} <= covered


def test_axes_are_labelled_with_plain_numbers(page: str) -> None:
    assert "mathdefault" not in page
    assert re.search(r"<text[^>]*>100</text>", page)


def test_the_same_report_gives_the_same_bytes(page: str) -> None:
    assert to_html(pages.usual()) == page


def test_ids_are_there_once_and_each_reference_has_its_own(page: str) -> None:
    ids = [a["id"] for _, a in Page(page).tags if "id" in a]
    assert len(ids) == len(set(ids))
    referred = set(re.findall(r"url\(#([^)]+)\)", page)) | set(re.findall(r'href="#([^"]+)"', page))
    assert referred <= {name for name in ids if name}


@pytest.mark.parametrize("number", range(len(pages.HOSTILE)))
def test_a_hostile_name_is_only_a_name(number: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = to_html(pages.hostile(pages.HOSTILE[number]))
    plain = Page(to_html(replace(pages.hostile("name"), pareto=pages.usual().pareto)))
    found = Page(page)
    assert {tag for tag, _ in found.tags} == {tag for tag, _ in plain.tags}
    assert found.count("script") == 1
    assert "img" not in {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert "\u202e" not in page
    assert len(page) < 400_000
    assert ">49<" not in page  # no template in a name is filled in


def test_letters_that_nobody_sees_are_shown_and_long_words_keep_their_ends() -> None:
    assert visible("a\u202eb\x00c\u200d") == "a\\u202eb\\u0000c\\u200d"
    assert visible("Größe 層 ±") == "Größe 層 ±"
    one, two = bounded("x" * 500 + "1"), bounded("x" * 500 + "2")
    assert one != two
    assert len(one) < 160
    assert bounded("short words " * 20) == "short words " * 20


def test_the_page_of_a_real_run_says_what_its_report_says() -> None:
    report = hwopt.optimize(classifier(), target="edge-npu", refine=0).report
    text = Page(to_html(report)).text
    assert "The model came back unchanged" in text
    for row in words.summary(report):
        for cell in (row.what, row.before, row.after, row.source):
            assert cell in text, cell
    for skipped in report.skipped:
        assert skipped.reason in text
    for name in {node for row in report.subgraphs.before for node in row.nodes[:1]}:
        assert name in text


def test_a_thousand_choices_stay_below_six_megabytes() -> None:
    assert len(to_html(pages.large()).encode()) < 6_000_000


def variables(theme: str) -> dict[str, tuple[float, float, float]]:
    """The colours of a theme, as shares of red, green and blue."""
    css = files("hwopt.report").joinpath("templates", "report.css").read_text("utf-8")
    block = next(
        b for b in re.findall(r"\{([^{}]*color-scheme[^{}]*)\}", css) if f"color-scheme: {theme};" in b
    )
    found = re.findall(r"--([\w-]+): #([0-9a-f]{6});", block)
    return {name: (int(v[:2], 16) / 255, int(v[2:4], 16) / 255, int(v[4:], 16) / 255) for name, v in found}


def linear(colour: tuple[float, float, float]) -> list[float]:
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]


def contrast(one: tuple[float, float, float], two: tuple[float, float, float]) -> float:
    """WCAG 2.2, contrast ratio."""
    light = [sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(x), strict=True)) for x in (one, two)]
    return (max(light) + 0.05) / (min(light) + 0.05)


MARKS = ("before", "after", "compute", "on-chip", "off-chip", "accent")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_and_texts_stand_out_from_the_paper(theme: str) -> None:
    found = variables(theme)
    for mark in MARKS:
        assert contrast(found[f"ink-{mark}"], found["ink-paper"]) >= 3.0, mark
    for name in ("text", "muted", "link", "good", "bad", "ink-text", "ink-muted", "ink-accent"):
        for paper in ("paper", "raised"):
            assert contrast(found[name], found[paper]) >= 4.5, (name, paper)


# Viénot, Brettel and Mollon, "Digital video colourmaps for checking the legibility of displays by
# dichromats" (1999): linear RGB as protanopes and deuteranopes see it.
DICHROMATS = {
    "protan": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
    "deutan": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
}


def lab(rgb: list[float]) -> tuple[float, float, float]:
    """CIE L*a*b* of linear sRGB, D65."""
    rows = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    xyz = [
        sum(w * c for w, c in zip(row, rgb, strict=True)) / w0 for row, w0 in zip(rows, white, strict=True)
    ]
    x, y, z = (max(v, 0.0) ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("eyes", sorted(DICHROMATS))
def test_what_bounds_a_subgraph_can_be_told_apart_by_colour_blind_people(theme: str, eyes: str) -> None:
    found = variables(theme)
    for one, two in combinations(("compute", "on-chip", "off-chip"), 2):
        seen = [
            lab(
                [
                    sum(w * c for w, c in zip(row, linear(found[f"ink-{name}"]), strict=True))
                    for row in DICHROMATS[eyes]
                ]
            )
            for name in (one, two)
        ]
        distance = sum((a - b) ** 2 for a, b in zip(*seen, strict=True)) ** 0.5
        assert distance > 20, (one, two, distance)
