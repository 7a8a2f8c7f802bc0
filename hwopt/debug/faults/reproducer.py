"""When hwopt itself, or a pass, is at fault: a folder with what is needed to see it happen again.

    README.md       what happened, the line that shows it again, what each file is
    error.json      the same for programs: material, hashes, seed, versions
    traceback.txt
    reproduce.sh    the line
    plan.json       the plan up to and with the step that failed, or as far as the run had got
    model.onnx      the input: where it came from memory, or its file is small
    before.onnx     what the pass that broke down was handed: the model, or a region that was cut out of it
    after.onnx      what the steps had made of the model by then

Calibration data are never copied: error.json has their fingerprint. The folder lies in the system's folder
for temporary files, or in the folder of `--dump-dir`; never beside the model without being asked.
"""

from __future__ import annotations

import os
import shlex
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path

import onnx_ir as ir

from hwopt.debug.faults.incident import Asked, Incident, incident_of
from hwopt.debug.faults.incident_text import facts, readme
from hwopt.debug.faults.reproduction import Line, reproduction
from hwopt.deliver import has_external_data
from hwopt.errors import REPRODUCER, BadInput, HwoptError, InternalError, reason_of
from hwopt.files.scratch import system_folder
from hwopt.ir import model_bytes
from hwopt.partial import SoFar
from hwopt.report.jsonable import json_text

SMALL_BYTES = 64_000_000  # files up to this size are copied: the folder can be sent as it is
BUG = 3  # the exit code that comes with a folder


@contextmanager
def reproduced(asked: Asked, so_far: SoFar) -> Iterator[None]:
    """Writes the folder of whatever breaks down inside, and says where it is: `error.folder`.

    What nobody foresaw becomes an InternalError. What the user can mend goes through as it is.
    """
    try:
        yield
    except Exception as error:
        failure = as_bug(error)
        if failure is None:
            raise
        if REPRODUCER not in failure.details:
            with_folder(failure, incident_of(error, asked, so_far))
        if failure is error:
            raise
        raise failure from error


def as_bug(error: Exception) -> HwoptError | None:
    """The error as one that ends with exit code 3; None for those that the user can mend."""
    if isinstance(error, HwoptError):
        return error if error.exit_code == BUG else None
    return InternalError(error)


def with_folder(failure: HwoptError, incident: Incident) -> None:
    """Tells the failure where its folder is; that none could be written hides nothing."""
    try:
        folder = write_reproducer(incident)
    except Exception as error:
        failure.details = {**failure.details, REPRODUCER: None}
        failure.add_note(f"nothing could be kept of it: {reason_of(error)}")
    else:
        failure.details = {**failure.details, REPRODUCER: str(folder)}
        failure.add_note(f"what is needed to see it again is in {folder}")


def write_reproducer(incident: Incident) -> Path:
    """A new folder with everything that can be had of a failure.

    Files are written one by one, the small ones first; what cannot be written is named in error.json.
    Raises OSError where not even a folder can be made.
    """
    kept = Kept(_new_folder(incident.asked.dump_dir))
    kept.add("traceback.txt", lambda: "".join(traceback.format_exception(incident.error)).encode())
    plan = incident.plan
    if plan is not None:
        kept.add("plan.json", lambda: plan.text().encode())
    model = _keep_input(incident, kept)
    for name, made in (("before.onnx", incident.before), ("after.onnx", incident.after)):
        _keep_model(made, name, kept)
    line = reproduction(incident, model, kept.folder / "plan.json" if "plan.json" in kept.written else None)
    if line is not None:
        kept.add("reproduce.sh", lambda: _script(line).encode())
    kept.add("error.json", lambda: json_text(facts(incident, kept.written, kept.missing, line)).encode())
    kept.add("README.md", lambda: readme(incident, kept.written, line).encode())
    return kept.folder


@dataclass
class Kept:
    """What lies in the folder; missing: what should, and why it does not."""

    folder: Path
    written: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, content: Callable[[], bytes]) -> None:
        """Writes a file, or notes why there is none: half a file goes again."""
        path = self.folder / name
        try:
            path.write_bytes(content())
        except Exception as error:
            self.missing[name] = reason_of(error)
            path.unlink(missing_ok=True)
        else:
            self.written.append(name)


def _keep_model(model: ir.Model | None, name: str, kept: Kept) -> None:
    if model is not None:
        kept.add(name, lambda: model_bytes(model))


def _keep_input(incident: Incident, kept: Kept) -> Path | None:
    """Where the input lies as a file: in the folder, or where it came from."""
    given, work = incident.asked.model, incident.work
    if isinstance(given, ir.Model):
        _keep_model(given, "model.onnx", kept)
    elif given is not None and work is not None and not has_external_data(work.model):
        kept.add("model.onnx", lambda: _small_file(Path(given), work.sha256))
    if "model.onnx" in kept.written:
        return kept.folder / "model.onnx"
    return None if given is None or isinstance(given, ir.Model) else Path(given)


def _small_file(path: Path, digest: str) -> bytes:
    """A file's bytes. Raises BadInput where it is large, or is no longer what was loaded."""
    if path.stat().st_size > SMALL_BYTES:
        raise BadInput(f"{path} is larger than {SMALL_BYTES // 1_000_000} MB: it was not copied")
    data = path.read_bytes()
    if sha256(data).hexdigest() != digest:
        raise BadInput(f"{path} has changed since it was loaded")
    return data


def _script(line: Line) -> str:
    there = [f"cd {shlex.quote(line.folder)} || exit 2"] if line.folder else []
    return "\n".join(["#!/bin/sh", f"# {line.trust}", *there, str(line)]) + "\n"


def _new_folder(dump_dir: Path | None) -> Path:
    """DUMP_DIR/crash, crash-2 ..., else a new one in the system's temporary folder."""
    if dump_dir is not None:
        try:
            return _numbered(dump_dir)
        except OSError:
            pass  # a folder somewhere is better than none
    return Path(tempfile.mkdtemp(prefix="hwopt-crash-", dir=_temporary()))


def _numbered(dump_dir: Path) -> Path:
    dump_dir.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        folder = dump_dir / ("crash" if number == 1 else f"crash-{number}")
        if not folder.exists():
            break
    folder.mkdir()
    return folder


def _temporary() -> str:
    """The system's folder for temporary files; Python falls back on the current one, where a model may be."""
    folder = str(system_folder())
    named = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    if Path(folder) == Path.cwd() and folder not in named:
        raise OSError("there is no folder for temporary files")
    return folder
