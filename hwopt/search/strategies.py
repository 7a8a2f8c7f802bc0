"""The strategies there are, by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import cast

from hwopt.errors import BadInput
from hwopt.search.obeying import obeying
from hwopt.search.problem import Strategy
from hwopt.wording import unknown

DEFAULT = "milp"
# Each a module of this package with a function `search`; imported when it is wanted, since some
# bring libraries that take long to load.
_MODULES: Mapping[str, str] = {
    DEFAULT: "milp",
    "evolve": "evolve",
    "greedy": "greedy",
    "reinforce": "reinforce",
    "random": "random_plans",
}
NAMES = tuple(_MODULES)
PROVING = (DEFAULT,)  # end with a proof, not by a count of plans
KEEPING = ("evolve",)  # keep their state in a file, to resume from and to share


def strategy(name: str) -> Strategy:
    """The strategy of that name. Raises BadInput for a name that there is none of."""
    if name not in _MODULES:
        raise BadInput(unknown("--search", name, NAMES))
    return obeying(cast(Strategy, import_module(f"hwopt.search.{_MODULES[name]}").search))
