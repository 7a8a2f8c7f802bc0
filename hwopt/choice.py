"""Choices and the values that passes offer for them.

A choice is a decision with values, one of which is always *keep*. What shares a node or a
channel group is one choice or coupled choices, never two independent edits of one node.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

import onnx_ir as ir

from hwopt.target import Target

KEEP = "keep"
Parameter = str | int | float | bool | tuple[int, ...]


class Risk(StrEnum):
    """What a value may do to the function of the model."""

    EXACT = "exact"  # equal up to float rounding, borders included
    LOSSY = "lossy"  # needs calibration data and repair
    RETRAIN = "retrain"  # only training can mend it; never chosen by default


class Stage(IntEnum):
    """The fixed order in which values are composed."""

    CANONICALISE = 0
    FORM = 1
    PRUNE = 2
    ALIGN = 3
    WEIGHTS = 4
    QUANTISE = 5


class Kind(StrEnum):
    """What a choice decides."""

    CANONICAL = "canonical"  # the same function, written with fewer operators
    FORM = "form"  # the structure of a block
    WIDTH = "width"  # the channels of a coupled channel group
    MODEL = "model"  # the channels of all groups at once; excludes widths of single groups
    INPUT = "input"  # the resolution of an image input: every map in the model follows
    WEIGHTS = "weights"  # after-effects on weight values: sparsity, codebooks


@dataclass(frozen=True)
class Value:
    """One value of a choice, offered by one pass.

    choice: structural id of the choice; two passes that decide about the same thing give
        the same id, so that their values exclude one another.
    places: structural ids (hwopt.places) of every node that the rewrite reads or edits.
    rewrite: edits the structure of the model it is handed, in place. It resolves `places`
        in that model and may run after any value of an earlier stage. Weights of LOSSY
        values are initial ones only; repair fits them. A tensor of the model that is still computed
        keeps its name, and a name never passes to another value (`edit.fresh_name` gives new ones):
        comparing tensor by tensor rests on that.
    parameters: what a reader of the plan wants to know; never needed to replay.
    strength: how much it takes away (a share, more is harsher), where the values of the pass
        within the choice differ in that alone; None where they do not.
    widths: of every channel group that gets another width, by the id of its own width choice:
        (channels before, channels after). A value of kind WIDTH or MODEL that says so does nothing else, and
        whatever value of its pass gives a group that width does the same to the group.
    """

    choice: str
    kind: Kind
    name: str
    pass_name: str
    risk: Risk
    stage: Stage
    places: tuple[str, ...]
    rewrite: Callable[[ir.Model], None] = field(compare=False, repr=False)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    strength: float | None = None
    widths: Mapping[str, tuple[int, int]] = field(default_factory=dict)


Rank = tuple[int, bool, str, str]


def rank(value: Value) -> Rank:
    """Where a value stands in the order in which values compose."""
    return (value.stage, value.kind != Kind.INPUT, value.choice, value.name)


def in_order(values: Iterable[Value]) -> list[Value]:
    """Values in the order in which they compose: by stage, then by choice; resolutions before forms."""
    return sorted(values, key=rank)


@dataclass(frozen=True)
class Skip:
    """A place that a pass cares about but could not offer a value for, and why."""

    pass_name: str
    node: str  # label for people
    reason: str


@dataclass(frozen=True)
class Choice:
    """Everything that may be decided about one form, one channel group, or one weight.

    `values` never contains *keep*: it is always possible and is written as `KEEP`.
    """

    id: str
    kind: Kind
    values: tuple[Value, ...]

    @property
    def places(self) -> frozenset[str]:
        """Every node that some value of this choice touches."""
        return frozenset(place for value in self.values for place in value.places)

    def value(self, name: str) -> Value | None:
        """The value of that name; None for *keep*. Raises KeyError for a name it does not have."""
        if name == KEEP:
            return None
        for value in self.values:
            if value.name == name:
                return value
        raise KeyError(name)


class Pass(ABC):
    """Knows what is legal and how risky it is; never what is fast."""

    name: str
    stage: Stage
    risk: Risk  # the highest risk among its values
    summary: str  # one line: before --> after
    changes_interface: bool = False  # offered only where the user allows the interface to change

    @abstractmethod
    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        """Everything the pass could do to the model. Pure: the model is not edited."""


def group_values(values: Iterable[Value]) -> list[Choice]:
    """Values gathered into choices, in order of first appearance.

    Raises ValueError where two values of one choice have the same name.
    """
    gathered: dict[str, list[Value]] = {}
    for value in values:
        gathered.setdefault(value.choice, []).append(value)
    for choice, members in gathered.items():
        names = [member.name for member in members]
        if len(set(names)) != len(names):
            raise ValueError(f"choice {choice} has two values of one name: {', '.join(sorted(names))}")
    return [Choice(choice, members[0].kind, tuple(members)) for choice, members in gathered.items()]
