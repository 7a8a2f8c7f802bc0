"""OUT.onnx and its siblings: all written beside their names, checked, then renamed, the ONNX last.

    with staged(out, force) as stage:
        saved = save_model(model, stage.onnx)      # or copy the unchanged input there
        ...                                        # verify the file that will be delivered
        written = stage.publish(plan, report)

Whatever happens before `publish` leaves no file behind. Whatever happens while it gives the names, kill -9
among it, ends with all of them or with what was there before (`hwopt.files.publication`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hwopt.errors import BadInput
from hwopt.files.leftovers import flush_file
from hwopt.files.publication import publish_together
from hwopt.files.scratch import alone_in, claim
from hwopt.report.html import to_html
from hwopt.report.jsonable import Json, json_text, to_json
from hwopt.report.markdown import to_markdown
from hwopt.report.schema import OutputInfo, Report

OUTPUT_KEY = "output_sha256"


@dataclass(frozen=True)
class OutputFiles:
    """The names of everything that one run writes; `data` only where weights exceed one file."""

    onnx: Path
    data: Path
    plan: Path
    report_json: Path
    report_md: Path
    report_html: Path

    @staticmethod
    def beside(out: Path) -> OutputFiles:
        """OUT.onnx, OUT.onnx.data, OUT.plan.json, and OUT.report.json, .md and .html."""
        stem = out.name.removesuffix(".onnx")
        return OutputFiles(
            onnx=out,
            data=out.with_name(out.name + ".data"),
            plan=out.with_name(stem + ".plan.json"),
            report_json=out.with_name(stem + ".report.json"),
            report_md=out.with_name(stem + ".report.md"),
            report_html=out.with_name(stem + ".report.html"),
        )

    @property
    def partial_plan(self) -> Path:
        """OUT.partial.plan.json: the best plan of a run that was interrupted, until one is complete."""
        return self.plan.with_name(self.plan.name.removesuffix(".plan.json") + ".partial.plan.json")

    def in_order(self) -> tuple[Path, ...]:
        """In the order in which they get their names: the ONNX file last."""
        return (self.data, self.plan, self.report_json, self.report_md, self.report_html, self.onnx)


@dataclass(frozen=True)
class Stage:
    """A folder beside the output where the run's files are made. onnx: put the model here.

    force: whether the files may replace others.
    """

    folder: Path
    files: OutputFiles
    force: bool = False

    @property
    def onnx(self) -> Path:
        return self.folder / self.files.onnx.name

    def publish(self, plan: Mapping[str, Json], report: Report) -> tuple[Path, ...]:
        """Gives all files their names and returns those, the ONNX file first.

        plan: as it is to be read back; the ONNX file's SHA-256 is added as `output_sha256`.
        Raises BadInput where the disk refuses, or where another run was faster.
        """
        try:
            with self.onnx.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            report = replace(report, output=OutputInfo(str(self.files.onnx), sha256))
            self._draft(self.files.plan, json_text({**plan, OUTPUT_KEY: sha256}))
            self._draft(self.files.report_json, json_text(to_json(report)))
            self._draft(self.files.report_md, to_markdown(report))
            self._draft(self.files.report_html, to_html(report))
            names = [path.name for path in self.files.in_order() if (self.folder / path.name).exists()]
            with alone_in(self.folder.parent):
                check_output(self.files.onnx, self.force)
                publish_together(self.folder, names, self._replaced())
                self.files.partial_plan.unlink(missing_ok=True)
        except OSError as error:
            raise not_written(self.files.onnx, error) from None
        return tuple(self.files.onnx.with_name(name) for name in reversed(names))

    def _draft(self, path: Path, text: str) -> None:
        (self.folder / path.name).write_text(text, "utf-8")

    def _replaced(self) -> list[str]:
        """Files of an earlier result that go, the ONNX file first; its weights go with it."""
        there = [path.name for path in reversed(self.files.in_order()) if path.exists()]
        return [name for name in there if name != self.files.data.name or self.files.onnx.exists()]


@contextmanager
def staged(out: Path, force: bool = False) -> Iterator[Stage]:
    """A stage for OUT.onnx, removed at the end whatever happens; no other run has one meanwhile.

    What a run that was killed left there is cleared up first. Raises BadInput where a file of the run
    exists and `force` is not set, where OUT is a folder or does not end in .onnx, where its folder is
    missing or not writable, or where another run is making the same file.
    """
    _check_place(out)
    with claim(out, lambda: check_output(out, force)) as folder:
        yield Stage(folder, OutputFiles.beside(out), force)


def check_output(out: Path, force: bool) -> None:
    """Raises BadInput where OUT.onnx or a sibling must not be written; asked before any work."""
    _check_place(out)
    for path in OutputFiles.beside(out).in_order():
        refuse_to_overwrite(path, force)


def _check_place(out: Path) -> None:
    if out.suffix != ".onnx":
        raise BadInput(f"{out}: an output file ends in .onnx")
    if not out.parent.is_dir():
        raise BadInput(f"{out.parent} is not a folder: make it first")


def refuse_to_overwrite(path: Path, force: bool) -> None:
    """Raises BadInput for a folder, or a file that exists and may not be overwritten."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder: choose another name for the output")
    if path.exists() and not force:
        raise BadInput(f"{path} exists: choose another name or pass --force")


def not_written(path: Path, error: OSError) -> BadInput:
    """What to say of a disk that refuses."""
    return BadInput(f"{path} cannot be written: {error.strerror or error}")


def publish(draft: Path, path: Path) -> None:
    """Flushes to disk first, so that a crash leaves the old file or the whole new one."""
    flush_file(draft)
    os.replace(draft, path)
