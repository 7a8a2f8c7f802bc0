"""Which channels of a group matter, judged on calibration data.

Optimal brain surgeon with a whole channel as the unit (Hassibi & Stork, 1993): channels are
eliminated a few at a time, each time those whose loss, after the best update of all other weights
of the readers, changes what the readers make least. Where several operators read a group, their
losses add up, each relative to the energy of what it makes. The taps of a KxK kernel and the
pixels in front of a Gemm count as outputs of their own: exact for 1x1 convolutions, and for others
it needs no more than channels by channels. On EfficientNet-Lite0 a sixth of the hidden channels
chosen so costs half to a twelfth of the squared error that magnitudes cost.

Where pixels are scarce, what seems replaceable often only is so in these samples. So every channel
is taken to vary more than it was seen to, by `PRIOR` times the share of channels to pixels. Judged
by the refitted output of images that were not seen, a tenth of the 1152 hidden channels of the four
7x7 blocks of EfficientNet-Lite0 costs 3.5, 4.3, 2.7 and 3.1% of the output's variance with it and
3.9, 11.9, 4.0 and 4.0% without; where there are many pixels it changes nothing.

The order is written into `node.meta` of the base, where a pass that prunes can see it. It sees
all samples: no weight is fitted here, only structure chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwopt.channels.groups import Blocked, ChannelGroup, Slot
from hwopt.nodes import FloatArray
from hwopt.repair.gather import draw
from hwopt.repair.linear import Matrix, Positions, as_linear
from hwopt.repair.reference import Reference, pick
from hwopt.repair.ridge import loaded, product
from hwopt.threads import one_blas_thread
from hwopt.widths import mark_order, named_groups

SAMPLES = 256
ROWS = 12_000
PRIOR = 2.0  # times channels per pixel seen: the share of the mean variance that is added to every channel's
LOADS = (1e-3, 1.0)  # the least and the most that is added
AT_ONCE = 64  # one channel in so many is eliminated before the others are judged again
RANKINGS = ("obs", "activation", "magnitude")


@dataclass(frozen=True)
class Reader:
    """An operator that mixes a group's channels, and what it sees of all its input channels.

    gram: [inputs, inputs], second moments about the mean; power: [inputs], mean squares;
    weight: [inputs, outputs]; start: the first input channel that is the group's; pixels: how many
    there are of the input, whether they were looked at or not.
    """

    gram: Matrix
    power: Matrix
    weight: Matrix
    start: int
    pixels: int

    @property
    def load(self) -> float:
        """What is added to the variance of every channel, as a share of their mean."""
        least, most = LOADS
        return min(max(PRIOR * len(self.gram) / self.pixels, least), most)


def annotate(reference: Reference, seed: int, ranking: str = "obs") -> None:
    """Write into the base in which order the channels of its groups are needed.

    ranking: "obs"; "activation": root mean square of the channel times the weights that read it (Sun et
    al., "A Simple and Effective Pruning Approach for Large Language Models", ICLR 2024, section 3);
    "magnitude": nothing is written, and passes go by the weights alone. Raises ValueError for others.
    """
    if ranking not in RANKINGS:
        raise ValueError(f"ranking {ranking!r}: one of {', '.join(RANKINGS)}")
    if ranking == "magnitude":
        return
    judge = elimination_order if ranking == "obs" else activation_strength
    moments = _Moments(reference, seed)
    with one_blas_thread():
        for found in named_groups(reference.base):
            if isinstance(found, Blocked) or not found.group.slots_on("in"):
                continue
            readers = _readers(found.group, moments)
            if readers:
                mark_order(reference.base, found.ref, judge(readers, found.group.width).tolist())


def _readers(group: ChannelGroup, moments: _Moments) -> list[Reader]:
    """The readers of a group whose weights can be seen as a matrix over channels."""
    totals = {id(lane.value): lane.total for lane in group.lanes}
    found = []
    for slot in group.slots_on("in"):
        linear = as_linear(slot.node)
        if linear is None:
            continue
        channels = totals[id(linear.input)]
        gram, power, pixels = moments.of(str(linear.input.name), channels)
        weight = linear.weight.reshape(channels, -1)
        found.append(Reader(_within_groups(gram, slot), power, weight, slot.start, pixels))
    return found


def _within_groups(gram: Matrix, slot: Slot) -> Matrix:
    """In a grouped convolution channels can stand in for others of their group alone."""
    if slot.groups == 1:
        return gram
    group = np.arange(len(gram)) // (len(gram) // slot.groups)
    return np.where(group[:, None] == group[None, :], gram, 0.0)


class _Moments:
    """Second moments of tensors of the base over channels, from some pixels of some samples."""

    def __init__(self, reference: Reference, seed: int) -> None:
        self._reference = reference
        self._seed = seed
        step = -(-len(reference.originals) // SAMPLES)
        self._samples = reference.originals[::step]
        self._known: dict[str, tuple[Matrix, Matrix, int]] = {}

    def of(self, name: str, channels: int) -> tuple[Matrix, Matrix, int]:
        """Gram matrix about the mean, mean squares, and number of pixels of a tensor of so many channels."""
        if name not in self._known:
            rows, pixels = self._rows(name, channels)
            mean = rows.mean(axis=0, dtype=np.float64)
            centred = rows - mean.astype(np.float32)
            gram = product(centred, centred) / len(rows)
            self._known[name] = gram, np.diag(gram) + mean**2, pixels
        return self._known[name]

    def _rows(self, name: str, channels: int) -> tuple[FloatArray, int]:
        """[rows, channels] at random pixels, and how many pixels there are."""
        found = []
        grid = 1
        positions: Positions | None = None
        for where, values in self._reference.stream(name, self._samples):
            planes = values.reshape(len(values), channels, -1)
            if positions is None:
                grid = int(planes.shape[2])
                count = min(grid, -(-ROWS // len(self._samples)))
                positions = draw(self._seed, len(self._samples), grid, count)
            found.append(pick(planes, positions[where]))
        return np.concatenate(found).reshape(-1, channels), grid * len(self._samples)


def activation_strength(readers: Sequence[Reader], width: int) -> Matrix:
    """[width]: root mean square of each channel times the weights that read it, added up."""
    strength = np.zeros(width)
    for reader in readers:
        own = slice(reader.start, reader.start + width)
        strength += np.sqrt(reader.power[own]) * np.abs(reader.weight[own]).sum(axis=1)
    return strength


@dataclass
class _Left:
    """What is left of a reader while channels go: of the group's own channels only.

    inverse: of the Gram matrix, those parts of it; weight: updated for what is gone.
    """

    inverse: Matrix
    weight: Matrix

    def losses(self) -> Matrix:
        loss: Matrix = np.sum(self.weight**2, axis=1) / np.diag(self.inverse)
        return loss

    def without(self, out: np.ndarray, rest: np.ndarray) -> _Left:
        """The reader after these channels are gone and the others were updated for it."""
        carry = np.linalg.solve(self.inverse[np.ix_(out, out)], self.inverse[np.ix_(out, rest)]).T
        weight = self.weight[rest] - carry @ self.weight[out]
        return _Left(self.inverse[np.ix_(rest, rest)] - carry @ self.inverse[np.ix_(out, rest)], weight)


def elimination_order(readers: Sequence[Reader], width: int) -> Matrix:
    """[width]: 0 for the channel that is eliminated first, `width` - 1 for the last."""
    left = [_start(reader, width) for reader in readers]
    alive = np.arange(width)
    order = np.zeros(width)
    while len(alive):
        ranked = np.argsort(np.sum([part.losses() for part in left], axis=0), kind="stable")
        count = max(1, len(alive) // AT_ONCE)
        out, rest = ranked[:count], np.sort(ranked[count:])
        order[alive[out]] = width - len(alive) + np.arange(count)
        left = [part.without(out, rest) for part in left]
        alive = alive[rest]
    return order


def _start(reader: Reader, width: int) -> _Left:
    """Nothing is gone yet; the weights scaled to outputs of unit energy."""
    energy = float(np.sum(reader.weight * (reader.gram @ reader.weight)))
    own = slice(reader.start, reader.start + width)
    inverse: Matrix = np.asarray(np.linalg.inv(loaded(reader.gram, reader.load)), np.float64)[own, own]
    weight = reader.weight[own] / np.sqrt(max(energy, 1e-30))
    return _Left(inverse, _narrowed(weight))


def _narrowed(weight: Matrix) -> Matrix:
    """A weight with no more columns than rows that has the same products of rows with one another."""
    if weight.shape[1] <= weight.shape[0]:
        return weight
    return np.linalg.qr(weight.T)[1].T
