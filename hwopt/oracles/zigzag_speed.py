"""Half of ZigZag 3.9.1's run time, without changing a figure.

ZigZag builds the same objects over and over for each of the hundreds of loop orders of a layer.
What is repeated is kept here instead: a mapping that is built once for energy and again for
latency, names of split loops, the order of the memories, and tables of zeros. Applied in worker
processes only and only to the version it was written for; a test compares with plain ZigZag.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from zigzag.cost_model import cost_model
from zigzag.datatypes import LayerDim
from zigzag.hardware.architecture.accelerator import Accelerator
from zigzag.hardware.architecture.memory_level import MemoryLevel
from zigzag.hardware.architecture.memory_port import DataDirection
from zigzag.mapping import data_movement
from zigzag.mapping.data_movement import FourWayDataMoving
from zigzag.mapping.mapping import Mapping
from zigzag.mapping.spatial_mapping_internal import SpatialMappingInternal

WRITTEN_FOR = "3.9.1"
_ZEROS = dict.fromkeys(DataDirection, 0)


def speed_up() -> None:
    """Replaces the slow parts, in this process; does nothing for another version of ZigZag."""
    if version("zigzag-dse") != WRITTEN_FOR:
        return
    setattr(cost_model, "Mapping", _LastMapping())  # noqa: B010  # typed as a class there
    for name in ("create_r_version", "create_ir_version"):
        setattr(LayerDim, name, lru_cache(maxsize=None)(getattr(LayerDim, name)))
    setattr(data_movement.FourWayDataMoving, "__init__", _start_four_ways)  # noqa: B010


def order_memories_once(accelerator: Accelerator) -> None:
    """Keeps the order of the memories, which ZigZag works out anew for every loop order."""
    order = list(accelerator.memory_hierarchy.topological_sort())

    def kept() -> Iterator[MemoryLevel]:
        return iter(order)

    setattr(accelerator.memory_hierarchy, "topological_sort", kept)  # noqa: B010


class _LastMapping:
    """Builds a Mapping, or gives the last one where it is asked for again.

    A layer that fills the array evenly has one unrolling for energy and for latency; ZigZag only
    reads a mapping once it is built.
    """

    def __init__(self) -> None:
        self._asked: tuple[Any, Any] | None = None
        self._last: Mapping | None = None

    def __call__(self, accelerator: Any, unrolling: Any, order: Any, layer: Any, free: bool) -> Mapping:
        plain = unrolling.mapping_dict_origin if isinstance(unrolling, SpatialMappingInternal) else unrolling
        same = self._asked is not None and self._asked[0] is order and self._asked[1] == plain
        if not same or self._last is None:
            self._last = Mapping(accelerator, unrolling, order, layer, free)
            self._asked = (order, plain)
        return self._last


def _start_four_ways(self: FourWayDataMoving[Any], data: dict[DataDirection, Any] | None = None) -> None:
    self.data = (_ZEROS if data is None else data).copy()
