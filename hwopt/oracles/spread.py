"""How far a minimum of noisy times can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

NOISE = "noise"  # the key of Measurement.details: relative standard deviation of the latency
_MAD_TO_SIGMA = 1.4826  # of a normal distribution
_BLOCKS = 4


def noise_of_minimum(runs: Sequence[Sequence[float]]) -> float | None:
    """Relative standard deviation of the minimum over one run, from the median absolute deviation.

    runs: samples of each run, any unit. The minima of the runs are compared; where there are
    fewer than three runs, those of four blocks of samples. None where there are not two figures
    to compare.
    """
    minima = [min(samples) for samples in runs if samples]
    if len(minima) < 3:
        minima = [min(block) for samples in runs for block in _blocks(samples)]
    if len(minima) < 2 or min(minima) <= 0:
        return None
    centre = median(minima)
    return _MAD_TO_SIGMA * median(abs(value - centre) for value in minima) / min(minima)


def _blocks(samples: Sequence[float]) -> list[Sequence[float]]:
    """The samples in the order in which they were taken, in at most four equal parts."""
    count = min(_BLOCKS, len(samples))
    size = -(-len(samples) // count) if count else 1
    return [samples[start : start + size] for start in range(0, len(samples), size)]
