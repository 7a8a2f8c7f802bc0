"""The accuracy of an ONNX file on the evaluation samples.

python -m models.figures.evaluate [FILE]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort

from models.figures.data import Images, Labels, make
from models.figures.network import INPUT
from models.figures.prepare import SAMPLES

SHIPPED: Final = Path(__file__).with_name("figures.onnx")
BATCH: Final = 50


def accuracy(model: Path, images: Images, labels: Labels) -> float:
    """The share of `images` that ONNX Runtime, on the CPU, puts into the class in `labels`."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    hits = 0
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH].astype(np.float32)
        logits = session.run(None, {INPUT: batch})[0]
        hits += int((logits.argmax(axis=1) == labels[start : start + BATCH]).sum())
    return hits / len(images)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.figures.evaluate")
    parser.add_argument("model", type=Path, nargs="?", default=SHIPPED, metavar="FILE")
    score = accuracy(parser.parse_args(arguments).model, *make("eval", SAMPLES["eval"]))
    print(f"accuracy {100 * score:.2f}% on {SAMPLES['eval']} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
