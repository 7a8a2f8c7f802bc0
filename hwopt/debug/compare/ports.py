"""Inputs and outputs of two models beside each other: which belong together, and how they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.errors import BadInput
from hwopt.ir import Port, interface
from hwopt.ir.interface import is_static
from hwopt.nodes import Array


@dataclass(frozen=True)
class PortGap:
    """One difference between the interfaces. breaks: whether who uses the first model notices it.

    side: "input" or "output".
    """

    side: str
    name: str
    what: str
    breaks: bool


def paired_outputs(one: ir.Model, two: ir.Model) -> list[tuple[str, str]]:
    """Outputs that belong together: by name, and by position where names differ but counts agree.

    Raises BadInput where there are none.
    """
    left, right = _names(interface(one).outputs), _names(interface(two).outputs)
    pairs = _paired(left, right)
    if not pairs:
        raise BadInput(
            f"the models have no output in common: one has {', '.join(left)}, the other {', '.join(right)}"
        )
    return pairs


def inputs_for(one: ir.Model, two: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The first model's inputs under the names of the second's, without those that it does not take."""
    left, right = _names(interface(one).inputs), _names(interface(two).inputs)
    return {theirs: feeds[ours] for ours, theirs in _paired(left, right) if ours in feeds}


def interface_gaps(one: ir.Model, two: ir.Model) -> tuple[PortGap, ...]:
    """How inputs and outputs differ: names, types, declared shapes, what one of them lacks."""
    first, second = interface(one), interface(two)
    return (
        *_side("input", first.inputs, second.inputs),
        *_side("output", first.outputs, second.outputs),
    )


def _names(ports: Sequence[Port]) -> list[str]:
    return [port.name for port in ports]


def _paired(left: Sequence[str], right: Sequence[str]) -> list[tuple[str, str]]:
    """Same names; the others by position, where there are as many."""
    common = set(left) & set(right)
    if len(left) != len(right):
        return [(name, name) for name in left if name in common]
    rest = iter([name for name in right if name not in common])
    return [(name, name if name in common else next(rest)) for name in left]


def _side(side: str, left: Sequence[Port], right: Sequence[Port]) -> Iterator[PortGap]:
    pairs = dict(_paired(_names(left), _names(right)))
    theirs = {port.name: port for port in right}
    for port in left:
        other = theirs.get(pairs.get(port.name, ""))
        if other is None:
            yield PortGap(side, port.name, "only the first model has it", True)
        else:
            yield from _differences(side, port, other)
    for name in sorted(theirs.keys() - set(pairs.values())):
        yield PortGap(side, name, "only the second model has it", True)


def _differences(side: str, one: Port, two: Port) -> Iterator[PortGap]:
    if one.name != two.name:
        yield PortGap(side, one.name, f"is called '{two.name}' in the second model", False)
    if one.dtype != two.dtype:
        yield PortGap(side, one.name, f"is {one.dtype}, in the second model {two.dtype}", True)
    if _sizes(one) != _sizes(two):
        what = f"has the shape {_shape(one)}, in the second model {_shape(two)}"
        yield PortGap(side, one.name, what, False)


def _sizes(port: Port) -> list[object] | None:
    """The declared sizes; how a free axis is called makes no difference."""
    return None if port.shape is None else [size if is_static(size) else None for size in port.shape]


def _shape(port: Port) -> str:
    if port.shape is None:
        return "unknown"
    return "x".join("?" if size is None else str(size) for size in port.shape) or "()"
