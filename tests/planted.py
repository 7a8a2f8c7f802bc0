"""Passes with bugs that a test knows of, for everything that looks for bugs.

`planted(...)` offers one EXACT value at every convolution of a model: its bias becomes an Add of its own.
At the convolutions that the caller names (they are counted from 0, in the order of the graph) the value is
wrong, raises, or is one of a pair that is right alone and wrong together. Choices are named by that number,
so the step of convolution k is step folds + k + 1 of a plan that `plan_of_all` makes.

In the process: `plug_in(monkeypatch, planted(wrong=3))`. For a real `hwopt` process: `plugged_in(folder,
wrong=3)` gives the environment in which it finds these passes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from hwopt import registry
from hwopt.choice import Choice, Kind, Pass, Risk, Skip, Stage, Value
from hwopt.edit import add_constant, set_constant
from hwopt.nodes import Conv, FloatArray, as_conv, convs, is_op, label, scalar
from hwopt.places import node_at, place_of
from hwopt.plan import Plan
from hwopt.settings import settings
from hwopt.steps import find, plan_of
from hwopt.target import Target
from hwopt.work import open_work

ROOT = Path(__file__).parent.parent
NAME = "planted"
OFF_BY = 1.0  # what the wrong value adds to every channel

Rewrite = Callable[[ir.Model], None]
Which = int | str


class PlantedError(RuntimeError):
    """What a planted pass raises."""


@dataclass(frozen=True)
class Planted(Pass):
    """wrong, raising: a convolution. pair: two of them, whose values go wrong together."""

    wrong: Which | None = None
    raising: Which | None = None
    pair: tuple[Which, Which] | None = None
    off_by: float = OFF_BY
    name = NAME
    stage = Stage.FORM
    risk = Risk.EXACT
    summary = "Conv with a bias --> Conv, Add; here and there with a bug"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        del target
        found = list(convs(model))
        places = [place_of(conv.node) for conv in found]
        labels = [label(conv.node) for conv in found]
        for number, place in enumerate(places):
            if found[number].output.is_graph_output():
                yield Skip(NAME, label(found[number].node), "it ends the graph")
                continue
            which = (number, labels[number])
            first, second = self.pair or (-1, -1)
            partner = [p for n, p in enumerate(places) if second in which and first in (n, labels[n])]
            touched = tuple(dict.fromkeys([place, *partner]))
            yield Value(
                f"{NAME}-{number:03d}:{place}", Kind.FORM, "split", NAME, Risk.EXACT, self.stage, touched,
                self._rewrite(which, place), {"convolution": number},
            )  # fmt: skip

    def _rewrite(self, which: tuple[int, str], place: str) -> Rewrite:
        if self.raising in which:
            return partial(_raise, place=place)
        if self.wrong in which:
            return partial(split_bias, place=place, off_by=self.off_by)
        first, second = self.pair or (-1, -1)
        if first in which:
            return partial(double_and_halve, place=place)
        if second in which:
            return partial(split_and_drop_halving, place=place)
        return partial(split_bias, place=place)


def planted(
    *,
    wrong: Which | None = None,
    raising: Which | None = None,
    pair: tuple[Which, Which] | None = None,
    off_by: float = OFF_BY,
) -> tuple[Pass, ...]:
    """The pass, with the bugs that are asked for."""
    return (Planted(wrong, raising, pair, off_by),)


def plug_in(monkeypatch: pytest.MonkeyPatch, passes: tuple[Pass, ...]) -> None:
    """Makes the registry of this process find these passes, as if a package had declared them."""
    monkeypatch.setattr(registry, "_plugged_passes", lambda: list(passes))


def plugged_in(folder: Path, **bugs: object) -> dict[str, str]:
    """The environment in which a process finds `planted(**bugs)`; its files go into the folder.

    It holds PYTHONPATH: the folder, then the repository.
    """
    inspect.signature(planted).bind(**bugs)
    given = ", ".join(f"{name}={value!r}" for name, value in bugs.items())
    module = f"from tests.planted import planted\n\nPASSES = planted({given})\n"
    (folder / "planted_plugin.py").write_text(module, "utf-8")
    info = folder / "planted_plugin-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted-plugin\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[{registry.PASS_GROUP}]\nplanted = planted_plugin\n", "utf-8")
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


def plan_of_all(
    model: str | Path | ir.Model,
    target: str,
    passes: tuple[Pass, ...],
    input_shapes: dict[str, tuple[int, ...]] | None = None,
    wanted: Callable[[Choice], bool] = lambda choice: choice.id.startswith(NAME),
) -> Plan:
    """The plan of all folds and of the first value of every wanted choice; nothing is tried or priced."""
    work = open_work(model, target, settings(input_shapes=input_shapes or {}, refine=0))
    shipped = [item for item in work.passes if item.name != NAME]
    work = replace(work, passes=(*shipped, *passes))
    found = find(work)
    values = [choice.values[0] for choice in sorted(found.choices, key=lambda c: c.id) if wanted(choice)]
    return plan_of(work, [*found.folds, *values], 0)


def split_bias(model: ir.Model, place: str, off_by: float = 0.0) -> None:
    """Conv with a bias --> Conv, Add. off_by: the bug, 0 for none."""
    conv = _conv_at(model, place)
    _behind(conv.node, "Add", (conv.bias + np.float32(off_by)).reshape(1, -1, 1, 1))
    if len(conv.node.inputs) > 2:
        set_constant(conv.node, 2, np.zeros_like(conv.bias))


def double_and_halve(model: ir.Model, place: str) -> None:
    """Conv --> Conv with all weights doubled, Mul by 0.5: the same bits."""
    conv = _conv_at(model, place)
    set_constant(conv.node, 1, conv.weight * np.float32(2))
    if len(conv.node.inputs) > 2:
        set_constant(conv.node, 2, conv.bias * np.float32(2))
    _behind(conv.node, "Mul", np.asarray(0.5, np.float32))


def split_and_drop_halving(model: ir.Model, place: str) -> None:
    """As `split_bias`; and drops the nearest Mul by 0.5 before it, which is the bug where there is one."""
    halving = next((n for n in _ancestors(node_at(model, place)) if _halves(n)), None)
    split_bias(model, place)
    if halving is not None:
        source = halving.inputs[0]
        assert source is not None
        ir.convenience.replace_all_uses_with(halving.outputs[0], source)
        model.graph.remove(halving, safe=True)


def _raise(model: ir.Model, place: str) -> None:
    node_at(model, place)
    raise PlantedError("planted")


def _conv_at(model: ir.Model, place: str) -> Conv:
    conv = as_conv(node_at(model, place))
    assert conv is not None, "offered for convolutions alone"
    return conv


def _behind(node: ir.Node, op_type: str, array: FloatArray) -> None:
    """A new node with a constant behind another one, whose readers it takes over."""
    graph, output = node.graph, node.outputs[0]
    assert isinstance(graph, ir.Graph)
    name = f"{output.name}.{op_type.lower()}"
    new = ir.node(op_type, [output, add_constant(graph, array, f"{name}.constant")])
    new.outputs[0].name, new.outputs[0].shape, new.outputs[0].type = name, output.shape, output.type
    for use in list(output.uses()):
        if use.node is not new:
            use.node.replace_input_with(use.idx, new.outputs[0])
    node.append(new)


def _ancestors(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes before this one, the nearest first."""
    waiting, seen = [node], {node}
    while waiting:
        for value in waiting.pop(0).inputs:
            producer = None if value is None else value.producer()
            if producer is not None and producer not in seen:
                seen.add(producer)
                waiting.append(producer)
                yield producer


def _halves(node: ir.Node) -> bool:
    return is_op(node, "Mul") and scalar(node.inputs[1]) == 0.5
