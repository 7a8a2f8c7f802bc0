"""What no implementation can beat: the time of the busiest of MAC array, on-chip and off-chip memory.

The cost model learns only by how much reality is slower; this file is the part of a price that
extrapolates. Bandwidths and array are those of target.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwopt.cost.raw import Column
from hwopt.signature import KINDS
from hwopt.target import Target

_LEAST_CYCLES = 100.0  # starting anything costs something; keeps logarithms finite


@dataclass(frozen=True)
class Bounds:
    """Lower bounds in cycles, one array each, and `cycles`, the largest of them (at least 100)."""

    mac: Column
    on_chip: Column
    off_chip: Column
    cycles: Column


def roofline(rows: Mapping[str, Column], target: Target, streamed: bool = False) -> Bounds:
    """Bounds for each row of hwopt.cost.raw.table.

    streamed: between operators activations go through the outermost memory, as where layers are
        run one by one; else only what does not fit the innermost memory does.
    """
    mac = padded_macs(rows, target) / target.macs_per_cycle
    activations = (rows["in_elements"] + rows["out_elements"]) * target.element_bytes
    weights = stored_weights(rows, target)
    inner = target.memories[0]
    on_chip = (activations + weights) / inner.bytes_per_cycle
    off_chip = np.zeros_like(on_chip)
    if len(target.memories) > 1:
        spilled = activations if streamed else np.maximum(activations - inner.bytes, 0.0)
        off_chip = (weights + spilled) / target.memories[-1].bytes_per_cycle
    largest = np.maximum(np.maximum(mac, on_chip), off_chip)
    return Bounds(mac, on_chip, off_chip, np.maximum(largest, _LEAST_CYCLES))


def stored_weights(rows: Mapping[str, Column], target: Target) -> Column:
    """Bytes of weights and biases that come from memory, as measured ones taught where they did."""
    if "stored" in rows:
        return rows["stored"]
    weights = rows["encoded"] if target.weights_compressed else rows["weights"] * target.element_bytes
    return np.asarray(weights + 4.0 * rows["bias"])


def padded_macs(rows: Mapping[str, Column], target: Target) -> Column:
    """MACs with every dimension that the array unrolls rounded up to the array's size.

    Each group of a grouped operator has only its own input channels to fill the array with. Where
    target.toml says how many MACs a depthwise convolution can use, that holds instead.
    """
    padding = np.ones_like(rows["macs"])
    sizes = {
        "out_channels": rows["co"],
        "in_channels": rows["ci"] / np.maximum(rows["group"], 1.0),
        "out_height": rows["ho"],
        "out_width": rows["wo"],
    }
    for name, lanes in sorted(target.array.items()):
        size = np.maximum(sizes.get(name, np.full_like(padding, lanes)), 1.0)
        padding *= np.ceil(size / lanes) * lanes / size
    if target.depthwise_macs_per_cycle is not None:
        share = target.macs_per_cycle / target.depthwise_macs_per_cycle
        padding = np.where(rows["kind"] == KINDS.index("depthwise"), share, padding)
    return np.asarray(rows["macs"] * padding)
