"""The worker's side of a comparison by stretches: the values at a cut stay here, between jobs.

begin     the samples: what the models are fed with
advance   runs a stretch of the first model on every sample; what it makes is carried on
against   runs the second model's stretch on the same values: how far it is from the first's
end       forgets all
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from hwopt.gaps import Difference, compare, keep_worst, nudged
from hwopt.guard.messages import Array, Head, unpack_arrays
from hwopt.guard.running import failed, outputs_of, places_of
from hwopt.sessions import open_session, outside_arrays, session_options

Blocks = list[memoryview]
Out = list[bytes | memoryview]
Values = dict[str, Array]


@dataclass
class _Run:
    """samples: the values alive before the stretch that is run. made, noise: what it makes of each, and how
    far that moves by itself. keep: names that are read behind it.
    """

    samples: list[Values]
    made: list[Values] = field(default_factory=list)
    noise: list[list[float]] = field(default_factory=list)
    keep: frozenset[str] = frozenset()

    def settle(self) -> None:
        """Steps behind the stretch."""
        if not self.made:
            return
        both = zip(self.samples, self.made, strict=False)
        self.samples = [
            {name: array for name, array in {**old, **new}.items() if name in self.keep} for old, new in both
        ]
        self.made, self.noise = [], []


_RUNS: dict[str, _Run] = {}


def begin(head: Head, blocks: Blocks, out: Out) -> Head:
    sets = head["sets"]
    assert isinstance(sets, list)
    own = [{name: array.copy() for name, array in unpack_arrays(one, blocks).items()} for one in sets]
    _RUNS[str(head["run"])] = _Run(own)
    return {}


def end(head: Head, blocks: Blocks, out: Out) -> Head:
    _RUNS.pop(str(head["run"]), None)
    return {}


def advance(head: Head, blocks: Blocks, out: Out) -> Head:
    """noise: whether to see how far the values move by themselves; it is asked for before `against`."""
    run = _RUNS[str(head["run"])]
    run.settle()
    keep = head["keep"]
    assert isinstance(keep, list)
    run.keep = frozenset(keep)
    try:
        run.made, run.noise = _ran(head, blocks, run.samples, bool(head["noise"]))
    except Exception as error:  # what the caller makes of it is his business
        return failed(error)
    return {}


def against(head: Head, blocks: Blocks, out: Out) -> Head:
    run = _RUNS[str(head["run"])]
    worst: dict[str, Difference] = {}
    try:
        others, _ = _ran(head, blocks, run.samples[: len(run.made)], False)
    except Exception as error:
        return failed(error)
    for number, expected in enumerate(run.made):
        actual: Mapping[str, Array] = others[number] if number < len(others) else {}
        keep_worst(worst, compare(expected, actual), run.noise[number])
    return {"gaps": [asdict(gap) for gap in worst.values()]}


def _ran(
    head: Head, blocks: Blocks, samples: Sequence[Values], noise: bool
) -> tuple[list[Values], list[list[float]]]:
    """Outputs by sample. A sample behind the first that does not run ends the list."""
    outside = outside_arrays(places_of(head["outside"]))
    session = open_session(bytes(blocks[0]), outside, session_options())
    reads = [str(spec.name) for spec in session.get_inputs()]
    made, moved = list[Values](), list[list[float]]()
    for sample in samples:
        feeds = {name: sample[name] for name in reads}
        try:
            found = outputs_of(session, feeds)
            again = outputs_of(session, {n: nudged(a) for n, a in feeds.items()}) if noise else found
        except Exception:
            if not made:
                raise
            break  # not every model with a free batch axis runs at more than one sample
        moved.append([item.max_rel for item in compare(found, again)])
        made.append({name: array.copy() for name, array in found.items()})  # not of the session's memory
    return made, moved
