"""What `hwopt compare --layers` holds in memory, beside one plain run of the model.

    HWOPT_DATA=DIR python -m bench.compare_memory [--model NAME ...] [--mark RATIO] [--fetched DIR]

Models: EfficientNet-Lite0 (DIR/efficientnet_lite0.onnx), PP-OCRv4's detector (models/fetch.py) at two sizes
and the shipped network. Each is compared with three other forms of itself: one weight tensor in the middle
of the model changed; its first blocks fused, their weights not repaired; and the exact folds of
`hwopt optimize` alone. A plain run is a process that imports the same, loads the model, makes a session of
it and runs it once on the inputs that the comparison walks on. A Markdown table says the largest resident
memory of both processes (VmHWM), their ratio, and which tensor is named first. Exit code 1 where a ratio is
over the mark, or where the changed tensor is not the one that is named.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from hwopt.choice import Risk
from hwopt.edit import set_constant
from hwopt.find import canonicalise, find_choices, with_places
from hwopt.ir import load_model, save_model
from hwopt.nodes import convs
from hwopt.registry import load_target, select_passes
from hwopt.rewrite import carry_out_steps, chosen_values
from models.fetch import fetch

ROOT = Path(__file__).parent.parent
MARK = 1.5
TARGET = "edge-npu"
BLOCKS = 3
FUSING = ("fuse_ibn", "fuse_separable")
MODELS = ("lite0", "det480", "det960", "figures")
Changed = tuple[ir.Model, str | None]  # and the tensor that should be named first, where that is known

# Both processes import the same, this file not among it.
IMPORTS = """
import sys
from pathlib import Path
from hwopt.cli import entry as cli
from hwopt.debug.compare import data, layers, plain, text
from hwopt.debug.compare.outputs import load_session
from hwopt.debug.compare.inputs import generated_inputs
from hwopt.ir import load_model
from hwopt.inputs import random_feeds
from hwopt.runtime import Session
from hwopt.shapes import parse_input_shape

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
"""
PLAIN = (
    IMPORTS
    + """
model = load_model(Path(sys.argv[1]))
shapes = dict(parse_input_shape(text) for text in sys.argv[2:])
Session(model).run(random_feeds(model, shapes, 0))
print(peak())
"""
)
COMPARED = (
    IMPORTS
    + """
code = cli.main(["compare", *sys.argv[1:], "--layers", "--json"])
print(peak())
"""
)


@dataclass(frozen=True)
class Case:
    """One model. shape: NAME:SIZES for --input-shape, "" where it needs none."""

    name: str
    path: Path
    shape: str = ""


@dataclass(frozen=True)
class Row:
    """One comparison. plain, compared: bytes. first: the first tensor that differs."""

    model: str
    form: str
    plain: int
    compared: int
    tensors: int
    different: int
    first: str | None
    expected: str | None

    @property
    def ratio(self) -> float:
        """How much more the comparison holds."""
        return self.compared / self.plain


def main() -> int:
    """Measures every model; 0 where all stay below the mark and the changed tensors are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", action="append", choices=MODELS, help="again for more (default: all)")
    parser.add_argument("--fetched", type=Path, help="folder of models that were fetched before")
    parser.add_argument("--mark", type=float, default=MARK)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = [case(name, given.fetched or Path(folder)) for name in given.model or MODELS]
        rows = [row for item in cases for row in measured(item, Path(folder))]
    print(table(rows))
    missed = [row for row in rows if row.expected is not None and row.first != row.expected]
    return int(bool(missed) or any(row.ratio > given.mark for row in rows))


def case(name: str, folder: Path) -> Case:
    """The model of that name."""
    if name == "lite0":
        return Case(name, Path(os.environ["HWOPT_DATA"]) / "efficientnet_lite0.onnx")
    if name == "figures":
        return Case(name, ROOT / "models" / "figures" / "figures.onnx")
    side = name.removeprefix("det")
    return Case(name, fetch("ppocr_det", folder), f"x:1,3,{side},{side}")


def measured(case: Case, folder: Path) -> Iterator[Row]:
    """A row for every other form of the model."""
    model = load_model(case.path)
    (plain,) = child(PLAIN, str(case.path), *filter(None, [case.shape]))
    shape = ["--input-shape", case.shape] if case.shape else []
    for form, (other, expected) in forms(model):
        path = folder / "other.onnx"
        save_model(other, path, force=True)
        *lines, peak = child(COMPARED, str(case.path), str(path), *shape)
        found = json.loads("\n".join(lines))
        if "error" in found:
            raise RuntimeError(found["error"])
        inside = found["layers"]
        yield Row(
            case.name, form, int(plain), int(peak), inside["compared"], inside["different"], inside["first"],
            expected,
        )  # fmt: skip


def child(code: str, *arguments: str) -> list[str]:
    """What a process prints. Only VmHWM counts from nothing there: ru_maxrss begins with this process's."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.splitlines()


def forms(model: ir.Model) -> Iterator[tuple[str, Changed]]:
    """Other forms of the model."""
    yield "a weight changed", planted(model)
    yield "folded", folded(model)
    yield "blocks fused", fused(model)


def planted(model: ir.Model) -> Changed:
    """One weight of the convolution in the middle is larger by its largest magnitude."""
    changed = model.clone()
    found = list(convs(changed))
    conv = found[len(found) // 2]
    weight = np.array(conv.weight)
    weight.reshape(-1)[0] += np.abs(weight).max()
    set_constant(conv.node, 1, weight)
    return changed, str(conv.output.name)


def folded(model: ir.Model) -> Changed:
    """What `hwopt optimize` folds in any model, and which tensor differs: none."""
    placed = with_places(model.clone())
    return canonicalise(placed, select_passes((), ()), load_target(TARGET)).model, None


def fused(model: ir.Model) -> Changed:
    """The first blocks that can be fused, with their first weights."""
    base, _ = folded(model)
    target = load_target(TARGET)
    choices, _ = find_choices(base, select_passes(FUSING, ()), target, frozenset({Risk.LOSSY}))
    first = {choice.id: choice.values[0].name for choice in choices[:BLOCKS]}
    return carry_out_steps(base, chosen_values(choices, first)), None


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    head = (
        "| model | compared with | plain run, MB | comparison, MB | ratio | tensors | differ | first |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(
        f"| {row.model} | {row.form} | {row.plain / 1e6:.0f} | {row.compared / 1e6:.0f} | {row.ratio:.2f} "
        f"| {row.tensors} | {row.different} | {row.first or '-'} |"
        for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
