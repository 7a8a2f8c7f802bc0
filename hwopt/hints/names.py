"""Which choice somebody speaks of: by its id, the beginning of one, or the name of a node in a given model.

Ids survive a re-export of the model, names of nodes may not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from hwopt.choice import KEEP, Choice, Kind, Risk
from hwopt.errors import BadInput
from hwopt.hints.file import shorten
from hwopt.nodes import label
from hwopt.places import has_place, place_of
from hwopt.wording import guess

_LISTED = 4  # candidates that an error names
_WHOLE = (Kind.MODEL, Kind.INPUT)  # they touch every node, so no node's name means them


@dataclass(frozen=True)
class Book:
    """The names of one model.

    wrong: the error for (where somebody said it, what is wrong there). choices: with the values of every
    risk. nodes: places by what people call a node. risks: those that this run may use. whose: the choices
    are, in words.
    """

    wrong: Callable[[str, str], BadInput]
    choices: Mapping[str, Choice]
    nodes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    risks: frozenset[Risk] = frozenset(Risk)
    whose: str = "this model"

    def choice(self, name: str, key: str, value: str | None = None) -> Choice:
        """The one choice of that name.

        key: where the name stands. value: what is said of the choice, which may tell two
        choices of one node apart. Raises BadInput where there is none, or more than one.
        """
        found = self.named(name)
        if len(found) > 1 and value is not None:
            found = [c for c in found if value in (KEEP, *(v.name for v in c.values))] or found
        if len(found) > 1:
            found = self._own(name, found) or found
        if len(found) == 1:
            return found[0]
        if not found:
            raise self.wrong(key, f"names no choice of {self.whose}{self._nearest(name)}")
        raise self.wrong(key, f"may mean {listed(found)}: write one of these ids")

    def named(self, name: str) -> list[Choice]:
        """The choice of that id, else all whose ids begin like that, else all about a node of that name."""
        if name in self.choices:
            return [self.choices[name]]
        return [choice for id, choice in self.choices.items() if id.startswith(name)] or self._around(name)

    def places(self, node: str, key: str) -> frozenset[str]:
        """The places of a node, by its name or by a place. Raises BadInput where the model has none."""
        found = self.nodes.get(node)
        if found is None:
            raise self.wrong(key, f"names no node '{shorten(node)}'; {guess(node, self.nodes)}".rstrip("; "))
        return found

    def value(self, choice: Choice, name: str, key: str) -> None:
        """Raises BadInput where the choice has no such value, or this run may not use it."""
        names = [KEEP, *(value.name for value in choice.values)]
        if name not in names:
            meant = guess(name, names)
            raise self.wrong(key, f"asks for '{shorten(name)}': {meant}{choice.id} offers {', '.join(names)}")
        if name == KEEP:
            return
        value = choice.value(name)
        assert value is not None
        if value.risk == Risk.LOSSY and Risk.LOSSY not in self.risks:
            raise self.wrong(key, f"asks for '{name}', which is LOSSY: give calibration data (--calib)")

    def _around(self, name: str) -> list[Choice]:
        """Choices by the name of a node that they touch; `width:NAME` means one of that family alone."""
        family, _, rest = name.partition(":")
        if name not in self.nodes and rest in self.nodes:
            return [choice for choice in self._around(rest) if choice.id.startswith(family + ":")]
        places = self.nodes.get(name, frozenset())
        return [c for c in self.choices.values() if c.kind not in _WHOLE and c.places & places]

    def _own(self, name: str, found: Sequence[Choice]) -> list[Choice]:
        """Those that are named after the node itself, where only one is."""
        places = self.nodes.get(name, self.nodes.get(name.partition(":")[2], frozenset()))
        own = [choice for choice in found if choice.id.partition(":")[2] in places]
        return own if len(own) == 1 else []

    def _nearest(self, name: str) -> str:
        if name in self.nodes or name.partition(":")[2] in self.nodes:
            return ": the node is there, but nothing is to be decided about it"
        if name.startswith("canonical:") and not any(id.startswith("canonical:") for id in self.choices):
            return ": folds are exact and made first; --disable canonicalize leaves them out"
        return f"; {guess(name, [*self.choices, *self.nodes])}".rstrip("; ")


def listed(choices: Sequence[Choice]) -> str:
    """The first ids of some choices, for a message."""
    more = f" and {len(choices) - _LISTED} more" if len(choices) > _LISTED else ""
    return ", ".join(choice.id for choice in choices[:_LISTED]) + more


def node_names(model: ir.Model) -> dict[str, frozenset[str]]:
    """The places of every node by its name, by the name of its first output, and by the place itself."""
    found: dict[str, set[str]] = defaultdict(set)
    for node in model.graph:
        if not has_place(node):
            continue
        place = place_of(node)
        outputs = [str(value.name) for value in node.outputs[:1] if value.name]
        for name in (label(node), place, *outputs):
            found[name].add(place)
    return {name: frozenset(places) for name, places in found.items()}
