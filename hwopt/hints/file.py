"""What an expert knows better than the tables, as a TOML file: data alone, nothing in it is run.

The file speaks of choices by id, by the beginning of an id, or by the name of a node; which choices
those are in a given model is found out later (`hwopt.hints.names`), and what follows from it for
the search stands in `hwopt.hints.apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from hwopt.choice import Pass
from hwopt.errors import BadInput
from hwopt.limits import latency_bound
from hwopt.target.keys import shown
from hwopt.target.toml_lines import read_tables, read_text
from hwopt.target.toml_lines import shorten as shorten
from hwopt.wording import guess

SCHEMA_VERSION = 1
EVERYTHING = "*"  # in the place of a choice's name: all of them
DEFAULT_WITHIN = 0.01
_LARGEST_MULTIPLE = 65_536

Names = tuple[str, ...]


@dataclass(frozen=True)
class ChoiceLimits:
    """What one choice may do at most; None: anything.

    max_damage: of the model's output, by what is repaired together with the choice, in the unit of the
    run's divergence. min_channels: the smallest share of channels that a width keeps. max_strength: the
    largest share that a value takes away, of channels or of weights. max_latency_us: of the
    subgraphs that the choice decides about.
    """

    max_damage: float | None = None
    min_channels: float | None = None
    max_strength: float | None = None
    max_latency_us: float | None = None


@dataclass(frozen=True)
class Hints:
    """A hints file as it was read; names of choices, values and nodes are not yet held against a model.

    path: for messages. within: the share of the objective that preferred values may cost, all of them
    together. channels: what new channel counts must be a multiple of.
    """

    path: str = "hints"
    pin: Mapping[str, str] = field(default_factory=dict)
    forbid_passes: Names = ()
    forbid_choices: Names = ()
    forbid_nodes: Names = ()
    forbid_values: Mapping[str, Names] = field(default_factory=dict)
    channels: Mapping[str, int] = field(default_factory=dict)
    prefer_passes: Names = ()
    prefer_values: Mapping[str, Names] = field(default_factory=dict)
    within: float = DEFAULT_WITHIN
    limits: Mapping[str, ChoiceLimits] = field(default_factory=dict)

    def passes(self, passes: Iterable[Pass]) -> tuple[Pass, ...]:
        """Those of the passes that are not forbidden."""
        return tuple(item for item in passes if item.name not in self.forbid_passes)

    def wrong(self, key: str, what: str) -> BadInput:
        """The error for a key of this file."""
        return BadInput(f"{self.path}: key '{shorten(key)}' {what}")


def read_hints(path: str | Path) -> Hints:
    """Reads a hints file.

    Raises BadInput, naming the file and the key, for what is no such file.
    """
    file = Path(path)
    return _Reader(str(file)).hints(read_tables(file, read_text(file, "hints")))


@dataclass(frozen=True)
class _Reader:
    """Turns plain tables into Hints; every method raises BadInput naming file and key."""

    path: str

    def hints(self, table: Mapping[str, object]) -> Hints:
        self._only(table, ("schema_version", "pin", "forbid", "channels", "prefer", "limits"), "")
        version = table.get("schema_version")
        if isinstance(version, bool) or version != SCHEMA_VERSION:
            has = "is missing" if version is None else f"is {shown(version)}"
            raise self._wrong("schema_version", f"{has}: this hwopt reads schema_version = {SCHEMA_VERSION}")
        forbid, prefer = self._table(table, "forbid"), self._table(table, "prefer")
        self._only(forbid, ("passes", "choices", "nodes", "values"), "forbid")
        self._only(prefer, ("within", "passes", "values"), "prefer")
        return Hints(
            path=self.path,
            pin={k: self._word(v, f"pin.{k}") for k, v in self._table(table, "pin").items()},
            forbid_passes=self._list(forbid, "forbid.passes"),
            forbid_choices=self._list(forbid, "forbid.choices"),
            forbid_nodes=self._list(forbid, "forbid.nodes"),
            forbid_values=self._values(forbid, "forbid.values"),
            channels={
                k: self._multiple(v, f"channels.{k}") for k, v in self._table(table, "channels").items()
            },
            prefer_passes=self._list(prefer, "prefer.passes"),
            prefer_values=self._values(prefer, "prefer.values"),
            within=self._share(prefer.get("within", DEFAULT_WITHIN), "prefer.within"),
            limits={k: self._limits(v, f"limits.{k}") for k, v in self._table(table, "limits").items()},
        )

    def _wrong(self, key: str, what: str) -> BadInput:
        return Hints(self.path).wrong(key, what)

    def _only(self, table: Mapping[str, object], known: Iterable[str], where: str) -> None:
        names = list(known)
        for name in table:
            if name not in names:
                key = f"{where}.{name}" if where else name
                raise self._wrong(key, f"is not known: {guess(name, names)}keys here are {', '.join(names)}")

    def _table(self, table: Mapping[str, object], key: str) -> Mapping[str, object]:
        found = table.get(key.rpartition(".")[2], {})
        if not isinstance(found, dict):
            raise self._wrong(key, f"is {shown(found)}: must be a table [{key}]")
        return found

    def _word(self, value: object, key: str) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(key, f"is {shown(value)}: must be text in quotes")
        return value

    def _list(self, table: Mapping[str, object], key: str) -> Names:
        return self._words(table.get(key.rpartition(".")[2], []), key)

    def _words(self, value: object, key: str) -> Names:
        if not isinstance(value, list):
            raise self._wrong(key, f'is {shown(value)}: must be a list: ["...", "..."]')
        return tuple(dict.fromkeys(self._word(item, key) for item in value))

    def _values(self, table: Mapping[str, object], key: str) -> dict[str, Names]:
        """One value or several for each choice."""
        found = self._table(table, key)
        return {
            name: (item,) if isinstance(item, str) and item.strip() else self._words(item, f"{key}.{name}")
            for name, item in found.items()
        }

    def _multiple(self, value: object, key: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST_MULTIPLE:
            raise self._wrong(key, f"is {shown(value)}: must be a whole number of channels above zero")
        return value

    def _number(self, value: object, key: str, fits: Callable[[float], bool], what: str) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
            number = float(value)
            if fits(number):
                return number
        raise self._wrong(key, f"is {shown(value)}: must be {what}")

    def _share(self, value: object, key: str) -> float:
        return self._number(value, key, lambda x: 0 <= x <= 1, "a share between 0 and 1")

    def _limits(self, value: object, key: str) -> ChoiceLimits:
        if not isinstance(value, dict):
            raise self._wrong(key, f"is {shown(value)}: must be a table, such as {{ max_damage = 0.01 }}")
        known = [f.name.removesuffix("_us") for f in fields(ChoiceLimits)]
        self._only(value, known, key)
        if not value:
            raise self._wrong(key, f"limits nothing: keys here are {', '.join(known)}")
        shares = {
            n: self._share(value[n], f"{key}.{n}") for n in ("min_channels", "max_strength") if n in value
        }
        damage = latency = None
        if "max_damage" in value:
            damage = self._number(
                value["max_damage"], f"{key}.max_damage", lambda x: x >= 0, "a number that is not negative"
            )
        if "max_latency" in value:
            latency = self._latency(value["max_latency"], f"{key}.max_latency")
        return ChoiceLimits(damage, shares.get("min_channels"), shares.get("max_strength"), latency)

    def _latency(self, value: object, key: str) -> float:
        complaint = self._wrong(key, f'is {shown(value)}: must be a time such as "40us", or microseconds')
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise complaint
        try:
            bound = latency_bound(value)
        except (BadInput, OverflowError):
            raise complaint from None
        if bound.relative:
            raise complaint
        return bound.value
