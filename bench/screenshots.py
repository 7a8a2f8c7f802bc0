"""Pictures of a report for README and docs: light, dark, and on a phone.

    python -m bench.screenshots OUT.report.json docs/images

The report is rendered anew, so that the pictures show the page as it is now. Needs playwright and a Chromium.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from hwopt.report.html import to_html
from hwopt.report.read import read_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser

COLOURS = 128  # of the palette: a page has few, and the files stay small


@dataclass(frozen=True)
class Shot:
    """One picture: the top of the page on a screen of that size."""

    name: str
    theme: Literal["light", "dark"]
    width: int
    height: int
    start: str = ""  # the section to begin with; the top where it is empty


SHOTS = (
    Shot("report-light", "light", 1280, 1180),
    Shot("report-dark", "dark", 1280, 1180),
    Shot("report-charts", "light", 1280, 1080, "latency"),
    Shot("report-phone", "light", 390, 1100),
)


def main(report: Path, folder: Path) -> None:
    """Writes one PNG for each shot."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with TemporaryDirectory() as place, sync_playwright() as player:
        page = Path(place, "report.html")
        page.write_text(to_html(read_report(report)), "utf-8")
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for shot in SHOTS:
            (folder / f"{shot.name}.png").write_bytes(small(taken(browser, page, shot)))
        browser.close()


def taken(browser: Browser, path: Path, shot: Shot) -> bytes:
    """The picture as the browser makes it."""
    size = {"width": shot.width, "height": shot.height}
    page = browser.new_page(viewport=size, color_scheme=shot.theme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(path.as_uri() + (f"#{shot.start}" if shot.start else ""))
    picture = page.screenshot()
    page.close()
    return picture


def small(picture: bytes) -> bytes:
    """The same picture with a palette."""
    from PIL import Image

    file = BytesIO()
    image = Image.open(BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
