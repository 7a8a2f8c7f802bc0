"""Makes targets/NAME/held_out.csv.xz: the truth that a cost model is judged by, as an oracle saw it.

    python -m bench.cost_truth --target ethos-u55-256
    python -m bench.cost_truth --target edge-npu --networks 6 --rewrites 20 --out /tmp/small.csv.xz

Whole networks of every family, of a seed that no campaign trains on, and real, trained ones:
the shipped one, EfficientNet-Lite0 where $HWOPT_DATA is set, the fetched ones where --fetched
names a folder of them (models/fetch.py). Then single rewrites: values that the passes offer for
these networks, written into the whole network and measured again. Answers are cached
($HWOPT_CACHE), save those of an oracle that really measures.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hwopt.choice import Value
from hwopt.cost.heldout import FILE_NAME, HeldOut, Network, Rewrite, write_held_out
from hwopt.cost.sampling import whole_networks
from hwopt.cost.truth import (
    Facts,
    Subject,
    asking,
    choose,
    exact_figures,
    make_subject,
    measure_networks,
    measure_rewrites,
    network_of,
    rewrite_of,
    with_exact,
)
from hwopt.ir import load_model
from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Oracle
from hwopt.registry import load_target, make_oracle, select_passes
from hwopt.signature import Signature
from hwopt.target import Target
from models.fetch import MODELS

# The nearest family of each real network: it is judged by a model that never saw that family.
REAL_FAMILIES = {
    "figures": "mobilenet_v2",
    "efficientnet_lite0": "efficientnet_lite",
    "ppocr_det": "lcnet",
    "ppocr_rec": "lcnet",
    "ppocr_cls": "mobilenet_v3",
    "nudenet_320n": "yolo",
}
# At their own sizes their activations fit no small accelerator.
SMALLER = {"ppocr_det": (1, 3, 160, 160), "ppocr_rec": (1, 3, 48, 160), "nudenet_320n": (1, 3, 160, 160)}
SHIPPED = Path(__file__).parents[1] / "models" / "figures" / "figures.onnx"


def main() -> None:
    """Runs the campaign and prints what became of it."""
    options = _options()
    target = load_target(options.target)
    passes = select_passes()
    subjects = []
    for sample in whole_networks(options.seed, options.networks):
        subjects.append(make_subject(sample.model, sample.name, sample.family, target, passes))
    for name, path in real_networks(options):
        shapes = {} if name not in MODELS else dict(MODELS[name].input_shapes)
        shapes = {key: SMALLER.get(name, shape) for key, shape in shapes.items()}
        family = REAL_FAMILIES[name]
        subjects.append(make_subject(load_model(path), f"real-{name}", family, target, passes, shapes))
    oracle = make_oracle(target)
    with Cache(options.cache) as cache:
        truth, dropped = campaign(subjects, target, oracle, cache, options)
    out = options.out or target.folder / FILE_NAME
    write_held_out(out, truth)
    _tell(out, truth, dropped)


def real_networks(options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Name and file of every real network that is at hand."""
    data = os.environ.get("HWOPT_DATA", "")
    candidates = {"figures": SHIPPED, "efficientnet_lite0": Path(data) / "efficientnet_lite0.onnx"}
    if options.fetched is not None:
        candidates |= {name: options.fetched / model.filename for name, model in MODELS.items()}
    for name, path in candidates.items():
        if name in REAL_FAMILIES and path.is_file():
            yield name, path


def _small(subjects: list[Subject], options: argparse.Namespace) -> list[Subject]:
    """The networks that are cheap enough to be measured again and again."""
    return [s for s in subjects if _weight_elements(s) <= options.largest * 1e6]


def _weight_elements(subject: Subject) -> int:
    return sum(
        int(value.const_value.size)
        for value in subject.model.graph.initializers.values()
        if value.const_value is not None
    )


def campaign(
    subjects: list[Subject], target: Target, oracle: Oracle, cache: Cache, options: argparse.Namespace
) -> tuple[HeldOut, Counter[str]]:
    """Networks first; then rewrites of those that the target can run and that are small enough."""
    dropped: Counter[str] = Counter()
    ask, clock = asking(oracle, cache), Clock()
    measured = []
    for number, subject in enumerate(subjects):
        measured += measure_networks([subject], target, ask, dropped)
        clock.tell(f"network {number + 1}/{len(subjects)}")
    # More are drawn than are wanted: some cannot be written, or do not fit the memory.
    values = choose(
        _small([subject for subject, _ in measured], options),
        round(options.rewrites * 1.05),
        options.seed,
        options.most,
    )
    networks: list[Network] = []
    rewrites: list[Rewrite] = []
    for number, (subject, facts) in enumerate(measured):
        changed = measure_rewrites(subject, values.get(subject.name, []), target, ask, dropped)
        network, items = _with_exact(subject, facts, changed, (oracle, cache, options.exact))
        networks.append(network)
        rewrites += items
        clock.tell(f"rewrites of {number + 1}/{len(measured)} networks: {len(rewrites)}")
    return HeldOut(tuple(networks), tuple(rewrites)), dropped


class Clock:
    """Progress with the seconds since it began."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def tell(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:6.0f} s  {text}", flush=True)


def _with_exact(
    subject: Subject,
    base: Facts,
    changed: list[tuple[Value, Facts, Facts]],
    how: tuple[Oracle, Cache, int],
) -> tuple[Network, list[Rewrite]]:
    """A network and its rewrites, with exact figures of the groups that `--refine` might ask for."""
    oracle, cache, count = how
    network = network_of(subject, base)
    items = [rewrite_of(subject, *triple) for triple in changed]
    if not count:
        return network, items
    figures = dict(exact_figures(base, _largest(base, count), oracle, cache))
    for (_, before, after), item in zip(changed, items, strict=True):
        for facts, groups in ((before, item.removed), (after, item.added)):
            wanted = [group.signature for group in groups if group.signature not in figures]
            figures |= exact_figures(facts, wanted, oracle, cache) if wanted else {}
    full = [
        replace(i, removed=with_exact(i.removed, figures), added=with_exact(i.added, figures)) for i in items
    ]
    return replace(network, groups=with_exact(network.groups, figures)), full


def _largest(facts: Facts, count: int) -> list[Signature]:
    """The signatures that take most of the model's time."""
    share: dict[Signature, float] = {}
    for group in facts.groups:
        share[group.signature] = share.get(group.signature, 0.0) + group.latency_us
    return sorted(share, key=lambda signature: -share[signature])[:count]


def _tell(out: Path, truth: HeldOut, dropped: Counter[str]) -> None:
    moved = sum(abs(item.effect_us) >= 0.005 * item.before_us for item in truth.rewrites)
    print(
        f"{out}: {out.stat().st_size / 1e3:.0f} kB, {len(truth.networks)} networks, "
        f"{len(truth.rewrites)} rewrites, {moved} of them move the model by 0.5% or more"
    )
    for title, table in (
        ("rewrites", Counter(item.change for item in truth.rewrites)),
        ("networks", Counter(item.family for item in truth.networks)),
        ("dropped", dropped),
    ):
        for name, count in table.most_common():
            print(f"  {title:9} {count:5}  {name}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", required=True, help="name or folder of a target")
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--rewrites", type=int, default=520)
    parser.add_argument("--most", type=int, default=20, help="rewrites of one network at most")
    parser.add_argument("--largest", type=float, default=6.0, help="million weights of a network to rewrite")
    parser.add_argument("--exact", type=int, default=12, help="groups of a network measured alone; 0: none")
    parser.add_argument("--seed", type=int, default=7001, help="no campaign may train on the same")
    parser.add_argument("--fetched", type=Path, help="folder of models fetched by models/fetch.py")
    parser.add_argument("--out", type=Path, help="default: held_out.csv.xz in the target's folder")
    parser.add_argument("--cache", type=Path, help="default: $HWOPT_CACHE, else the user's cache folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
