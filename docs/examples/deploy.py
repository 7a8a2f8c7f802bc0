"""A deploy script with hwopt in it: export, optimise, quantise, gate, release.

    pip install .                           # '.[train]' to export from PyTorch
    python -m docs.examples.deploy build    # in the root of a checkout; see --help

Writes build/model.onnx as exported, build/candidate.* as hwopt made it and, where everything holds,
build/release/. Put your own into `export` and `calibration`; the rest can stay.

Measuring what LOSSY rewrites do takes some minutes of processor time, once; EXACT ones alone,
`--passes canonicalize,densify_depthwise --max-latency 2ms`, take seconds.

Exit codes, as hwopt has them: 0 released; 1 not good enough, so the last release stays; 2 something to mend
in the call, the model or the data; 3 a bug in hwopt, with a folder to send in.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx

import hwopt
from hwopt.errors import HwoptError
from models.figures.data import make

TRAINED = Path("models/figures/figures.onnx")
say = partial(print, flush=True)  # in step with what the gate prints, in a log file, too


@dataclass(frozen=True)
class Wanted:
    """What a release must be. It holds when the plan is searched, and again at the gate."""

    target: str
    max_latency: str
    max_drop: float


def main() -> int:
    """Makes a release, or says why there is none."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", default="edge-npu")
    parser.add_argument("--max-latency", default="1.5ms")
    parser.add_argument("--max-drop", type=float, default=0.02)
    parser.add_argument("--images", type=int, default=200, help="calibration images")
    parser.add_argument("--passes", default="", help="hwopt's passes, A,B; all by default")
    given = parser.parse_args()
    wanted = Wanted(given.target, given.max_latency, given.max_drop)
    given.folder.mkdir(parents=True, exist_ok=True)
    candidate = given.folder / "candidate.onnx"
    try:
        model = export(given.folder / "model.onnx")
        data = calibration(given.folder / "calib.npz", given.images)
        optimise(model, data, candidate, wanted, given.passes)
    except HwoptError as error:  # its text says what, where, and how to mend it
        print(f"deploy: no release: {error}", file=sys.stderr)
        if error.folder is not None:
            print(f"deploy: what is needed to see it again is in {error.folder}", file=sys.stderr)
        return error.exit_code
    code = gate(candidate, wanted)
    if code == 0:
        release(candidate, given.folder / "release")
    return code


def export(path: Path) -> Path:
    """Your training code ends here: an ONNX file, its batch dynamic."""
    if find_spec("torch") is None:
        say(f"export: no PyTorch, {TRAINED} as it is")
        return Path(shutil.copy(TRAINED, path))
    import torch

    from models.figures.train import Network

    network = Network().eval()
    names = [name for name in network.state_dict() if "num_batches" not in name]
    arrays = [onnx.numpy_helper.to_array(one) for one in onnx.load(TRAINED).graph.initializer][-len(names) :]
    state = {name: torch.tensor(array) for name, array in zip(names, arrays, strict=True)}
    network.load_state_dict(state, strict=False)  # all but the counts of batches, which are for training
    torch.onnx.export(
        network, (torch.zeros(1, 3, 64, 64),), str(path), input_names=["image"], output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}}, opset_version=18,
        dynamo=False,  # the newer exporter (pip install onnxscript) does as well
    )  # fmt: skip
    say(f"export: {path}, by PyTorch {torch.__version__}")
    return path


def calibration(path: Path, images: int) -> Path:
    """Your data come in here: inputs by name, and labels. A folder of images would do as well."""
    pixels, labels = make("calib", images)
    np.savez(path, image=pixels.astype(np.float32), labels=labels)
    return path


def optimise(model: Path, data: Path, out: Path, wanted: Wanted, passes: str) -> None:
    """Rewrites and quantises; the limits hold for the int8 file. Raises BudgetNotMet where none can."""
    result = hwopt.optimize(
        model,
        target=wanted.target,
        calib=data,
        max_latency=wanted.max_latency,
        max_drop=wanted.max_drop,
        quantize="int8",
        passes=tuple(passes.split(",")) if passes else (),
        refine=0,  # by the cost model alone; leave it out where the target's oracle is installed
        output=out,
        force=True,
    )
    say(f"optimise: {out}, {result.report.outcome} by {len(result.plan.steps)} steps")


def gate(out: Path, wanted: Wanted) -> int:
    """Holds the file and its report against what is wanted; a job of its own can do that as well."""
    command: list[str | Path] = [
        sys.executable, "-m", "hwopt.cli", "check", out.with_suffix(".report.json"), "--model", out,
        "--target", wanted.target, "--max-latency", wanted.max_latency, "--max-drop", str(wanted.max_drop),
    ]  # fmt: skip
    return subprocess.run(command, check=False).returncode


def release(out: Path, folder: Path) -> None:
    """Puts the file, its plan and its report where they are served from, each whole, the model last."""
    folder.mkdir(exist_ok=True)
    for suffix in (".report.json", ".plan.json", ".onnx"):
        draft = folder / f".draft{suffix}"
        shutil.copy(out.with_suffix(suffix), draft)
        os.replace(draft, folder / f"model{suffix}")
    say(f"release: {folder / 'model.onnx'}")


if __name__ == "__main__":
    sys.exit(main())
