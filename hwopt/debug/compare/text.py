"""A comparison as people read it: the verdict first, then why."""

from __future__ import annotations

from collections.abc import Iterator

from hwopt.debug.compare.layers import LayerGap, Layers, Maker
from hwopt.debug.compare.outputs import Comparison, OutputGap
from hwopt.debug.compare.stats import Gap

SHOWN_TENSORS = 20
SHOWN_NODES = 4
_ROUNDING = ("QuantizeLinear", "DequantizeLinear")
NOISY = 0.01  # an output that moves so much by itself tells little

OUTPUT_HEADER = ("output", "largest difference", "limit", "mean", "SNR", "top-1", "where it is largest")
LAYER_HEADER = ("tensor", "difference", "own part", "limit", "SNR", "node", "rewrite")


def verdict(found: Comparison, layers: Layers | None = None) -> str:
    """One line: whether they agree, and how much does not."""
    if found.failure:
        return f"different: {found.failure}"
    if not found.same:
        worse = sum(not output.same for output in found.outputs)
        breaking = [item for item in found.interface if item.breaks]
        parts = [f"{worse} of {len(found.outputs)} outputs differ{_beyond(found)}"] if worse else []
        if breaking:
            parts.append(f"{breaking[0].side} '{breaking[0].name}' {breaking[0].what}")
        return f"different: {'; '.join(parts)}"
    runs = f"on {len(found.inputs)} inputs" if len(found.inputs) > 1 else "on these inputs"
    if layers is not None and not layers.same:
        count = f"{len(layers.differing)} of {len(layers.tensors)} tensors inside"
        return f"different inside: all outputs agree {runs}, {count} do not"
    inside = "" if layers is None else f", and so do {len(layers.tensors)} tensors inside"
    count = "the output agrees" if len(found.outputs) == 1 else f"all {len(found.outputs)} outputs agree"
    return f"equal: {count} {runs}{inside}"


def _beyond(found: Comparison) -> str:
    if found.tolerance is None:
        return " by more than float rounding explains"
    return f" by more than {found.tolerance:g} of the largest value"


def notes(found: Comparison) -> Iterator[str]:
    """How the interfaces differ, and NaN and infinities."""
    for item in found.interface:
        yield f"{item.side} '{item.name}' {item.what}"
    for output in found.outputs:
        yield from (f"output '{output.name}': {text}" for text in odd_values(output.gap))
        if output.same and output.noise > NOISY:
            yield (
                f"output '{output.name}' moves by {output.noise:.2g} of its largest value when inputs move "
                "by one unit in their last place: these inputs tell little, give others with --inputs"
            )


def odd_values(gap: Gap) -> Iterator[str]:
    """What is no plain number in a tensor, and shapes and types that differ."""
    for what, (one, two) in (("NaN", gap.nan), ("infinite", gap.inf)):
        if one or two:
            yield f"{what} values: {one} in the first model, {two} in the second"
    if gap.shapes[0] != gap.shapes[1]:
        ours, theirs = map(_shape, gap.shapes)
        yield f"its shape is {ours} in the first model, {theirs} in the second"
    if gap.dtypes[0] != gap.dtypes[1]:
        yield f"its type is {gap.dtypes[0]} in the first model, {gap.dtypes[1]} in the second"


def output_row(output: OutputGap) -> list[str]:
    """A row under OUTPUT_HEADER."""
    top1 = "-" if output.top1 is None else f"{output.top1[0]} of {output.top1[1]}"
    return [
        output.name,
        share(output.gap),
        f"{output.limit:.2g}",
        f"{output.gap.mean_abs:.3g}",
        decibels(output.gap),
        top1,
        place(output.gap),
    ]


def layer_row(layer: LayerGap) -> list[str]:
    """A row under LAYER_HEADER."""
    made = [maker for maker in layer.two or layer.one if maker.op not in _ROUNDING][-1:]
    return [
        layer.name if layer.name == layer.other else f"{layer.name} / {layer.other}",
        f"{layer.gap.max_rel:.2g}",
        "-" if layer.own is None else f"{layer.own:.2g}{' *' if layer.begins else ''}",
        f"{layer.limit:.2g}",
        decibels(layer.gap),
        f"{made[0].op} {made[0].node}" if made else "-",
        ", ".join(" ".join(step.split()[:2]) for step in layer.rewrites) or "-",
    ]


def shown(layers: Layers) -> list[LayerGap]:
    """Tensors that are not the same bit by bit, in the order of the first model.

    Where they are many: those where a difference begins, then the furthest apart.
    """
    apart = [layer for layer in layers.tensors if layer.gap.different]
    worst = sorted(apart, key=lambda layer: (not layer.begins, -layer.excess))[:SHOWN_TENSORS]
    kept = {id(layer) for layer in worst}
    return [layer for layer in layers.tensors if id(layer) in kept]


def closest_call(layers: Layers) -> str:
    """Where nothing differs: the tensor that is nearest to its limit."""
    worst = max(layers.tensors, key=lambda layer: layer.excess, default=None)
    if worst is None or not worst.gap.different:
        return "all are the same bit by bit"
    return f"nearest to its limit: {named(worst)}, {share(worst.gap)}, limit {worst.limit:.2g}"


def first_lines(layer: LayerGap) -> Iterator[str]:
    """Everything about the first tensor that differs."""
    yield f"first tensor that differs: {named(layer)}"
    where = "" if layer.gap.at is None else f"; largest at {place(layer.gap)}"
    yield f"  difference: {share(layer.gap)}, limit {layer.limit:.2g}{where}"
    if layer.channels is not None:
        yield f"  compared: the {layer.channels} channels that are left"
    yield from (f"  {text}" for text in odd_values(layer.gap))
    yield f"  made in the first model by {_nodes(layer.one)}"
    yield f"  made in the second model by {_nodes(layer.two)}"
    yield from (f"  rewritten by {step}" for step in layer.rewrites)
    if layer.own is not None and layer.own != layer.gap.max_rel:
        yield f"  these nodes alone, fed as in the first model: {layer.own:.2g} of the largest value"


def left_out(layers: Layers) -> Iterator[str]:
    """How many tensors were not compared, and why."""
    places = {"both": "in both models", "first": "in the first model", "second": "in the second model"}
    reasons: dict[tuple[str, str], list[str]] = {}
    for item in layers.not_compared:
        reasons.setdefault((item.in_, item.reason), []).append(item.name)
    for (side, reason), names in reasons.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"not compared {places[side]}: '{names[0]}'{more}: {reason}"
    if any(layers.nested):
        first, second = layers.nested
        yield f"not looked into: graphs inside nodes ({first} nodes in the first, {second} in the second)"


def named(layer: LayerGap) -> str:
    """The tensor's name, and the other's where that is another."""
    other = "" if layer.name == layer.other else f" ('{layer.other}' in the second model)"
    return f"'{layer.name}'{other}"


def share(gap: Gap) -> str:
    """0.25 (3.1e-03 of the largest value)."""
    if gap.shapes[0] != gap.shapes[1]:
        return "another shape"
    if gap.max_abs == float("inf"):
        return "infinite: a number against NaN or infinity"
    return f"{gap.max_abs:.3g} ({gap.max_rel:.2g} of the largest value)"


def decibels(gap: Gap) -> str:
    """Signal over difference."""
    if gap.snr_db is None:
        return "-" if gap.different else "exact"
    return f"{gap.snr_db:.1f} dB"


def place(gap: Gap) -> str:
    """Where the largest difference is, with both numbers."""
    if gap.at is None or gap.one is None:
        return "-"
    return f"[{', '.join(map(str, gap.at))}]: {gap.one:.6g} against {gap.two:.6g}"


def _nodes(makers: tuple[Maker, ...]) -> str:
    listed = ", ".join(f"{maker.op} '{maker.node}'" for maker in makers[-SHOWN_NODES:])
    more = len(makers) - SHOWN_NODES
    return (f"{more} nodes, then " if more > 0 else "") + (listed or "no node of its own (a constant)")


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "()"
