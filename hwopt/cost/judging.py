"""How good prices are on held-out truth: whole networks, and the effects of single rewrites."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from hwopt.cost.heldout import Group, HeldOut, Network, Rewrite
from hwopt.estimate import Estimate, Source, total
from hwopt.signature import Signature

LEAST_EFFECT = 0.005  # of the model's latency: below, nobody asks for the sign
NOISES = 3.0  # a measured effect counts beyond so many times its own noise

Column = npt.NDArray[np.float64]


class Predictor(Protocol):
    """Whatever prices groups: a cost model, or a peer that it is compared with."""

    def predict(self, signatures: Sequence[Signature]) -> list[Estimate]:
        """Latency in microseconds of each group, in order."""


@dataclass(frozen=True)
class JudgedNetwork:
    """A whole model beside its prediction."""

    network: Network
    predicted: Estimate


@dataclass(frozen=True)
class JudgedRewrite:
    """A rewrite beside its predicted effect, in microseconds."""

    rewrite: Rewrite
    effect: Estimate


@dataclass(frozen=True)
class JudgedGroup:
    """One distinct operator group of a whole model beside its prediction."""

    group: Group
    predicted: Estimate


@dataclass(frozen=True)
class Judged:
    """Predictions of everything in a piece of held-out truth."""

    networks: tuple[JudgedNetwork, ...] = ()
    rewrites: tuple[JudgedRewrite, ...] = ()
    groups: tuple[JudgedGroup, ...] = ()

    def __add__(self, other: Judged) -> Judged:
        return Judged(
            self.networks + other.networks, self.rewrites + other.rewrites, self.groups + other.groups
        )


@dataclass(frozen=True)
class NetworkScores:
    """Relative errors of whole models in percent; spearman: of the order, 1 is perfect.

    covered_1, covered_2: share whose error is within one and two stated spreads (68 and 95 where
        the spread is right).
    """

    number: int
    mape: float
    bias: float
    within_5: float
    within_10: float
    worst: float
    spearman: float
    covered_1: float
    covered_2: float


@dataclass(frozen=True)
class RewriteScores:
    """Effects of single rewrites.

    moving: how many move the model enough for their sign to be asked. right_sign: share of those,
        in percent. effect_error: mean absolute error of all effects, in percent of the model.
    best_found: share of networks whose fastest variant (or none of them) was predicted as such;
        regret: mean loss by following the predictions, in percent of the model.
    """

    number: int
    moving: int
    right_sign: float
    effect_error: float
    spearman: float
    best_found: float
    regret: float


@dataclass(frozen=True)
class KindScores:
    """Errors of the distinct groups of one kind inside whole models, in percent."""

    kind: str
    number: int
    mape: float
    bias: float
    within_5: float
    within_10: float
    covered_2: float


def judge(truth: HeldOut, model: Predictor, refine: int = 0) -> Judged:
    """Prices everything. refine: the so many most uncertain groups get their exact figures.

    Of a rewrite they are the most uncertain ones among those that it changes: the others cancel.
    """
    known = truth.signatures
    prices = dict(zip(known, model.predict(known), strict=True))
    return Judged(
        tuple(JudgedNetwork(n, total(_priced(n.groups, prices, refine))) for n in truth.networks),
        tuple(JudgedRewrite(r, _effect(r, prices, refine)) for r in truth.rewrites),
        tuple(
            JudgedGroup(group, prices[group.signature])
            for network in truth.networks
            for group in {g.signature: g for g in network.groups}.values()
        ),
    )


def _priced(groups: Sequence[Group], prices: dict[Signature, Estimate], refine: int) -> list[Estimate]:
    """Each group's price; the groups whose spreads weigh most are known exactly."""
    spread: dict[Signature, float] = {}
    for group in groups:
        spread[group.signature] = spread.get(group.signature, 0.0) + prices[group.signature].spread
    ranked = sorted((s for s in spread if spread[s] > 0), key=lambda s: (-spread[s], s.key()))
    exact = frozenset(ranked[:refine])
    return [_exactly(group) if group.signature in exact else prices[group.signature] for group in groups]


def _exactly(group: Group) -> Estimate:
    return Estimate(group.latency_us if group.exact_us is None else group.exact_us, 0.0, Source.COMPILED)


def _effect(item: Rewrite, prices: dict[Signature, Estimate], refine: int) -> Estimate:
    """What came minus what went; what all predictions are wrong by together cancels."""
    estimates = _priced((*item.removed, *item.added), prices, refine)
    removed = total(estimates[: len(item.removed)])
    added = total(estimates[len(item.removed) :])
    own = [max(e.spread**2 - e.common**2, 0.0) for e in (removed, added)]
    common = added.common - removed.common
    return Estimate(added.value - removed.value, sqrt(sum(own) + common**2), Source.PREDICTED)


def network_scores(judged: Sequence[JudgedNetwork]) -> NetworkScores:
    """Scores of whole models; all zero for none."""
    if not judged:
        return NetworkScores(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    measured = np.array([item.network.latency_us for item in judged])
    predicted = np.array([item.predicted.value for item in judged])
    spread = np.array([item.predicted.spread for item in judged])
    error = predicted / measured - 1.0
    off = np.abs(predicted - measured)
    return NetworkScores(
        number=len(judged),
        mape=_percent(np.abs(error)),
        bias=_percent(error),
        within_5=_percent(np.abs(error) <= 0.05),
        within_10=_percent(np.abs(error) <= 0.10),
        worst=float(100 * np.abs(error).max()),
        spearman=_spearman(measured, predicted),
        covered_1=_percent(off <= spread),
        covered_2=_percent(off <= 2 * spread),
    )


def rewrite_scores(judged: Sequence[JudgedRewrite]) -> RewriteScores:
    """Scores of single rewrites; all zero for none."""
    if not judged:
        return RewriteScores(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)
    before = np.array([item.rewrite.before_us for item in judged])
    measured = np.array([item.rewrite.effect_us for item in judged])
    predicted = np.array([item.effect.value for item in judged])
    moving = np.array([counts(item.rewrite) for item in judged])
    hits, regrets = _best_of_variants(judged)
    right = (np.sign(predicted) == np.sign(measured))[moving]
    return RewriteScores(
        number=len(judged),
        moving=int(moving.sum()),
        right_sign=_percent(right) if len(right) else 0.0,
        effect_error=_percent(np.abs(predicted - measured) / before),
        spearman=_spearman(measured / before, predicted / before),
        best_found=_percent(hits),
        regret=_percent(regrets),
    )


def kind_scores(judged: Sequence[JudgedGroup]) -> list[KindScores]:
    """Scores of fused groups kind by kind; groups that took no time of their own are left out."""
    timed = [item for item in judged if item.group.latency_us > 0]
    return [
        _kind_scores(kind, [item for item in timed if item.group.signature.kind == kind])
        for kind in sorted({item.group.signature.kind for item in timed})
    ]


def _kind_scores(kind: str, own: Sequence[JudgedGroup]) -> KindScores:
    measured = np.array([item.group.latency_us for item in own])
    predicted = np.array([item.predicted.value for item in own])
    spread = np.array([item.predicted.spread for item in own])
    error = predicted / measured - 1.0
    return KindScores(
        kind=kind,
        number=len(own),
        mape=_percent(np.abs(error)),
        bias=_percent(error),
        within_5=_percent(np.abs(error) <= 0.05),
        within_10=_percent(np.abs(error) <= 0.10),
        covered_2=_percent(np.abs(predicted - measured) <= 2 * spread),
    )


def counts(item: Rewrite) -> bool:
    """Whether the effect is large enough for its sign to matter, or, where measured, to be known."""
    if item.noise_us > 0:
        return abs(item.effect_us) > NOISES * item.noise_us
    return abs(item.effect_us) >= LEAST_EFFECT * item.before_us


def _best_of_variants(judged: Iterable[JudgedRewrite]) -> tuple[Column, Column]:
    """Per network: whether the predicted best is the best, and what following it loses."""
    of: dict[str, list[JudgedRewrite]] = {}
    for item in judged:
        of.setdefault(item.rewrite.network, []).append(item)
    hits, regrets = [], []
    for variants in of.values():
        real = np.array([0.0, *(v.rewrite.effect_us / v.rewrite.before_us for v in variants)])
        said = np.array([0.0, *(v.effect.value / v.rewrite.before_us for v in variants)])
        lost = float(real[said.argmin()] - real.min())
        hits.append(float(lost == 0.0))
        regrets.append(lost)
    return np.array(hits), np.array(regrets)


def _spearman(one: Column, other: Column) -> float:
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)


def _percent(shares: npt.NDArray[np.generic]) -> float:
    return float(100 * np.asarray(shares, np.float64).mean())
