"""Write the calibration and evaluation samples that go with the shipped model.

    python -m models.figures.prepare DIR

makes ``DIR/calib.npz`` and ``DIR/eval.npz``, each holding the model's input under its
own name (float32, N x 3 x 64 x 64, 0 to 255) and ``labels`` (int64, N). The same bytes
come out every time.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from models.figures.data import make
from models.figures.network import INPUT

SAMPLES: Final = {"calib": 400, "eval": 1200}


def prepare(folder: Path) -> list[Path]:
    """Write both sets into `folder`, which is made if need be; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(split, count, folder) for split, count in SAMPLES.items()]


def _write(split: str, count: int, folder: Path) -> Path:
    images, labels = make(split, count)
    scratch, path = folder / f".{split}.npz", folder / f"{split}.npz"
    arrays: dict[str, npt.NDArray[np.generic]] = {INPUT: images.astype(np.float32), "labels": labels}
    np.savez(scratch, allow_pickle=False, **arrays)
    os.replace(scratch, path)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 2 and one line on stderr if the folder cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m models.figures.prepare")
    parser.add_argument("folder", type=Path, metavar="DIR")
    try:
        paths = prepare(parser.parse_args(arguments).folder)
    except OSError as error:
        print(f"models.figures.prepare: error: {error}", file=sys.stderr)
        return 2
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
