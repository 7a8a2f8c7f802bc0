"""From the words of a hints file to orders for one model: which values it forbids, pins and prefers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import onnx_ir as ir

from hwopt.choice import KEEP, Choice, Kind, Risk, Value
from hwopt.hints.apply import Orders, Pair, Rule
from hwopt.hints.file import EVERYTHING, ChoiceLimits, Hints
from hwopt.hints.names import Book, node_names
from hwopt.registry import all_passes
from hwopt.wording import guess


def resolve(
    hints: Hints | None,
    choices: Sequence[Choice],
    risks: frozenset[Risk],
    model: ir.Model,
    allow_retrain: bool = False,
) -> Orders:
    """The hints as they hold for a model; without hints, orders that change nothing.

    choices: with values of every risk; risks: those that the search may use; model: whose nodes have
    names. Raises BadInput, naming file and key, for a name that nobody knows, and for keys that
    exclude one another.
    """
    listed = _of_risks(choices, risks)
    if hints is None:
        return Orders(listed=listed)
    book = Book(hints.wrong, {choice.id: choice for choice in choices}, node_names(model), risks)
    return _Resolver(hints, book, allow_retrain).orders(listed)


def _of_risks(choices: Iterable[Choice], risks: frozenset[Risk]) -> tuple[Choice, ...]:
    left = (replace(c, values=tuple(v for v in c.values if v.risk in risks)) for c in choices)
    return tuple(choice for choice in left if choice.values)


@dataclass(frozen=True)
class _Resolver:
    hints: Hints
    book: Book
    allow_retrain: bool

    def orders(self, listed: tuple[Choice, ...]) -> Orders:
        pins, training = self._pins()
        removed: dict[Pair, str] = {}
        for pair, reason in self._removed(pins):
            removed.setdefault(pair, reason)
        for choice, (name, key) in {**pins, **training}.items():
            if (choice, name) in removed:
                raise self.hints.wrong(key, f"asks for '{name}': {removed[choice, name]}")
        open_to = {(choice.id, value.name) for choice in listed for value in choice.values}
        open_to |= {(choice.id, KEEP) for choice in listed}
        wishes = tuple(
            (choice, name)
            for choice, name in dict.fromkeys(self._wishes())
            if (choice, name) in open_to - removed.keys() and choice not in pins
        )
        rules = tuple(self._rules())
        return Orders(self.hints, listed, pins, training, removed, rules, wishes)

    def _values(self) -> Iterator[tuple[Choice, Value]]:
        return ((choice, value) for choice in self.book.choices.values() for value in choice.values)

    def _pins(self) -> tuple[dict[str, Pair], dict[str, Pair]]:
        """Those that the search obeys, and those to values that only training can mend."""
        pins: dict[str, Pair] = {}
        training: dict[str, Pair] = {}
        for name, wanted in self.hints.pin.items():
            key = f'pin."{name}"'
            choice = self.book.choice(name, key, wanted)
            self.book.value(choice, wanted, key)
            value = choice.value(wanted)
            for known in (pins, training):
                if choice.id in known:
                    raise self.hints.wrong(
                        key, f"and key '{known[choice.id][1]}' decide the same choice, {choice.id}"
                    )
            if value is not None and value.risk == Risk.RETRAIN:
                if not self.allow_retrain:
                    raise self.hints.wrong(
                        key,
                        f"asks for '{wanted}', only training mends it: --allow-retrain writes a candidate",
                    )
                training[choice.id] = (wanted, key)
            else:
                pins[choice.id] = (wanted, key)
        return pins, training

    def _removed(self, pins: Mapping[str, Pair]) -> Iterator[tuple[Pair, str]]:
        yield from self._forbidden()
        yield from self._of_groups(pins)
        for choice, value in self._values():
            for key, limits in self._limits_of(choice.id):
                most = limits.max_strength
                if most is not None and value.strength is not None and value.strength > most + 1e-9:
                    yield (
                        (choice.id, value.name),
                        f"takes away {value.strength:.3g}: forbidden by hints ({key}.max_strength)",
                    )

    def _forbidden(self) -> Iterator[tuple[Pair, str]]:
        hints, book = self.hints, self.book
        self._check_passes("forbid.passes", hints.forbid_passes)
        whole = {book.choice(name, "forbid.choices").id for name in hints.forbid_choices}
        places = {p for name in hints.forbid_nodes for p in book.places(name, "forbid.nodes")}
        single = set(self._named_values("forbid.values", hints.forbid_values))
        for id, name in single:
            if name == KEEP:
                raise hints.wrong(f'forbid.values."{id}"', "cannot forbid 'keep': pin what it shall be")
        for choice, value in self._values():
            for fits, key in (
                (value.pass_name in hints.forbid_passes, "forbid.passes"),
                (choice.id in whole or whole & value.widths.keys(), "forbid.choices"),
                (choice.kind != Kind.INPUT and places.intersection(value.places), "forbid.nodes"),
                ((choice.id, value.name) in single, "forbid.values"),
            ):
                if fits:
                    yield (choice.id, value.name), f"forbidden by hints ({key})"

    def _of_groups(self, pins: Mapping[str, Pair]) -> Iterator[tuple[Pair, str]]:
        """Values of any choice that give a channel group a width that the hints do not want."""
        for choice, value in self._values():
            pair = (choice.id, value.name)
            for group, (old, new) in value.widths.items():
                if group in pins and group != choice.id:
                    yield pair, f"would change {group}: forbidden by hints ({pins[group][1]})"
                for key, wanted, multiple in self._multiples:
                    if wanted in (EVERYTHING, group) and new % multiple:
                        yield pair, f"{new} is no multiple of {multiple}: forbidden by hints ({key})"
                for key, limits in self._limits_of(group):
                    if limits.min_channels is not None and new < limits.min_channels * old - 1e-9:
                        yield pair, f"leaves {new} of {old} channels: forbidden by hints ({key}.min_channels)"

    @cached_property
    def _multiples(self) -> list[tuple[str, str, int]]:
        """(key, choice or everything, multiple)."""
        keys = [(f'channels."{name}"', name, multiple) for name, multiple in self.hints.channels.items()]
        return [(key, self._id(name, key), multiple) for key, name, multiple in keys]

    @cached_property
    def _limits(self) -> list[tuple[str, str, ChoiceLimits]]:
        """(key, choice or everything, limits)."""
        keys = [(f'limits."{name}"', name, limits) for name, limits in self.hints.limits.items()]
        return [(key, self._id(name, key), limits) for key, name, limits in keys]

    def _id(self, name: str, key: str) -> str:
        return name if name == EVERYTHING else self.book.choice(name, key).id

    def _limits_of(self, choice: str) -> Iterator[tuple[str, ChoiceLimits]]:
        return ((key, limits) for key, name, limits in self._limits if name in (EVERYTHING, choice))

    def _rules(self) -> Iterator[Rule]:
        for key, name, limits in self._limits:
            if name == EVERYTHING and limits.max_latency_us is not None:
                raise self.hints.wrong(f"{key}.max_latency", "limits no single choice: see --max-latency")
            for choice in self.book.choices if name == EVERYTHING else (name,):
                if limits.max_damage is not None:
                    values = self.book.choices[choice].values
                    exact = frozenset(value.name for value in values if value.risk == Risk.EXACT)
                    yield Rule(f"{key}.max_damage", choice, max_damage=limits.max_damage, exact=exact)
                if limits.max_latency_us is not None:
                    yield Rule(f"{key}.max_latency", choice, max_latency_us=limits.max_latency_us)

    def _wishes(self) -> Iterator[Pair]:
        self._check_passes("prefer.passes", self.hints.prefer_passes)
        yield from self._named_values("prefer.values", self.hints.prefer_values)
        for choice, value in self._values():
            if value.pass_name in self.hints.prefer_passes:
                yield choice.id, value.name

    def _named_values(self, key: str, table: Mapping[str, tuple[str, ...]]) -> Iterator[Pair]:
        for name, wanted in table.items():
            place = f'{key}."{name}"'
            choice = self.book.choice(name, place, wanted[0] if wanted else None)
            for value in wanted:
                self.book.value(choice, value, place)
                yield choice.id, value

    def _check_passes(self, key: str, names: Iterable[str]) -> None:
        known = [item.name for item in all_passes()]
        for name in names:
            if name not in known:
                raise self.hints.wrong(
                    key, f"names no pass '{name}': {guess(name, known)}see hwopt passes list"
                )
