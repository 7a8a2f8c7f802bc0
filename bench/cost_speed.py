"""Predictions per second and thread: from features, from signatures, and from models, in one run.

    python -m bench.cost_speed [--target NAME ...] [--groups 4000] [--repeats 5]

One thread, all members of the ensemble, nothing remembered from call to call; the best of a few
repeats counts. `features`: rows of features to latencies. `signatures`: signatures to latencies
with their spread. `models`: networks with known shapes to signatures (partition) to latencies, all
priced in one call, as a search prices its tables.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything starts threads

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.cost.bundle import Header, unpack
from hwopt.cost.dataset import FILE_NAME, read_samples
from hwopt.cost.features import features
from hwopt.cost.loading import load_cost_model
from hwopt.cost.model import CostModel, load_booster, predict_members, view_of
from hwopt.cost.sampling import whole_networks
from hwopt.cost.training import usable
from hwopt.partition import partition
from hwopt.registry import all_targets, load_target
from hwopt.shapes import TensorInfo, infer_shapes
from hwopt.signature import VIEW, Signature
from hwopt.target import Target

MARKS = {"features": 20_000, "models": 10_000}
SEED = 7001  # as the held-out networks


@dataclass(frozen=True)
class Network:
    """A model with its shapes, which pricing finds once and a search uses many times."""

    model: ir.Model
    shapes: dict[str, TensorInfo]


def main() -> None:
    """Times every target that was asked for and prints a Markdown table."""
    options = _options()
    targets = [load_target(name) for name in options.target] if options.target else list(all_targets())
    drawn = [sample.model for sample in whole_networks(SEED, options.networks)]
    networks = [Network(model, infer_shapes(model, {})) for model in drawn]
    head = ("target", "members", "features / s", "of the mark", "signatures / s", "models / s", "of the mark")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for target in targets:
        if target.cost_model is not None:
            print("| " + " | ".join(_cells(target, networks, options)) + " |", flush=True)


def _cells(target: Target, networks: Sequence[Network], options: argparse.Namespace) -> list[str]:
    rows = usable(read_samples(target.folder / FILE_NAME))
    groups = list(dict.fromkeys(row.signature for row in rows))[: options.groups]
    header, raw = _parts(target)
    boosters = [load_booster(data) for data in raw]
    extras = dict(zip(header.extras, boosters[len(boosters) - len(header.extras) :], strict=True))
    matrix, _ = features(groups, target, view_of(header, extras.get("stream")))
    boosters = boosters[: len(boosters) - len(header.extras)]
    count = sum(len(_signatures(target, network)) for network in networks)

    def from_features(_: CostModel) -> None:
        predict_members(boosters, matrix)

    def from_signatures(model: CostModel) -> None:
        model.predict(groups)

    def from_models(model: CostModel) -> None:
        model.predict([s for network in networks for s in _signatures(target, network)])

    rates = [
        _rate(work, target, size, options.repeats)
        for work, size in ((from_features, len(groups)), (from_signatures, len(groups)), (from_models, count))
    ]
    return [
        target.name, str(len(raw)), f"{rates[0]:,.0f}", f"{rates[0] / MARKS['features']:.2f}",
        f"{rates[1]:,.0f}", f"{rates[2]:,.0f}", f"{rates[2] / MARKS['models']:.2f}",
    ]  # fmt: skip


def _parts(target: Target) -> tuple[Header, Sequence[bytes]]:
    """Header and boosters of the pinned file."""
    assert target.cost_model is not None
    bundle = unpack(target.folder / target.cost_model.file, target.cost_model.sha256)
    return bundle.header, bundle.boosters


def _signatures(target: Target, network: Network) -> list[Signature]:
    parts = partition(network.model, network.shapes, target)
    return [s for s in parts.signatures if s.kind != VIEW]


def _rate(work: Callable[[CostModel], None], target: Target, groups: int, repeats: int) -> float:
    """Groups per second of the fastest repeat; each starts with a cost model that remembers nothing."""
    fastest = float("inf")
    for _ in range(repeats):
        model = load_cost_model(target)
        started = time.process_time()
        work(model)
        fastest = min(fastest, time.process_time() - started)
    return groups / fastest


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", action="append", help="name or folder; default: all with a cost model")
    parser.add_argument("--groups", type=int, default=4000, help="rows and signatures of one call")
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
