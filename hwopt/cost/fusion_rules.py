"""Fusion rules of an unknown device, found by measurement.

    findings = find_fusions(target, oracle, cache)
    findings.toml()      # [[fusion]] tables for target.toml
    findings.csv()       # the evidence: one line per pair and shape

Every operator that may stand first is tried with every one that may stand behind it, at several
shapes. Where the oracle gives a row per operator, the rows are the evidence: an operator whose
row is zero or missing ran inside its neighbour. Otherwise times are compared, as nn-Meter does
(Zhang et al., MobiSys 2021): A and B run as one if T(A) + T(B) - T(AB) is more than
half of the smaller of the two. Unlike there, what a call costs besides its operators is measured
on a chain of convolutions and taken off first (it is counted twice in T(A) + T(B), and would
make everything look fused), and a difference within the oracle's own noise decides nothing.

A pair is a rule if more shapes speak for it than against it. Where followers of two stages are
fused (normalisation, arithmetic, activation), chains of three tell whether both fit in one group.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

from hwopt.cost.fusion_pairs import ANCHORS, CASES, FOLLOWERS, Case, stage_of
from hwopt.cost.fusion_verdict import Evidence, Pair, Verdict, judge_pairs
from hwopt.errors import BadInput
from hwopt.oracles.cache import Cache
from hwopt.oracles.protocol import Oracle, Progress
from hwopt.target.file import Fusion, Target

_COLUMNS = (
    "anchor",
    "followers",
    "shape",
    "how",
    "anchor_us",
    "follower_us",
    "pair_us",
    "call_us",
    "verdict",
    "reason",
)


@dataclass(frozen=True)
class FusionFindings:
    """What was found. rows: all evidence, chains of three behind the pairs; oracle: its identity."""

    rows: tuple[Evidence, ...]
    oracle: str

    def verdict(self, anchor: str, *followers: str) -> Verdict:
        """What most shapes say of a pair (or a chain); UNCLEAR on a tie, and where nothing was tried."""
        pair = Pair((anchor, *followers[:-1]), followers[-1]) if followers else None
        votes = [row.verdict for row in self.rows if row.pair == pair]
        fused, apart = votes.count(Verdict.FUSED), votes.count(Verdict.APART)
        if fused == apart:
            return Verdict.UNCLEAR
        return Verdict.FUSED if fused > apart else Verdict.APART

    def followers(self, anchor: str) -> tuple[str, ...]:
        """The followers that run inside this anchor, in the order of stages."""
        return tuple(name for name in FOLLOWERS if self.verdict(anchor, name) is Verdict.FUSED)

    @property
    def unclear(self) -> tuple[tuple[str, str], ...]:
        """Pairs that were tried and decided nothing; they are left apart."""
        tried = dict.fromkeys(
            (row.pair.first[0], row.pair.last) for row in self.rows if len(row.pair.first) == 1
        )
        return tuple(pair for pair in tried if self.verdict(*pair) is Verdict.UNCLEAR)

    @property
    def rules(self) -> tuple[Fusion, ...]:
        """The rules as a target holds them."""
        return tuple(
            Fusion(frozenset(anchors), tuple(frozenset(slot) for slot in slots))
            for anchors, slots in self._tables()
        )

    def toml(self) -> str:
        """`[[fusion]]` tables for the end of a target.toml; a comment where nothing is fused."""
        lines = [f"# Found by measurement: {' '.join(self.oracle.split())}."]
        for anchors, slots in self._tables():
            followers = ",\n  ".join(_words(slot) for slot in slots)
            lines += ["", "[[fusion]]", f"anchors = {_words(anchors)}", f"followers = [\n  {followers},\n]"]
        if len(lines) == 1:
            lines.append("# No pair of operators runs as one.")
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """The evidence as CSV text with a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in self.rows:
            first, *rest = (*row.pair.first, row.pair.last)
            times = (row.anchor_us, row.follower_us, row.pair_us, row.call_us)
            shape = "x".join(map(str, row.shape))
            said = (row.verdict.value, row.reason)
            writer.writerow((first, "+".join(rest), shape, row.how, *map(_number, times), *said))
        return text.getvalue()

    def _tables(self) -> list[tuple[list[str], list[list[str]]]]:
        """Anchors that take the same followers, in the order in which they are known."""
        slots = {anchor: self._slots(anchor) for anchor in ANCHORS}
        distinct = [value for value in dict.fromkeys(map(_frozen, slots.values())) if value]
        return [
            (
                [anchor for anchor in ANCHORS if _frozen(slots[anchor]) == value],
                [list(slot) for slot in value],
            )
            for value in distinct
        ]

    def _slots(self, anchor: str) -> list[list[str]]:
        """One slot per stage where chains showed that both fit, else one slot for either."""
        slots: list[list[list[str]]] = []  # of stages, each a list of followers
        for names in _stages(self.followers(anchor)):
            before = slots[-1] if slots else []
            if all(self.verdict(anchor, stage[0], names[0]) is Verdict.FUSED for stage in before):
                slots.append([names])
            else:
                before.append(names)
        return [[name for stage in slot for name in stage] for slot in slots]


def find_fusions(
    ops: Target | Iterable[str],
    oracle: Oracle,
    cache: Cache,
    progress: Progress | None = None,
    cases: Sequence[Case] = CASES,
) -> FusionFindings:
    """Which operators the oracle's device runs as one.

    ops: the target (what its engines run is tried with every known follower: a device that cannot
        run one says so), or words of target files ("Conv", "DepthwiseConv", "Clip", "Silu" ...),
        of which those that may stand first are tried with those that may stand behind them.
    oracle: asked through the cache, so that an interrupted run goes on where it stopped. It
        must not itself depend on the target's fusion rules (`table` and `zigzag` do: they can show
        nothing here).
    progress: (jobs done, jobs known so far); the second number grows when times must be compared.
    cases: the sizes that each pair is tried at.
    Raises BadInput where no operator that may stand first, or none that may stand behind, is known.
    """
    first, second = _words_of(ops)
    anchors = [name for name in ANCHORS if name in first]
    followers = [name for name in FOLLOWERS if name in second]
    if not anchors or not followers:
        missing, known = ("first", ANCHORS) if not anchors else ("second", FOLLOWERS)
        raise BadInput(f"no operator to try {missing} in a pair: name some of {', '.join(known)}")
    pairs = [Pair((anchor,), follower) for anchor in anchors for follower in followers]
    found = FusionFindings(judge_pairs(pairs, cases, oracle, cache, progress), oracle.identity)
    chains = [pair for anchor in anchors for pair in _chains(anchor, found.followers(anchor))]
    return FusionFindings(
        (*found.rows, *judge_pairs(chains, cases, oracle, cache, progress)), oracle.identity
    )


def _words_of(ops: Target | Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """What may stand first and second. A target's file need not name what only ever runs fused."""
    if isinstance(ops, Target):
        return frozenset().union(*(engine.ops for engine in ops.engines)), frozenset(FOLLOWERS)
    words = frozenset(ops)
    return words, words


def _chains(anchor: str, followers: Sequence[str]) -> list[Pair]:
    """The first follower of each stage, then the first of each later one."""
    return [Pair((anchor, a[0]), b[0]) for a, b in combinations(_stages(followers), 2)]


def _stages(followers: Sequence[str]) -> list[list[str]]:
    return [list(names) for _, names in groupby(followers, key=stage_of)]


def _frozen(slots: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(slot) for slot in slots)


def _words(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def summary(findings: FusionFindings) -> Mapping[str, tuple[str, ...]]:
    """Followers by anchor, for those anchors that have any."""
    return {anchor: names for anchor in ANCHORS if (names := findings.followers(anchor))}
