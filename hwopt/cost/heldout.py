"""Held-out truth: whole networks and single rewrites as an oracle saw them, in one small file.

What a cost model is judged by. Nothing in it is ever trained on, and with it every table of a
card can be made again where no oracle is installed. The file is xz-compressed CSV, one row per
fused operator group; of a rewrite only the groups that it changed are kept.
"""

from __future__ import annotations

import csv
import io
import lzma
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hwopt.cost.dataset import LARGEST_FILE, unpacked_text
from hwopt.errors import BadInput
from hwopt.files.untrusted import read_bytes
from hwopt.signature import Signature, from_text

FILE_NAME = "held_out.csv.xz"
COLUMNS = ("network", "family", "change", "row", "signature_json", "latency_us", "exact_us", "noise_us")
_BEFORE, _AFTER, _GROUP, _REMOVED, _ADDED = "before", "after", "group", "removed", "added"


@dataclass(frozen=True)
class Group:
    """One fused operator group inside a whole model.

    latency_us: its share of the whole model's figure. exact_us: what the oracle says of it cut
        out and measured alone in its context, as `--refine` does; None where it was not asked.
    """

    signature: Signature
    latency_us: float
    exact_us: float | None = None


@dataclass(frozen=True)
class Network:
    """A whole model. latency_us: the oracle's figure, without the operators that the target does
    not run. noise_us: one standard deviation of a repeated measurement; 0 for a simulator.
    """

    name: str
    family: str
    groups: tuple[Group, ...]
    latency_us: float
    noise_us: float = 0.0


@dataclass(frozen=True)
class Rewrite:
    """One value of one pass, written into a network: what went, what came, and what it did.

    change: "pass:value". before_us, after_us: the whole model, measured side by side.
    """

    network: str
    family: str
    change: str
    removed: tuple[Group, ...]
    added: tuple[Group, ...]
    before_us: float
    after_us: float
    noise_us: float = 0.0

    @property
    def effect_us(self) -> float:
        """Negative where the rewrite makes the model faster."""
        return self.after_us - self.before_us


@dataclass(frozen=True)
class HeldOut:
    """The truth about one target."""

    networks: tuple[Network, ...]
    rewrites: tuple[Rewrite, ...]

    def of(self, families: frozenset[str]) -> HeldOut:
        """What belongs to these families alone."""
        return HeldOut(
            tuple(item for item in self.networks if item.family in families),
            tuple(item for item in self.rewrites if item.family in families),
        )

    @property
    def signatures(self) -> list[Signature]:
        """Every signature in it, each once."""
        groups = [group for item in self.networks for group in item.groups]
        groups += [group for item in self.rewrites for group in (*item.removed, *item.added)]
        return list(dict.fromkeys(group.signature for group in groups))


def write_held_out(path: Path, truth: HeldOut) -> None:
    """Writes the file; equal truth gives equal bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for network in truth.networks:
        head = (network.name, network.family, "")
        writer.writerow((*head, _BEFORE, "", _number(network.latency_us), "", _number(network.noise_us)))
        writer.writerows((*head, *cells) for cells in _group_cells(_GROUP, network.groups))
    for item in truth.rewrites:
        head = (item.network, item.family, item.change)
        writer.writerow((*head, _BEFORE, "", _number(item.before_us), "", _number(item.noise_us)))
        writer.writerow((*head, _AFTER, "", _number(item.after_us), "", ""))
        writer.writerows((*head, *cells) for cells in _group_cells(_REMOVED, item.removed))
        writer.writerows((*head, *cells) for cells in _group_cells(_ADDED, item.added))
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(lzma.compress(text.getvalue().encode(), format=lzma.FORMAT_XZ, preset=9))
    temporary.replace(path)


def _group_cells(word: str, groups: Iterable[Group]) -> Iterator[tuple[str, ...]]:
    for group in groups:
        exact = "" if group.exact_us is None else _number(group.exact_us)
        yield word, group.signature.text(), _number(group.latency_us), exact, ""


def _number(value: float) -> str:
    return f"{value:.7g}"


def read_held_out(path: Path) -> HeldOut:
    """Reads a file of held-out truth.

    Raises BadInput where it is missing, or naming the line at fault.
    """
    if not os.path.lexists(path):
        raise BadInput(f"no held-out truth at {path}: run `python -m bench.cost_truth` first")
    text = unpacked_text(path, read_bytes(path, "held-out truth", LARGEST_FILE))
    reader = csv.reader(io.StringIO(text))
    if tuple(next(reader, ())) != COLUMNS:
        raise BadInput(f"{path}: the first line must be {','.join(COLUMNS)}")
    units: list[_Unit] = []
    for row in reader:
        try:
            _take(units, row)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise BadInput(f"{path}, line {reader.line_num}: not held-out truth: {error}") from None
    return HeldOut(
        tuple(unit.network() for unit in units if not unit.change),
        tuple(unit.rewrite() for unit in units if unit.change),
    )


class _Unit:
    """One network or rewrite while its rows are read."""

    def __init__(self, name: str, family: str, change: str, before: float, noise: float) -> None:
        self.name, self.family, self.change = name, family, change
        self.before, self.after, self.noise = before, before, noise
        self.groups: dict[str, list[Group]] = {_GROUP: [], _REMOVED: [], _ADDED: []}

    def network(self) -> Network:
        return Network(self.name, self.family, tuple(self.groups[_GROUP]), self.before, self.noise)

    def rewrite(self) -> Rewrite:
        removed, added = tuple(self.groups[_REMOVED]), tuple(self.groups[_ADDED])
        return Rewrite(
            self.name, self.family, self.change, removed, added, self.before, self.after, self.noise
        )


def _take(units: list[_Unit], row: list[str]) -> None:
    """Adds one row to the unit it belongs to; a row `before` begins a new one."""
    name, family, change, word, signature, latency, exact, noise = row
    if word == _BEFORE:
        units.append(_Unit(name, family, change, float(latency), float(noise)))
    elif word == _AFTER:
        units[-1].after = float(latency)
    else:
        group = Group(from_text(signature), float(latency), float(exact) if exact else None)
        units[-1].groups[word].append(group)
