"""The page in a real browser: it draws, sorts, filters, prints, and asks the network for nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hwopt.report.html import to_html
from hwopt.report.schema import Report
from tests.report import pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync", "--no-first-run"]
WIDTHS = [390, 1280]
REPORTS: dict[str, Callable[[], Report]] = {
    "usual": pages.usual,
    "analysed": pages.analysed,
    "unchanged": pages.unchanged,
    "long": partial(pages.hostile, pages.LONG),
    "hostile": partial(pages.hostile, f"{pages.SCRIPT}{pages.QUOTES}{pages.BIDI}{pages.ODD}"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a page for each report."""
    folder = tmp_path_factory.mktemp("pages")
    for name, make in REPORTS.items():
        (folder / f"{name}.html").write_text(to_html(make()), "utf-8")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install hwopt[dev]"
    )
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    with api.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


class Opened:
    """A page that was opened, and everything that it said or asked for meanwhile."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(path.as_uri())

    def number(self, script: str) -> float:
        return float(self.page.evaluate(script))

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]


@pytest.fixture
def opened(browser: Browser, folder: Path) -> Iterator[Opened]:
    """The usual report on a wide screen."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield Opened(page, folder / "usual.html")
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", REPORTS)
def test_a_page_opens_without_a_word_a_request_or_a_scroll_bar(
    browser: Browser, folder: Path, name: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    opened = Opened(page, folder / f"{name}.html")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert opened.said == []
    assert opened.asked == [(folder / f"{name}.html").as_uri()] or opened.asked[1:] == ["data:,"]
    assert opened.number("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.broken") is None
    page.close()


@pytest.mark.parametrize(("width", "shown", "hidden"), [(1280, "wide", "narrow"), (390, "narrow", "wide")])
def test_charts_are_drawn_for_the_width_of_the_screen(
    opened: Opened, width: int, shown: str, hidden: str
) -> None:
    opened.page.set_viewport_size({"width": width, "height": 900})
    for section in ("latency", "memory", "pareto", "roofline"):
        chart = opened.page.locator(f"#{section} svg.{shown}")
        assert chart.is_visible(), section
        assert not opened.page.locator(f"#{section} svg.{hidden}").is_visible()
        marks = [mark.bounding_box() for mark in chart.locator(".mark").all()]
        drawn = [box for box in marks if box and box["width"] > 0 and box["height"] > 0]
        assert len(drawn) >= 3, section
        frame = chart.bounding_box()
        assert frame is not None
        assert frame["x"] + frame["width"] <= width


def first_cells(opened: Opened) -> list[str]:
    return opened.texts("#decision-table > tbody:not([hidden]) > tr:first-child > td:nth-child(2)")


def test_the_decision_table_sorts_by_a_click_and_by_enter(opened: Opened) -> None:
    rows = ["block3", "block2", "block1", "bn", "block4"]
    assert [text.split(".")[0] for text in first_cells(opened)] == rows
    head = opened.page.locator("#decision-table > thead th").nth(3)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [text.split(".")[0] for text in first_cells(opened)] == rows
    head.locator("button").focus()
    opened.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    ascending = ["block1", "block2", "block3", "bn", "block4"]  # without a gain: last either way
    assert [text.split(".")[0] for text in first_cells(opened)] == ascending
    name = opened.page.locator("#decision-table > thead th").nth(1)
    name.locator("button").click()
    assert head.get_attribute("aria-sort") is None
    assert [text.split(".")[0] for text in first_cells(opened)] == [
        "block1",
        "block2",
        "block3",
        "block4",
        "bn",
    ]
    values = opened.page.locator("#decision-table .more").first
    assert "block1" in (values.locator("xpath=..").text_content() or "")  # values move with their choice


def test_the_decision_table_filters(opened: Opened) -> None:
    opened.page.fill("#find", "fuse_ibn BLOCK3")
    assert [text.split(".")[0] for text in first_cells(opened)] == ["block3"]
    assert opened.texts("#count") == ["1 of 5 shown"]
    opened.page.fill("#find", "")
    opened.page.check("#changed-only")
    assert opened.texts("#count") == ["4 of 5 shown"]
    assert all("block4" not in text for text in first_cells(opened))


def test_values_of_a_choice_expand(opened: Opened) -> None:
    values = opened.page.locator("#decision-table .more details").first
    assert not values.locator("table").is_visible()
    values.locator("summary").focus()
    opened.page.keyboard.press("Enter")
    assert values.locator("table").is_visible()


def background(opened: Opened) -> str:
    return str(opened.page.evaluate("getComputedStyle(document.body).backgroundColor"))


def ink(opened: Opened) -> str:
    script = "getComputedStyle(document.documentElement).getPropertyValue('--ink-text').trim()"
    return str(opened.page.evaluate(script))


def test_dark_and_light_follow_the_system_and_the_reader(opened: Opened) -> None:
    assert (background(opened), ink(opened)) == ("rgb(255, 255, 255)", "#16191d")
    opened.page.emulate_media(color_scheme="dark")
    dark = (background(opened), ink(opened))
    assert dark == ("rgb(20, 23, 27)", "#e8eaed")
    opened.page.locator("#theme-light").focus()
    opened.page.keyboard.press("Space")
    assert background(opened) == "rgb(255, 255, 255)"
    opened.page.keyboard.press("ArrowRight")
    opened.page.emulate_media(color_scheme="light")
    assert (background(opened), ink(opened)) == dark


def test_the_keyboard_reaches_the_report_its_tables_and_the_heads_that_sort(opened: Opened) -> None:
    reached = []
    for _ in range(60):
        opened.page.keyboard.press("Tab")
        reached.append(str(opened.page.evaluate("document.activeElement.outerHTML.slice(0, 90)")))
    assert 'class="skip"' in reached[0]
    for part in ("theme-auto", "<summary", 'href="#why"', 'id="find"', "changed-only", "<button"):
        assert any(part in text for text in reached), part


def test_the_command_is_copied(opened: Opened) -> None:
    opened.page.locator("#copy").click()
    opened.page.wait_for_function("document.getElementById('copied').textContent !== ''")
    assert opened.texts("#copied")[0] in ("Copied.", *CANNOT_COPY)


CANNOT_COPY = ("The browser does not allow it: the command is selected, press Ctrl+C.",)


def test_print_is_light_and_whole(opened: Opened) -> None:
    opened.page.check("#theme-dark", force=True)
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert background(opened) == "rgb(255, 255, 255)"
    for hidden in ("nav", ".tools", ".theme", "#copy"):
        assert not opened.page.locator(hidden).first.is_visible()
    cut = "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollHeight > one.clientHeight + 1)"
    assert opened.number(f"{cut}.length") == 0
    assert opened.page.pdf(format="A4").startswith(b"%PDF")


def test_everything_is_there_without_a_script(browser: Browser, folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "usual.html").as_uri())
    assert page.locator("#decision-table > tbody").count() == 5
    assert page.locator("#decision-table > tbody").last.is_visible()
    assert not page.locator("#copy").is_visible()
    assert not page.locator(".tools").is_visible()
    assert page.locator("thead button").count() == 0
    context.close()
