"""A model larger than protobuf takes, through `hwopt optimize`: memory, reads, seconds.

    python -m bench.big [--gigabytes 3] [--target edge-npu] [--folder DIR]

Writes a network with external data (`bench.big_nets`) and a small one of the same kind, optimises both with
the real command line in a process of its own, and deletes everything. The small one's peak is the constant:
the interpreter and its libraries, tables, report. The largest layer's working set is what its rewrite takes
and gives: a convolution of 399 MB whose BatchNormalization is folded, before and after. The processes that
the command starts (oracles, the one that verifies) are looked at five times a second. Exit code 1 where
(peak - constant) is 1.3 times the working set or more, a layer that no rewrite touched was read whole, or the
network came back unchanged.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.big_nets import DATA, Network, write_network
from bench.big_run import peak_bytes

MOST = 1.3
CONSTANT_BYTES = 600_000_000  # what the documentation says
SMALL = 16  # the small network's widths are divided by this
MB = 1e6


@dataclass(frozen=True)
class Figures:
    """One run. read: bytes by name of the large weights; copied: by the kernel.
    outcome, verified: what the report says came of it, and how that was verified.
    """

    peak: int
    children: int
    seconds: float
    read: dict[str, int]
    scratch: int
    copied: int
    outcome: str
    verified: str


def main() -> int:
    """Runs both networks; 0 where the promises hold."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        base, _, _ = measured(Path(name, "small"), 10_000_000, asked.target, SMALL)
        start = time.monotonic()
        found, network, code = measured(Path(name, "large"), round(asked.gigabytes * 1e9), asked.target)
        seconds = time.monotonic() - start
    if code:
        print(f"hwopt optimize ended with exit code {code}")
        return 1
    return told(found, base, network, seconds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--target", default="edge-npu")
    parser.add_argument(
        "--folder", default=os.environ.get("TMPDIR", "/var/tmp"), help="with room for 3 times that"
    )
    return parser.parse_args()


def measured(
    folder: Path, size: int, target: str, scale: int = 1, options: Sequence[str] = ()
) -> tuple[Figures, Network, int]:
    """Writes a network and optimises it; its files stay in the folder."""
    folder.mkdir()
    model, network = write_network(folder, size, scale)
    figures = folder / "figures.json"
    line = [sys.executable, "-m", "bench.big_run", str(figures), "optimize", str(model), "--target", target]
    code, children = _watched([*line, "-o", str(folder / "out.onnx"), *options])
    raw = json.loads(figures.read_text())
    data = str((folder / DATA).resolve())
    report = json.loads((folder / "out.report.json").read_text("utf-8"))
    found = Figures(
        peak=raw["peak"],
        children=children,
        seconds=raw["seconds"],
        read=_by_weight([(o, n) for path, o, n in raw["reads"] if path == data], network),
        scratch=sum(n for path, _, n in raw["reads"] if path != data),
        copied=sum(raw["copied"].values()),
        outcome=report["outcome"],
        verified=report["verification"]["how"],
    )
    return found, network, code


def _watched(line: Sequence[str]) -> tuple[int, int]:
    """Exit code, and the most memory that any process held that this one started."""
    most = 0
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            for child in _below(str(process.pid)):
                with suppress(OSError):
                    most = max(most, peak_bytes(child))
            time.sleep(0.2)
    return process.returncode, most


def _below(process: str) -> Iterator[str]:
    """Ids of the processes that a process started, and those of theirs."""
    with suppress(OSError):
        own = Path("/proc", process, "cmdline").read_bytes()
        lists = [path.read_text() for path in Path("/proc", process, "task").glob("*/children")]
        for child in " ".join(lists).split():
            if Path("/proc", child, "cmdline").read_bytes() != own:  # else it is about to become another
                yield child
            yield from _below(child)


def _by_weight(reads: Sequence[tuple[int, int]], network: Network) -> dict[str, int]:
    """Bytes that were read of each large weight, those read twice counted twice."""
    found = dict.fromkeys(network.large, 0)
    for offset, count in reads:
        name = next(n for n, (start, size) in network.large.items() if start <= offset < start + size)
        found[name] += count
    return found


def working_set(network: Network) -> int:
    """Bytes of the largest layer: its weights before and, where they are folded, after."""
    return max(size * (2 if name in network.folded else 1) for name, (_, size) in network.large.items())


def told(found: Figures, base: Figures, network: Network, seconds: float) -> int:
    """Prints the figures; 0 where the promises hold."""
    layer = working_set(network)
    left = [name for name in network.large if name not in network.folded]
    untouched = sum(network.large[name][1] for name in left)
    looked_at = sum(found.read[name] for name in left)
    most = max(found.read[name] / network.large[name][1] for name in left)
    ratio = (found.peak - base.peak) / layer
    rows = {
        "weights on disk": f"{network.end / MB:,.0f} MB, {len(network.large)} large ones",
        "peak of the optimizer": f"{found.peak / MB:,.0f} MB",
        "the constant (small network)": f"{base.peak / MB:,.0f} MB, documented {CONSTANT_BYTES / MB:,.0f} MB",
        "largest layer's working set": f"{layer / MB:,.0f} MB",
        "(peak - constant) / working set": f"{ratio:.2f} (limit {MOST})",
        "peak of the largest of its other processes, the one that verifies": f"{found.children / MB:,.0f} MB",
        "outcome": f"{found.outcome}; verified {found.verified}",
        "read of layers that are left alone": f"{looked_at / MB:,.1f} of {untouched / MB:,.0f} MB"
        f" ({looked_at / untouched:.2%}; of one at most {most:.1%})",
        "read of layers that are folded": f"{sum(found.read[n] for n in network.folded) / MB:,.0f} MB",
        "read of what was folded": f"{found.scratch / MB:,.0f} MB",
        "copied by the kernel": f"{found.copied / MB:,.0f} MB",
        "seconds": f"{found.seconds:.0f} ({seconds:.0f} with writing the network)",
    }
    print("| | |\n|---|---|")
    for name, text in rows.items():
        print(f"| {name} | {text} |")
    changed = found.outcome == "changed"  # else nothing was written anew, and nothing had to be verified
    kept = changed and found.peak < MOST * layer + CONSTANT_BYTES and ratio < MOST and most < 1.0
    print("kept" if kept else "NOT KEPT")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
