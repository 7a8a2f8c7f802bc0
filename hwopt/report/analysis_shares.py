"""Subgraphs added up by what they have in common, and the bottleneck of the whole model in a sentence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from hwopt.estimate import Estimate, total
from hwopt.report.schema import Missing, Number, ShareRow, SubgraphRow, WhereTimeGoes

NOTHING_PRICED = "Nothing of this model has a price on this target"
_ENOUGH = 0.5  # of the time: what a bottleneck explains
_MOST_KINDS = 3
_MOSTLY = 0.6  # of a kind's time, from where one bound stands for all of it

KIND_WORDS = {
    "conv": "dense convolution",
    "depthwise": "depthwise convolution",
    "grouped": "grouped convolution",
    "pointwise": "pointwise convolution",
    "transposed": "transposed convolution",
    "gemm": "fully connected layer",
    "matmul": "matrix product",
    "add": "addition",
    "mul": "multiplication",
    "pool": "pooling operator",
    "global_pool": "global pooling operator",
    "concat": "concatenation",
    "split": "split",
    "resize": "resize",
    "view": "view",
    "activation": "activation",
    "reduce": "reduction",
    "softmax": "softmax",
    "pad": "padding",
    "transpose": "transposition",
}
_PLURALS = {"softmax": "softmaxes"}
BOUND_WORDS = {
    "compute": "the MAC array",
    "on_chip": "on-chip memory",
    "off_chip": "off-chip memory",
    "": "nothing",
}


def where_time_goes(rows: Sequence[SubgraphRow]) -> WhereTimeGoes:
    """Totals by kind, by engine and by bound, the longest first, and the sentence about them."""
    kinds = _added_up(rows, kind_of)
    return WhereTimeGoes(
        bottleneck=bottleneck(rows, kinds),
        kinds=kinds,
        engines=_added_up(rows, lambda row: row.engine or "none"),
        bounds=_added_up(rows, lambda row: row.bound or "none"),
    )


def kind_of(row: SubgraphRow) -> str:
    """Its kind, and where that is no word for it the operator."""
    return row.ops[0] if row.kind == "other" and row.ops else row.kind


def microseconds(row: SubgraphRow) -> float:
    """A subgraph's latency; 0 where it has none."""
    return row.latency_us.value if isinstance(row.latency_us, Estimate) else 0.0


def _added_up(rows: Sequence[SubgraphRow], name_of: Callable[[SubgraphRow], str]) -> tuple[ShareRow, ...]:
    named: dict[str, list[SubgraphRow]] = defaultdict(list)
    for row in rows:
        named[name_of(row)].append(row)
    whole = sum(map(microseconds, rows))
    found = [_share(name, members, whole) for name, members in named.items()]
    return tuple(sorted(found, key=lambda row: (-_value(row.share), row.name)))


def _share(name: str, rows: Sequence[SubgraphRow], whole: float) -> ShareRow:
    priced = [row.latency_us for row in rows if isinstance(row.latency_us, Estimate)]
    latency = total(priced) if priced else Missing("it has no price")
    share = latency.value / whole if isinstance(latency, Estimate) and whole else None
    return ShareRow(
        name=name,
        subgraphs=len(rows),
        latency_us=latency,
        share=Missing("it has no price") if share is None else share,
        utilisation=_utilisation(rows),
        macs=sum(row.macs for row in rows),
        weight_bytes=sum(row.weight_bytes for row in rows),
        on_chip_bytes=sum(row.roofs.on_chip_bytes for row in rows if row.roofs),
        off_chip_bytes=sum(row.roofs.off_chip_bytes for row in rows if row.roofs),
    )


def _utilisation(rows: Sequence[SubgraphRow]) -> Number:
    """Of the array's peak, over the time that they take: weighted by that."""
    timed = [(microseconds(row), row.utilisation) for row in rows]
    known = [(time, share) for time, share in timed if time > 0 and isinstance(share, float)]
    spent = sum(time for time, _ in known)
    return sum(time * share for time, share in known) / spent if spent else Missing("it costs no time")


def bottleneck(rows: Sequence[SubgraphRow], kinds: Sequence[ShareRow]) -> str:
    """What takes most of the time, and why: "62% of the time is spent in 16 ..."."""
    top: list[ShareRow] = []
    for kind in kinds[:_MOST_KINDS]:
        if sum(_value(row.share) for row in top) < _ENOUGH and _value(kind.share) > 0:
            top.append(kind)
    if not top:
        return NOTHING_PRICED
    part = "of the time of what has a price" if any(_without_price(row) for row in rows) else "of the time"
    said = f"{percent(sum(_value(row.share) for row in top))} {part} is spent in"
    if len(top) == 1:
        return f"{said} {_counted(top[0])} {_manner(rows, top[0])}"
    *first, last = [f"{_counted(row)} ({percent(_value(row.share))}, {_use(row)})" for row in top]
    return f"{said} {', '.join(first)} and {last}"


def _without_price(row: SubgraphRow) -> bool:
    return isinstance(row.latency_us, Missing)


def _counted(kind: ShareRow) -> str:
    word = KIND_WORDS.get(kind.name, kind.name)
    if kind.subgraphs == 1:
        return f"one {word}"
    return f"{kind.subgraphs} {_PLURALS.get(kind.name, f'{word}s')}"


def _use(kind: ShareRow) -> str:
    if not kind.macs:
        return "no multiply-adds"
    return f"{percent(_value(kind.utilisation))} of the MAC array"


def _manner(rows: Sequence[SubgraphRow], kind: ShareRow) -> str:
    """How they use the machine: the array, and the memory that most of their time is spent waiting for."""
    one = kind.subgraphs == 1
    uses = f"that {'uses' if one else 'use'} {_use(kind)}"
    if not kind.macs:
        uses = f"that {'does' if one else 'do'} {_use(kind)}"
    bound = _mostly_bound(rows, kind.name)
    if bound in ("on_chip", "off_chip"):
        uses += f" and {'waits' if one else 'wait'} for {BOUND_WORDS[bound]}"
    return uses


def _mostly_bound(rows: Sequence[SubgraphRow], kind: str) -> str:
    spent: dict[str, float] = defaultdict(float)
    for row in rows:
        if kind_of(row) == kind:
            spent[row.bound] += microseconds(row)
    most = max(spent, key=lambda bound: spent[bound])
    return most if spent[most] >= _MOSTLY * sum(spent.values()) else ""


def percent(share: float) -> str:
    """61%, 1.6%, 0.04%: two digits, as people say it."""
    return f"{float(f'{100 * share:.2g}'):g}%"


def _value(number: Number) -> float:
    return 0.0 if isinstance(number, Missing) else number
