"""A plan as a row of numbered steps on the input model, any of which can be made or left out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.choice import Risk, Value
from hwopt.rewrite import carry_out_numbered, chosen_values
from hwopt.steps import Found
from hwopt.trace import Listeners
from hwopt.work import Work


@dataclass(frozen=True)
class Stepwise:
    """source: the input, its nodes carrying places; never edited. values: step k is values[k - 1]."""

    source: ir.Model
    values: tuple[Value, ...]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def lossy(self) -> frozenset[int]:
        """The numbers of the steps whose weights must be repaired."""
        return frozenset(n for n, value in enumerate(self.values, start=1) if value.risk != Risk.EXACT)

    def structure(self, wanted: Collection[int], listeners: Listeners = ()) -> ir.Model:
        """The input with these steps made, in the plan's order; weights of LOSSY steps are initial ones.

        Raises RewriteFailed where a step needs one that is left out, PassFailed where a pass breaks down.
        """
        steps = [(n, value) for n, value in enumerate(self.values, start=1) if n in wanted]
        return carry_out_numbered(self.source, steps, listeners)


def steps_of_run(work: Work, found: Found) -> Stepwise:
    """The steps of the plan that a run replays: its folds, then its values in the order they compose in."""
    taken = {choice.id: choice.values[0].name for choice in found.choices}
    return Stepwise(work.model, (*found.folds, *chosen_values(found.choices, taken)))
