"""A coverage-guided fuzz run of what load, normalise and find make of a file:

    python -m bench.fuzz_guided --seconds 600 --corpus /tmp/corpus --findings /tmp/findings

Mutations that reach new lines of hwopt become the start of others. Half of them are those of `bench.fuzz`,
half are of libFuzzer. Native code runs in the fuzzing process itself: its crashes end the run, and count.
Needs atheris (`pip install atheris`; wheels are there for Linux alone).
A finding is what no BadInput says, kept once per place in the code; it belongs into tests/hostile then.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_LARGEST = 60_000  # bytes of a mutated model
_MOST_MEGABYTES = 6000
_HANGS_AFTER = 60  # seconds on one model
_WORKER = "--worker"


def main() -> int:
    """Runs the fuzzer for a time and prints what it did; 1 where it found something."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="a folder that is kept, and gone on with")
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    options = parser.parse_args()
    options.findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz.") as scratch:
        corpus = options.corpus or Path(scratch) / "corpus"
        _plant(corpus)
        flags = [
            f"-max_total_time={options.seconds}", f"-seed={options.seed}", f"-max_len={_LARGEST}",
            f"-rss_limit_mb={_MOST_MEGABYTES}", f"-timeout={_HANGS_AFTER}", "-print_final_stats=1",
            f"-artifact_prefix={options.findings.absolute()}/native-", str(corpus.absolute()),
        ]  # fmt: skip
        command = [
            sys.executable,
            "-m",
            "bench.fuzz_guided",
            _WORKER,
            str(options.findings.absolute()),
            *flags,
        ]
        run = subprocess.run(
            command, env={**os.environ, "HWOPT_GUARD": "off", "TMPDIR": scratch},
            stderr=subprocess.PIPE, text=True, errors="backslashreplace", check=False,
        )  # fmt: skip
        print(_summary(run.stderr, corpus, options.findings, run.returncode))
    return 1 if any(options.findings.iterdir()) or run.returncode else 0


def _plant(corpus: Path) -> None:
    from bench.fuzz_seeds import seeds

    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds(figures=False):
        (corpus / f"seed-{seed.name}").write_bytes(seed.data)


def _summary(log: str, corpus: Path, findings: Path, code: int) -> str:
    """Executions, coverage and findings, out of libFuzzer's own words."""
    done = re.search(r"stat::number_of_executed_units:\s*(\d+)", log)
    covered = re.findall(r"cov: (\d+) ft: (\d+)", log) or [("?", "?")]
    found = sorted(item.name for item in findings.iterdir())
    lines = [
        f"executions  {done[1] if done else '? (the process did not come to its end)'}",
        f"coverage    {covered[0][0]} edges at first, {covered[-1][0]} at last; {covered[-1][1]} features",
        f"corpus      {len(list(corpus.iterdir()))} files",
        f"findings    {len(found)}: {', '.join(found) or 'none'}",
    ]
    if code:
        lines += [f"exit code   {code}", *log.splitlines()[-15:]]
    return "\n".join(lines)


def _worker(arguments: Sequence[str]) -> None:
    """The fuzzing process: never returns."""
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

    with atheris.instrument_imports(include=["hwopt"]):
        from bench.fuzz_run import BUG, Tools, looked_at, placed
    from bench.fuzz_mutate import mutated
    from bench.fuzz_seeds import WEIGHTS_FILE, Seed, seeds

    findings, tools = Path(arguments[0]), Tools.loaded()
    folder = Path(tempfile.mkdtemp(prefix="fuzz."))
    weights = next(seed.files[WEIGHTS_FILE] for seed in seeds(figures=False) if seed.files)

    def one(data: bytes) -> None:
        path = placed(Seed("", data, {WEIGHTS_FILE: weights}), data, folder)
        outcome = looked_at(path, tools)
        if outcome.result == BUG:
            name = re.sub(r"[^A-Za-z0-9.]+", "-", outcome.detail)[:100]
            (findings / f"{name}.onnx").write_bytes(data)

    def custom(data: bytes, most: int, seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        if not data or rng.integers(0, 2):
            return bytes(atheris.Mutate(data, most))
        return mutated(Seed("", data), rng)[1][:most]

    atheris.Setup([sys.argv[0], *arguments[1:]], one, custom_mutator=custom)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == [_WORKER]:
        _worker(sys.argv[2:])
    sys.exit(main())
