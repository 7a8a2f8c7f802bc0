"""EfficientNet-Lite0 opened for bench.lossy: its blocks, its choices, and the damage of each value.

No target decides anything here: every value that any pass can offer is offered, and what is spent or saved is
parameters, multiply-adds or zeros, counted from the graph.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import onnx_ir as ir

from hwopt.assess import assess
from hwopt.bottleneck import InvertedBottleneck, bottleneck_around
from hwopt.calibration.data import Calibration, load_calibration
from hwopt.choice import Choice, Kind, Pass, Risk, Value, group_values
from hwopt.damage.harm import Harm
from hwopt.damage.tables import DamageTables
from hwopt.estimate import Estimate, Source
from hwopt.find import canonicalise, find_choices, with_places
from hwopt.ir import load_model
from hwopt.nodes import Conv, convs
from hwopt.passes.cluster_weights import ClusterWeights
from hwopt.passes.sparsify import Sparsify
from hwopt.places import place_of
from hwopt.pricing.price import draft, make_scene
from hwopt.registry import load_target, select_passes
from hwopt.repair.reference import Reference
from hwopt.repair.saliency import annotate
from hwopt.scope import NOTHING, Price, Problem, Scope
from hwopt.search.milp import solve
from hwopt.search.problem import Budget, Objective
from hwopt.settings import AccuracyLimit
from hwopt.signature import Signature
from hwopt.target import Target

SEED = 0
NO_LIMIT = AccuracyLimit("max_divergence", float("inf"))
MEASURE_ROUNDS = 6  # joint values that an allocation picked unmeasured are measured, and it is made again
Figure = Callable[[Price], float]
Turn = Callable[[Calibration], Calibration]


class Free:
    """A price list on which latency is nothing: allocations here count parameters and operations."""

    def knows(self, signature: Signature) -> bool:
        """Everything."""
        del signature
        return True

    def predict(self, signatures: Sequence[Signature]) -> list[Estimate]:
        """Zero, so often."""
        return [Estimate(0.0, 0.0, Source.COMPUTED)] * len(signatures)


@dataclass(frozen=True)
class Count:
    """What a model is made of, or as shares of another. zeros: of the weights of 1x1 convolutions."""

    params: float
    macs: float
    zeros: float


class Lab:
    """A model, calibration data, and everything that the passes could do to it."""

    def __init__(self, path: Path, calibration: Path, turned: Turn) -> None:
        self.loaded = with_places(load_model(path))
        self.target = load_target("edge-npu")
        every_layer = (Sparsify(smallest_share=0.0), ClusterWeights(smallest_share=0.0))
        passes = [*select_passes(disabled=[item.name for item in every_layer]), *every_layer]
        self.base = canonicalise(self.loaded, passes, self.target).model
        data = turned(load_calibration(calibration, self.base))
        self.reference = Reference(self.base, data, threads=1)  # rows are run side by side
        annotate(self.reference, SEED)
        self.choices = {choice.id: choice for choice in offered(self.base, passes, self.target)}
        self.harm = Harm(self.base, self.reference, NO_LIMIT, SEED)

    @cached_property
    def blocks(self) -> dict[int, InvertedBottleneck]:
        """Inverted bottlenecks by number, 1 for the first that expands."""
        around = [bottleneck_around(conv) for conv in convs(self.base) if conv.depthwise]
        full = [block for block in around if block is not None and block.expand is not None]
        return dict(enumerate(full, start=1))

    def form(self, block: int, value: str) -> dict[str, str]:
        """A value of the form of one block. Raises KeyError where no pass offers it."""
        choice = f"form:{place_of(self.blocks[block].depthwise.conv.node)}"
        offered = self.choices[choice].value(value)
        assert offered is not None
        return {choice: value}

    @cached_property
    def pointwise(self) -> list[Conv]:
        """All 1x1 convolutions of the base, in graph order."""
        return [conv for conv in convs(self.base) if conv.pointwise]

    def weight_choice(self, conv: Conv) -> Choice | None:
        """What may be decided about the weights of a convolution, None where nothing may be."""
        return self.choices.get(f"weights:{place_of(conv.node)}")

    def of_kind(self, *kinds: Kind, passes: Sequence[str] = ()) -> list[Choice]:
        """The choices of these kinds, with the values that these passes offer."""
        found = [choice for choice in self.choices.values() if choice.kind in kinds]
        kept = [replace(c, values=tuple(v for v in c.values if v.pass_name in passes)) for c in found]
        return [choice for choice in kept if choice.values]

    def count(self, model: ir.Model) -> Count:
        """Parameters, multiply-adds and zeros of a model."""
        found = assess(model, {}, self.target, Free())
        weights = [conv.weight for conv in convs(model) if conv.pointwise]
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        return Count(found.params, found.macs, zeros / max(sum(weight.size for weight in weights), 1))

    def widths(self) -> Problem:
        """Every joint width that the passes offer, as it counts in weights of a byte and multiply-adds."""
        shapes = assess(self.base, {}, self.target, Free()).shapes
        choices = self.of_kind(Kind.WIDTH, passes=["prune_channels"])
        return draft(make_scene(self.base, shapes, self.target), choices).problem(Free())

    def cheapest(self, problem: Problem, figure: Figure, limit: float) -> dict[str, str]:
        """The assignment that does least damage with the figure's sum within the limit.

        Damage is that of single values, added up; joint values of coupled choices that come out
        are measured, and the search is made again. Raises ValueError where nothing is that small.
        """
        counted = recount(problem, figure)
        tables = DamageTables(problem.choices, self.harm.of_values)
        tables.measure_singles(counted, (Objective.SIZE,))
        budget = Budget(Objective.DAMAGE, weight_bytes=int(limit))
        found: dict[str, str] = {}
        for _ in range(MEASURE_ROUNDS):
            whole = replace(counted, scopes=(*counted.scopes, *tables.scopes()))
            plan = solve(whole, budget, SEED).assignment
            if plan is None:
                raise ValueError(f"no values leave as little as {limit:,.0f}")
            found = dict(plan)
            if not tables.measure_chosen(found):
                break
        return found


def offered(base: ir.Model, passes: Sequence[Pass], target: Target) -> list[Choice]:
    """Every choice on a target that gains from everything: what a target lacks is offered by none of them."""
    unstructured = replace(target, weights_compressed=True, skipped_sparsity=("unstructured",))
    two_of_four = replace(target, weights_compressed=False, skipped_sparsity=("2:4",))
    values: dict[tuple[str, str], Value] = {}
    for gaining in (unstructured, two_of_four):
        for choice in find_choices(base, passes, gaining, frozenset({Risk.EXACT, Risk.LOSSY}))[0]:
            values |= {(choice.id, value.name): value for value in choice.values}
    return group_values(values.values())


def recount(problem: Problem, figure: Figure) -> Problem:
    """The problem with a figure of one's own where the bytes of the weights stood."""

    def counted(price: Price) -> Price:
        return replace(NOTHING, weight_bytes=round(figure(price)))

    scopes = tuple(
        replace(scope, table={key: counted(price) for key, price in scope.table.items()})
        for scope in problem.scopes
    )
    return Problem(problem.choices, scopes, counted(problem.fixed))


def listed(choices: Sequence[Choice], amounts: Mapping[str, Mapping[str, int]]) -> Problem:
    """A problem whose choices do not touch one another. amounts: of each value, "keep" included."""
    scopes = [
        Scope(
            choice.id,
            (choice.id,),
            {(name,): replace(NOTHING, weight_bytes=amount) for name, amount in row.items()},
        )
        for choice in choices
        if (row := amounts[choice.id])
    ]
    return Problem(tuple(choices), tuple(scopes), NOTHING)


def data_folder() -> Path:
    """The folder with the network and the images."""
    return Path(os.environ["HWOPT_DATA"])


def open_lab(turned: Turn = lambda calibration: calibration) -> Lab:
    """EfficientNet-Lite0 with its calibration images, or with what is made of them."""
    return Lab(data_folder() / "efficientnet_lite0.onnx", data_folder() / "imagenet" / "calib", turned)


def open_judge(lab: Lab) -> Calibration:
    """The evaluation images: nothing is fitted or chosen on them."""
    return load_calibration(data_folder() / "imagenet" / "eval", lab.base)
