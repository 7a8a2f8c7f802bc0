"""What the base model says: inputs of the tuned piece, values at block ends, and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from hwopt.nodes import Array
from hwopt.repair.flow import Cut
from hwopt.repair.reference import Reference
from hwopt.runtime import Session, batch_of, part, with_outputs


@dataclass(frozen=True)
class Lesson:
    """Some samples: what is fed to the student, and what the base makes of it."""

    feeds: dict[str, Array]
    wanted: dict[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.feeds.values())))

    def parts(self, size: int) -> Iterator[Lesson]:
        """The same in consecutive parts of so many samples."""
        for begin in range(0, len(self), size):
            here = slice(begin, begin + size)
            yield Lesson(
                {name: array[here] for name, array in self.feeds.items()},
                {name: array[here] for name, array in self.wanted.items()},
            )


class Teacher:
    """The base, asked batch by batch: from a cut on for recorded samples, else from its inputs."""

    def __init__(self, reference: Reference, cut: Cut, wanted: Sequence[str]) -> None:
        self._reference = reference
        self._cut = cut
        self._wanted = tuple(name for name in wanted if name not in cut.values)
        self._size = batch_of(reference.base)
        self._short: Session | None = None
        self._long: Session | None = None

    def recorded(self, samples: Sequence[int]) -> Lesson:
        """The lesson of recorded samples."""
        feeds = self._reference.at(self._cut, samples)
        if self._short is None:
            self._short = Session(part(self._reference.base, feeds, self._wanted), self._reference.threads)
        return Lesson(feeds, self._run(self._short, feeds))

    def fresh(self, inputs: Mapping[str, Array]) -> Lesson:
        """The lesson of any inputs of the model."""
        own = [name for name in self._cut.values if name not in inputs]
        if self._long is None:
            names = list(dict.fromkeys([*own, *self._wanted]))
            self._long = Session(with_outputs(self._reference.base, names), self._reference.threads)
        values = self._run(self._long, inputs)
        feeds = {name: values[name] if name in values else inputs[name] for name in self._cut.values}
        return Lesson(feeds, {name: values[name] for name in self._wanted})

    def _run(self, session: Session, feeds: Mapping[str, Array]) -> dict[str, Array]:
        parts: dict[str, list[Array]] = {name: [] for name in session.outputs}
        for _, values in session.batches(feeds, self._size):
            for name, value in values.items():
                parts[name].append(value)
        return {
            name: arrays[0] if len(arrays) == 1 else np.concatenate(arrays) for name, arrays in parts.items()
        }


def block_ends(reference: Reference, changed: ir.Model, cut: Cut) -> list[str]:
    """Float values at the base's narrow cuts behind this one that the changed model has as well."""
    kept = {str(v.name) for node in changed.graph for v in node.outputs}
    outputs = {str(v.name) for v in changed.graph.outputs}
    found: list[str] = []
    for later in reference.cuts:
        if later.index > cut.index:
            found.extend(name for name in later.values if name in kept and name not in cut.values)
    return [name for name in dict.fromkeys(found) if name not in outputs]
