"""What becomes of one hostile model: refused with one line, taken and treated right, or a bug."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.fuzz_seeds import Seed
from hwopt.choice import Pass, Risk
from hwopt.errors import BadInput
from hwopt.find import canonicalise, find_choices, with_places
from hwopt.ir import interface, load_model
from hwopt.pipeline import optimize
from hwopt.registry import load_target, select_passes
from hwopt.target import Target
from hwopt.verify import differences

REFUSED, VALID, BUG = "refused", "valid", "bug"
SLOW_SECONDS = 20.0  # of this process's own time, for models that take milliseconds
_SIBLINGS = {"out.onnx", "out.plan.json", "out.report.json", "out.report.md", "out.report.html"}
_OTHER_SEED = 77  # inputs that the verifier did not use


@dataclass(frozen=True)
class Outcome:
    """result: REFUSED, VALID or BUG. detail: what was said, or where it broke."""

    result: str
    detail: str = ""


@dataclass(frozen=True)
class Tools:
    """What every model is taken through."""

    target: Target
    passes: tuple[Pass, ...]

    @classmethod
    def loaded(cls, target: str = "edge-npu") -> Tools:
        """All passes, for one target."""
        return cls(load_target(target), select_passes((), (), interface_may_change=False))


def placed(seed: Seed, data: bytes, folder: Path) -> Path:
    """The mutated model in a folder, with the files that lie beside it."""
    files: Mapping[str, bytes] = {**seed.files, "model.onnx": data}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / "model.onnx"


def looked_at(path: Path, tools: Tools) -> Outcome:
    """Loads, normalises, and finds what may change."""
    return _judged(lambda: _find(path, tools))


def _find(path: Path, tools: Tools) -> str:
    model = with_places(load_model(path))
    canonical = canonicalise(model, tools.passes, tools.target)
    find_choices(canonical.model, tools.passes, tools.target, frozenset(Risk))
    return ""


def optimised(path: Path, out: Path, tools: Tools) -> Outcome:
    """The whole chain into an empty folder `out`; what comes out is held against the promises."""
    found = _judged(lambda: _optimise(path, out, tools))
    left = {item.name for item in out.iterdir()}
    wanted = _SIBLINGS if found.result == VALID else set()
    if found.result != BUG and left != wanted:
        return Outcome(BUG, f"{found.result}, and these files: {sorted(left)}")
    return found


def _optimise(path: Path, out: Path, tools: Tools) -> str:
    written = out / "out.onnx"
    optimize(path, target=tools.target, output=written, refine=0)
    before, after = load_model(path), load_model(written)
    if interface(before) != interface(after):
        raise AssertionError("the interface changed")
    found = differences(before, after, {}, _OTHER_SEED)
    if isinstance(found, str):
        return "ONNX Runtime does not run it"
    wrong = [item.output for item in found if not item.exact]
    if wrong:
        raise AssertionError(f"other outputs: {wrong}")
    return ""


def _judged(work: object) -> Outcome:
    assert callable(work)
    started = time.process_time()
    try:
        outcome = Outcome(VALID, str(work()))
    except BadInput as error:
        text = str(error)
        outcome = Outcome(REFUSED if text.isprintable() and text else BUG, text)
    except Exception as error:
        outcome = Outcome(BUG, where(error))
    took = time.process_time() - started
    return Outcome(BUG, f"took {took:.0f} s") if took > SLOW_SECONDS else outcome


def where(error: BaseException) -> str:
    """An error's class and the three innermost places: the same for the same bug."""
    inner = error.__cause__ or error
    places = traceback.extract_tb(inner.__traceback__)[-3:]
    lines = " < ".join(f"{Path(place.filename).name}:{place.lineno}" for place in reversed(places))
    return f"{type(inner).__name__} at {lines}: {str(inner)[:80]!r}"
