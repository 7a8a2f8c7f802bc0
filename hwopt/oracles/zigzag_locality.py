"""How far out each layer's data must travel when layers keep activations on chip for the next one.

ZigZag's own rule (its SearchInterLayerDataLocalityStage), written as a function of sizes: going
through the layers, a result stays in the innermost memory that holds results and inputs and has
room for both; where the network branches it goes to the outermost memory; weights stay in a memory
that has room for those of the whole network. A test compares with ZigZag's stage. Two things are
added: networks with several entries or exits, which that stage cannot read, and parts of a network
(`part`), whose weights are never resident: a part does not know the rest of the network's weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

from hwopt.oracles.zigzag_layers import Layer

Table = Mapping[str, Any]


@dataclass(frozen=True)
class Levels:
    """The outermost memory that each operand of a layer uses, as positions in the accelerator's list."""

    inputs: int
    weights: int
    outputs: int


@dataclass(frozen=True)
class _Memory:
    operands: frozenset[str]
    bits: int
    whole: bool  # serves every dimension of the array


def levels_of(
    layers: Sequence[Layer], sources: Sequence[Sequence[int]], accelerator: Table, part: bool
) -> list[Levels]:
    """Levels of each layer, in graph order.

    sources: for each layer the earlier layers that its inputs come from. part: the layers are cut
        out of a network. The accelerator's links are the usual ones: I to I1, W to I2, O to O.
    """
    memories = _memories(accelerator)
    top = {operand: _top(memories, operand) for operand in ("I1", "I2", "O")}
    readers: list[set[int]] = [set() for _ in layers]
    for index, feeding in enumerate(sources):
        for source in feeding:
            readers[source].add(index)
    inputs, outputs = [top["I1"]] * len(layers), [top["O"]] * len(layers)
    weight_bits = [operand_bits(layer, "W") if layer.constant_weights else 0 for layer in layers]
    weights = top["I2"]
    for index, layer in enumerate(layers):
        feeding = sorted(set(sources[index]))
        if feeding:
            inputs[index] = outputs[feeding[0]]
        if _branches(index, readers, sources):
            continue
        beside = weight_bits[index] if part else sum(weight_bits)
        room = [i for i, memory in enumerate(memories) if _has_room(memory, layer, beside)]
        # A result that fits nowhere still has the outermost memory.
        outputs[index] = min([top["O"], *(i for i in room if {"I1", "O"} <= memories[i].operands)])
        if not feeding:
            inputs[index] = outputs[index]
        if not part:
            homes = [i for i in room if memories[i].whole and "I2" in memories[i].operands]
            weights = min([weights, *homes])
    return [
        Levels(inputs[i], weights if layer.constant_weights else inputs[i], outputs[i])
        for i, layer in enumerate(layers)
    ]


def cut(accelerator: Table, levels: Levels) -> dict[str, Any]:
    """The accelerator without the memories further out than each operand's level."""
    limits = {"I1": levels.inputs, "I2": levels.weights, "O": levels.outputs}
    memories = {}
    for index, (name, memory) in enumerate(accelerator["memories"].items()):
        kept = [operand for operand in memory["operands"] if index <= limits[operand]]
        if kept:
            ports = [{**port, "allocation": _kept(port["allocation"], kept)} for port in memory["ports"]]
            memories[name] = {**memory, "operands": kept, "ports": ports}
    return {**accelerator, "memories": memories}


def _kept(allocation: Sequence[str], operands: Sequence[str]) -> list[str]:
    return [item for item in allocation if item.split(",")[0] in operands]


def _memories(accelerator: Table) -> list[_Memory]:
    """The levels with what they hold together: one copy for each unit they do not serve."""
    array = accelerator["operational_array"]
    sizes = dict(zip(array["dimensions"], array["sizes"], strict=True))
    found = []
    for memory in accelerator["memories"].values():
        copies = prod(size for dim, size in sizes.items() if dim not in memory["served_dimensions"])
        whole = len(memory["served_dimensions"]) == len(sizes)
        found.append(_Memory(frozenset(memory["operands"]), memory["size"] * copies, whole))
    return found


def _top(memories: Sequence[_Memory], operand: str) -> int:
    return max(index for index, memory in enumerate(memories) if operand in memory.operands)


def _branches(index: int, readers: Sequence[set[int]], sources: Sequence[Sequence[int]]) -> bool:
    """Whether several layers read the result, or the one that does reads another result too."""
    if len(readers[index]) != 1:
        return len(readers[index]) > 1
    return len(set(sources[next(iter(readers[index]))])) > 1


def _has_room(memory: _Memory, layer: Layer, weight_bits: int) -> bool:
    """Whether the layer's operands that the memory holds fit, beside the weights where it holds them."""
    inputs = operand_bits(layer, "I") + (0 if layer.constant_weights else operand_bits(layer, "W"))
    need = {"I1": inputs, "O": operand_bits(layer, "O"), "I2": weight_bits}
    return sum(need[operand] for operand in sorted(memory.operands)) <= memory.bits


def operand_bits(layer: Layer, operand: str) -> int:
    """Bits of one operand, I, W or O (partial sums, as ZigZag counts results), without padding."""
    names = _names(layer.equation, operand)
    loops = dict(layer.loops)
    sizes = {**loops, **_image_sizes(layer)}
    return prod(sizes[name] for name in names) * dict(layer.bits)[operand]


def _names(equation: str, operand: str) -> list[str]:
    found = re.search(rf"{operand}((?:\[\w+\])+)", equation)
    return [] if found is None else [name.upper() for name in re.findall(r"\[(\w+)\]", found[1])]


def _image_sizes(layer: Layer) -> dict[str, int]:
    """Rows and columns of the input that are really read, at most those there are."""
    loops, given = dict(layer.loops), dict(layer.inputs)
    sizes = {}
    for relation in layer.relations:
        name, step, out, dilation, tap = re.split(r"[=*+]", relation.upper())
        sa, a, sb, b = int(step), loops[out], int(dilation), loops[tap]
        common = gcd(sa, sb)
        read = a * b - max(0, b - sa // common) * (a - sb // common)
        sizes[name] = min(read, given.get(name, read))
    return sizes
