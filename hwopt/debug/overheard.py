"""A pass, and everything that it has offered so far."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from hwopt.choice import Pass, Skip, Value
from hwopt.target import Target


class Overheard(Pass):
    """A pass that remembers what it offered. offered: values by (choice, name)."""

    def __init__(self, item: Pass) -> None:
        self._item = item
        self.name, self.stage, self.risk, self.summary = item.name, item.stage, item.risk, item.summary
        self.offered: dict[tuple[str, str], Value] = {}

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        """What the pass offers."""
        for value in self._item.values(model, target):
            if isinstance(value, Value):
                self.offered[value.choice, value.name] = value
            yield value
