"""Makes held-out truth: asks an oracle for whole networks, and for them again after single rewrites.

Every rewrite is a value that a pass really offers, written into the whole network. A network and
its rewritten forms go to the oracle in one call, so that an oracle that really measures can take
turns between them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from hwopt.assess import bound_bytes
from hwopt.choice import Pass, Risk, Value
from hwopt.cost.exact import refine_most_uncertain
from hwopt.cost.heldout import Group, Network, Rewrite
from hwopt.cost.measure import unusable
from hwopt.errors import HwoptError
from hwopt.estimate import Estimate, Source
from hwopt.find import canonicalise, find_choices, with_places
from hwopt.oracles.asking import measure_cached
from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Answer, Job, Oracle, Unmeasured
from hwopt.partition import Partition, partition
from hwopt.rewrite import rewrite
from hwopt.shapes import TensorInfo, infer_shapes
from hwopt.signature import VIEW, Signature
from hwopt.target import Target

InputShapes = Mapping[str, tuple[int, ...]]
Ask = Callable[[Sequence[Job]], list[Answer]]
Exact = Mapping[Signature, float]
_REASON_LENGTH = 100
_TOGETHER = 7  # rewrites of one network that are asked with it in one call


@dataclass(frozen=True)
class Subject:
    """A canonical network, what is known of it, and every value that some pass offers for it."""

    name: str
    family: str
    model: ir.Model
    input_shapes: InputShapes
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Facts:
    """A model beside the oracle's answer. left_out: groups that have no figure."""

    model: ir.Model
    shapes: Mapping[str, TensorInfo]
    parts: Partition
    groups: tuple[Group, ...]
    latency_us: float
    noise_us: float
    left_out: int


def make_subject(
    model: ir.Model,
    name: str,
    family: str,
    target: Target,
    passes: Sequence[Pass],
    input_shapes: InputShapes | None = None,
) -> Subject:
    """The model made canonical, with the values of all risks that the passes offer."""
    base = canonicalise(with_places(model), passes, target).model
    choices, _ = find_choices(base, passes, target, frozenset(Risk))
    values = tuple(value for choice in choices for value in choice.values)
    return Subject(name, family, base, input_shapes or {}, values)


def choose(subjects: Sequence[Subject], count: int, seed: int, most: int) -> dict[str, list[Value]]:
    """About `count` values in all, at most `most` of one network, spread evenly over kinds of values."""
    rng = np.random.default_rng(seed)
    queues: dict[str, list[tuple[str, Value]]] = {}
    for subject in subjects:
        for value in subject.values:
            queues.setdefault(kind_of(value), []).append((subject.name, value))
    for kind in sorted(queues):
        queues[kind] = [queues[kind][i] for i in rng.permutation(len(queues[kind]))]
    chosen: dict[str, list[Value]] = {subject.name: [] for subject in subjects}
    while count > 0 and any(queues.values()):
        for kind in sorted(queues):
            taken = next((item for item in queues[kind] if len(chosen[item[0]]) < most), None)
            queues[kind] = [] if taken is None else queues[kind][queues[kind].index(taken) + 1 :]
            if taken is not None and count > 0:
                chosen[taken[0]].append(taken[1])
                count -= 1
    return chosen


def kind_of(value: Value) -> str:
    """What a value does, without its place: "fuse_ibn:fused_k3", "prune_channels:x0.67"."""
    before, after = value.parameters.get("from"), value.parameters.get("to")
    if re.fullmatch(r"w\d+", value.name) and isinstance(before, int) and isinstance(after, int):
        ratio = after / before
        near = min((5 / 6, 2 / 3, 1 / 2), key=lambda known: abs(known - ratio))
        return f"{value.pass_name}:x{near:.2f}" if ratio < 1 else value.pass_name
    return f"{value.pass_name}:{value.name}"


def asking(oracle: Oracle, cache: Cache) -> Ask:
    """Through the cache; an oracle that really measures is always asked, so that it can take turns."""
    if oracle.source == Source.MEASURED:
        return lambda jobs: oracle.measure(jobs)
    return lambda jobs: measure_cached(oracle, jobs, cache)


def measure_networks(
    subjects: Sequence[Subject], target: Target, ask: Ask, dropped: Counter[str]
) -> list[tuple[Subject, Facts]]:
    """The networks that the target can run, with the oracle's figures."""
    answers = ask([Job(bound_bytes(subject.model, subject.input_shapes)) for subject in subjects])
    found = []
    for subject, answer in zip(subjects, answers, strict=True):
        facts = _facts(subject, subject.model, answer, target, dropped)
        if facts is not None:
            found.append((subject, facts))
    return found


def measure_rewrites(
    subject: Subject, values: Sequence[Value], target: Target, ask: Ask, dropped: Counter[str]
) -> list[tuple[Value, Facts, Facts]]:
    """Each value with the network before and after it.

    A few at a time, the network itself among them: what is measured together can be compared.
    """
    found = []
    for start in range(0, len(values), _TOGETHER):
        found += _measure_together(subject, values[start : start + _TOGETHER], target, ask, dropped)
    return found


def _measure_together(
    subject: Subject, values: Sequence[Value], target: Target, ask: Ask, dropped: Counter[str]
) -> list[tuple[Value, Facts, Facts]]:
    written = list(_written(subject, values, dropped))
    models = [subject.model, *(model for _, model in written)]
    answers = ask([Job(bound_bytes(model, subject.input_shapes)) for model in models])
    base = _facts(subject, subject.model, answers[0], target, dropped)
    found = []
    for (value, model), answer in zip(written, answers[1:], strict=True):
        facts = _facts(subject, model, answer, target, dropped)
        if base is None or facts is None:
            continue
        if facts.left_out != base.left_out:
            dropped["rewrite: changes which operators have a figure"] += 1
        else:
            found.append((value, base, facts))
    return found


def _written(
    subject: Subject, values: Sequence[Value], dropped: Counter[str]
) -> Iterator[tuple[Value, ir.Model]]:
    for value in values:
        try:
            yield value, rewrite(subject.model, [value])
        except HwoptError as error:
            dropped[f"rewrite: {error}"[:_REASON_LENGTH]] += 1


def network_of(subject: Subject, facts: Facts) -> Network:
    """The network's row of the truth."""
    return Network(subject.name, subject.family, facts.groups, facts.latency_us, facts.noise_us)


def rewrite_of(subject: Subject, value: Value, before: Facts, after: Facts) -> Rewrite:
    """What the value changed: groups of one signature cancel, however they are called."""
    noise = float(np.hypot(before.noise_us, after.noise_us))
    return Rewrite(
        network=subject.name,
        family=subject.family,
        change=kind_of(value),
        removed=_without(before.groups, after.groups),
        added=_without(after.groups, before.groups),
        before_us=before.latency_us,
        after_us=after.latency_us,
        noise_us=noise,
    )


def exact_figures(facts: Facts, wanted: Collection[Signature], oracle: Oracle, cache: Cache) -> Exact:
    """What the oracle says of these groups cut out of the model one by one, as `--refine` asks."""
    curious = _Curious(frozenset(wanted))
    learned = refine_most_uncertain(
        facts.model, facts.parts, facts.shapes, curious, oracle, len(curious.wanted), cache
    )
    return {s: learned.predict([s])[0].value for s in wanted if learned.settled(s)}


def with_exact(groups: Iterable[Group], exact: Exact) -> tuple[Group, ...]:
    """The groups with their exact figures, where there are some."""
    return tuple(replace(group, exact_us=exact.get(group.signature)) for group in groups)


class _Curious:
    """A pricer that wants to know about a few signatures and nothing else."""

    def __init__(self, wanted: frozenset[Signature]) -> None:
        self.wanted = wanted

    def knows(self, signature: Signature) -> bool:
        return signature in self.wanted

    def predict(self, signatures: Sequence[Signature]) -> list[Estimate]:
        return [Estimate(1.0, 1.0, Source.PREDICTED) for _ in signatures]


def _facts(
    subject: Subject, model: ir.Model, answer: Answer, target: Target, dropped: Counter[str]
) -> Facts | None:
    """The model's groups with their rows of the answer; None, and counted, where it cannot be used."""
    reason = unusable(answer, target)
    if reason or isinstance(answer, Unmeasured):
        dropped[f"model: {reason}"[:_REASON_LENGTH]] += 1
        return None
    shapes = infer_shapes(model, subject.input_shapes)
    parts = partition(model, shapes, target)
    rows = {row.output: row.latency_us for row in answer.rows}
    groups, strange_us, left_out = [], 0.0, 0
    for part in parts.subgraphs:
        names = [value.name or "" for node in part.nodes for value in node.outputs]
        latency = sum(rows.get(name, 0.0) for name in names)
        if part.kind == VIEW:
            continue
        if part.priced and not any(name in answer.unpriced for name in names):
            groups.append(Group(part.signature, latency))
        else:
            left_out += 1
            strange_us += latency
    total = answer.latency_us - strange_us
    noise = float(answer.details.get("noise", 0.0)) * total
    return Facts(model, shapes, parts, tuple(groups), total, noise, left_out)


def _without(groups: Sequence[Group], others: Sequence[Group]) -> tuple[Group, ...]:
    """The groups that have no partner of their signature among the others."""
    partners = Counter(group.signature for group in others)
    alone = []
    for group in groups:
        if partners[group.signature] > 0:
            partners[group.signature] -= 1
        else:
            alone.append(group)
    return tuple(alone)
