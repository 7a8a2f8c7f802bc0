"""Whether a target can be trusted: its file, its pins, its data, its oracle, and its predictions today.

Everything that can be checked is checked; nothing here raises for what a check finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from math import sqrt
from pathlib import Path

import numpy as np
import onnx_ir as ir

from hwopt.cost import dataset
from hwopt.cost.campaign import CampaignPlan, draw
from hwopt.cost.loading import load_cost_model
from hwopt.cost.measure import measure_rows
from hwopt.cost.model import CostModel
from hwopt.cost.sampling import Sample
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_weights import random_style
from hwopt.errors import HwoptError
from hwopt.ir import model_bytes
from hwopt.oracles.cache import Cache
from hwopt.oracles.options import layers_alone
from hwopt.oracles.protocol import Job, Oracle, Unmeasured
from hwopt.report.words import byte_count, microseconds
from hwopt.target.check import check_target_toml
from hwopt.target.file import FILE_NAME, Target
from hwopt.target.home import SIZE_LIMIT, folder_bytes

SPOT_SEED = 20_000_033  # far from what campaigns are drawn with
_SPREADS = 2.0
_LEAST_COVERED = 0.75  # 95% are expected; 15 of 20 or fewer happen once in 300 checks by chance
_LEAST_SPOTS = 5

OnSpot = Callable[[int, int], None]


class Verdict(StrEnum):
    """FINE; BAD: it works, but should not be trusted; BROKEN: it cannot be used; OPEN: not checked."""

    FINE = "fine"
    BAD = "bad"
    BROKEN = "broken"
    OPEN = "not checked"


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    topic: str
    verdict: Verdict
    text: str


@dataclass(frozen=True)
class Spot:
    """One fresh sample: microseconds measured now, predicted, and the prediction's spread."""

    sample: str
    kinds: str
    measured_us: float
    predicted_us: float
    spread_us: float

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted_us / self.measured_us - 1.0

    @property
    def covered(self) -> bool:
        """Whether the measured figure lies within two spreads of the predicted one."""
        return abs(self.predicted_us - self.measured_us) <= _SPREADS * self.spread_us


def check_file(folder: Path) -> list[Finding]:
    """Every problem of FOLDER/target.toml; one finding that it is fine where there is none."""
    problems = check_target_toml(folder / FILE_NAME)
    if problems:
        return [Finding("target.toml", Verdict.BROKEN, problem) for problem in problems]
    return [Finding("target.toml", Verdict.FINE, "every key is understood")]


def check_folder(target: Target) -> Iterator[Finding]:
    """Name, size, measurements, cost model and its pins."""
    if target.name != target.folder.resolve().name:
        says = (
            f"name is '{target.name}', but the folder is {target.folder.resolve().name}: give both one name"
        )
        yield Finding("name", Verdict.BAD, says)
    size = folder_bytes(target.folder)
    fits = Verdict.FINE if size <= SIZE_LIMIT else Verdict.BAD
    yield Finding("size", fits, f"{byte_count(size)} of at most {byte_count(SIZE_LIMIT)}")
    yield _measurements(target)
    yield _cost_model(target)


def _measurements(target: Target) -> Finding:
    path = target.folder / dataset.FILE_NAME
    if not path.exists():
        return Finding("measurements", Verdict.BAD, f"none yet: hwopt targets measure {target.name}")
    try:
        rows, sha256 = dataset.read_with_hash(path)
    except HwoptError as error:
        return Finding("measurements", Verdict.BROKEN, str(error))
    if any(not np.isfinite(row.latency_us) or row.latency_us < 0 for row in rows):
        return Finding("measurements", Verdict.BROKEN, f"{path}: a latency is negative or no number")
    if target.cost_model is not None and target.cost_model.data_sha256 != sha256:
        says = f"not those that the cost model was fitted on: hwopt targets fit {target.name}"
        return Finding("measurements", Verdict.BAD, says)
    families = len({row.family for row in rows})
    return Finding("measurements", Verdict.FINE, f"{len(rows)} groups from {families} families")


def _cost_model(target: Target) -> Finding:
    if target.cost_model is None:
        return Finding("cost model", Verdict.BAD, f"not fitted yet: hwopt targets fit {target.name}")
    try:
        model = load_cost_model(target)
    except HwoptError as error:
        return Finding("cost model", Verdict.BROKEN, str(error))
    kinds = sum(count > 0 for count in model.header.rows.values())
    return Finding("cost model", Verdict.FINE, f"the pinned one; knows {kinds} kinds of operators")


def check_oracle(oracle: Oracle) -> Finding:
    """Whether the oracle answers on one small convolution."""
    try:
        (answer,) = oracle.measure([Job(model_bytes(_tiny()))])
    except HwoptError as error:
        return Finding("oracle", Verdict.BROKEN, str(error))
    if isinstance(answer, Unmeasured):
        return Finding("oracle", Verdict.BROKEN, f"no answer to one convolution: {answer.reason}")
    if answer.latency_us <= 0:
        return Finding("oracle", Verdict.BROKEN, f"says {answer.latency_us:g} us for one convolution")
    says = f"answers: one 3x3 convolution in {microseconds(answer.latency_us)}"
    return Finding("oracle", Verdict.FINE, says)


def _tiny() -> ir.Model:
    net = Net("check", random_style(np.random.default_rng(0)), (0,))
    return net.model(net.conv(net.input(1, 16, 14, 14), 16, 3))


def spot_check(
    target: Target, oracle: Oracle, count: int, cache: Cache, on_spot: OnSpot | None = None
) -> list[Spot]:
    """Fresh samples, measured now and predicted by the pinned cost model; at most `count`.

    Raises BadInput where there is no cost model to be loaded.
    """
    model = load_cost_model(target)
    plan = CampaignPlan(count, seed=SPOT_SEED, layers=layers_alone(target.oracle.name, target.oracle.options))
    drawn = _one_of_each(draw(plan, target)) if plan.layers else draw(plan, target)
    tell = None if on_spot is None else (lambda done, rows: on_spot(done, count))
    rows = measure_rows(target, oracle, drawn, cache, tell, batch=count).rows
    samples = dict.fromkeys(row.sample for row in rows)
    spots = (_spot(model, [row for row in rows if row.sample == name]) for name in samples)
    return [spot for spot in spots if spot is not None]


def _one_of_each(layers: Iterable[Sample]) -> Iterator[Sample]:
    """One layer of each model, another one each time."""
    for number, (_, group) in enumerate(groupby(layers, key=lambda layer: layer.name.rpartition(".")[0])):
        found = list(group)
        yield found[number % len(found)]


def _spot(model: CostModel, rows: Sequence[dataset.Sample]) -> Spot | None:
    """A sample's sums; None where it ran for free or holds a kind that was never measured."""
    rows = [row for row in rows if row.latency_us > 0]
    if not rows or not all(model.knows(row.signature) for row in rows):
        return None
    estimates = model.predict([row.signature for row in rows])
    kinds = dict.fromkeys(row.signature.kind for row in rows)
    return Spot(
        sample=rows[0].sample,
        kinds=", ".join(kinds),
        measured_us=sum(row.latency_us for row in rows),
        predicted_us=sum(estimate.value for estimate in estimates),
        spread_us=sqrt(sum(estimate.spread**2 for estimate in estimates)),
    )


def judge(spots: Sequence[Spot]) -> Finding:
    """Whether the spreads that the cost model states are honest on what was just measured."""
    if len(spots) < _LEAST_SPOTS:
        says = f"only {len(spots)} fresh samples could be compared: ask for more"
        return Finding("accuracy", Verdict.OPEN, says)
    covered = sum(spot.covered for spot in spots) / len(spots)
    error = sum(abs(spot.error) for spot in spots) / len(spots)
    within = sum(abs(spot.error) <= 0.1 for spot in spots) / len(spots)
    says = (
        f"{len(spots)} fresh samples: {100 * covered:.0f}% within two spreads (95% if they are honest), "
        f"{100 * within:.0f}% within 10%, mean error {100 * error:.1f}%"
    )
    return Finding("accuracy", Verdict.FINE if covered >= _LEAST_COVERED else Verdict.BAD, says)


def exit_code(findings: Sequence[Finding]) -> int:
    """2 where something is broken, 1 where something should not be trusted, else 0."""
    verdicts = {finding.verdict for finding in findings}
    return 2 if Verdict.BROKEN in verdicts else int(Verdict.BAD in verdicts)
