"""Dumps of real models: every one is loaded, checked and run.

    python -m bench.dumps [--fetched DIR] [-o DIR] [--model NAME ...] [--target NAME] [--each]

Takes the models from DIR, or fetches them from public Python packages into it (models/fetch.py), optimises
each with `--dump-dir`, and then looks at the dumps as a stranger would: onnx.checker's full check, shape
inference in strict mode, a run in ONNX Runtime on inputs of its own, outputs against the original's. Prints
a Markdown table. Exit code 1 where a dump does not load, check or run, or an output is further from the
original's than rounding explains.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

import hwopt
from hwopt.ir import load_model
from hwopt.verify import differences
from hwopt.wording import said
from models.fetch import MODELS, fetch

DEFAULT = ("ppocr_det", "silero_vad")
SEED = 11  # not the one that the run itself compares with


@dataclass(frozen=True)
class Row:
    """One dump. worst: its largest difference, over the output's largest; failure: what does not hold."""

    model: str
    file: str
    nodes: int
    nested: int
    steps: int
    inferred: float
    worst: float
    failure: str


def main() -> int:
    """Dumps what was asked for; 0 where every dump holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--fetched", type=Path, default=Path("out/fetched"))
    parser.add_argument("-o", "--output", type=Path, default=Path("out/dumps"))
    parser.add_argument("--model", action="append", choices=sorted(MODELS))
    parser.add_argument("--target", default="edge-npu")
    parser.add_argument("--each", action="store_true", help="a dump after every single step")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name in arguments.model or DEFAULT:
        arguments.fetched.mkdir(parents=True, exist_ok=True)
        path = fetch(name, arguments.fetched)
        place = arguments.output / f"{name}.{arguments.target}"
        shutil.rmtree(place, ignore_errors=True)
        shapes = dict(MODELS[name].input_shapes)
        hwopt.optimize(
            path,
            target=arguments.target,
            input_shapes=shapes,
            refine=0,
            dump_dir=place,
            dump_each=arguments.each,
        )
        rows += dumps_of(name, path, place, shapes)
    print(table(rows))
    return int(any(row.failure for row in rows))


def dumps_of(name: str, path: Path, place: Path, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Row]:
    """Every dump of a run, as its index lists them."""
    original = load_model(path)
    for entry in json.loads((place / "index.json").read_text("utf-8"))["dumps"]:
        yield looked_at(name, original, place / entry["file"], len(entry["steps"]), shapes)


def looked_at(
    name: str, original: ir.Model, path: Path, steps: int, shapes: Mapping[str, tuple[int, ...]]
) -> Row:
    """One dump, read anew from its file."""
    proto = onnx.load(path)
    computed = [value for node in proto.graph.node for value in node.output if value]
    shown = {info.name for info in (*proto.graph.value_info, *proto.graph.output)}
    worst, failure = float("nan"), ""
    try:
        onnx.checker.check_model(str(path), full_check=True)
        onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
        found = differences(original, load_model(path), shapes, SEED)
        if isinstance(found, str):
            failure = found
        else:
            worst = max(item.max_rel for item in found)
            failure = "" if all(item.exact for item in found) else "differs from the original"
    except Exception as error:  # that is what the table is for
        failure = said(error)
    share = sum(value in shown for value in computed) / len(computed)
    nested = sum(1 for _ in ir.from_proto(proto).graph.all_nodes()) - len(proto.graph.node)
    return Row(name, path.name, len(proto.graph.node), nested, steps, share, worst, failure)


def table(rows: list[Row]) -> str:
    """Markdown."""
    head = (
        "| model | dump | nodes | inside If, Loop | steps | values with a shape | largest difference "
        "| loads, checks, runs |\n|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(
        f"| {row.model} | {row.file} | {row.nodes} | {row.nested} | {row.steps} | {row.inferred:.0%} "
        f"| {row.worst:.1e} | {row.failure or 'yes'} |"
        for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
