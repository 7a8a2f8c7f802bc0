"""Reading Vela's tables: cycles, traffic and weights of each operator, charged to ONNX values.

Every row of the `perf` table names the operator of the TFLite file that it comes from (by
way of the `source` table), also where Vela splits one operator into several or runs an
activation inside the convolution before it. So nothing is matched by tensor names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hwopt.oracles.protocol import Row

_ON_CHIP = ("Sram", "shram", "lutram")


class Table(Protocol):
    """A table of Vela's database."""

    header: Sequence[str]
    data: Sequence[Sequence[str]]


@dataclass(frozen=True)
class OperatorCost:
    """One scheduled operator; `source` is the operator's index in the TFLite file, -1 if unknown."""

    source: int
    on_npu: bool
    cycles: int
    compute_cycles: int
    on_chip_cycles: int
    off_chip_cycles: int
    macs: int
    off_chip_bytes: int
    weight_bytes: int


def operator_costs(tables: Mapping[str, Table]) -> list[OperatorCost]:
    """All scheduled operators, in the order of execution."""
    sources = {row["id"]: int(row["ext_key"] or -1) for row in _rows(tables, "source")}
    queued = {row["optimised_id"] for row in _rows(tables, "queue")}
    grouped = {row["id"] for row in _rows(tables, "group")}
    details = {row["id"]: row for row in _rows(tables, "perf_debug")}
    return [
        _cost(
            row,
            details.get(row["id"], {}),
            sources.get(row["source_id"], -1),
            row["optimised_id"] in queued or row["id"] in grouped,
        )
        for row in _rows(tables, "perf")
    ]


def _rows(tables: Mapping[str, Table], name: str) -> Iterable[dict[str, str]]:
    table = tables.get(name)
    return [] if table is None else [dict(zip(table.header, row, strict=False)) for row in table.data]


def _cost(row: Mapping[str, str], detail: Mapping[str, str], source: int, on_npu: bool) -> OperatorCost:
    accesses = {key.removesuffix("_ac"): _int(value) for key, value in row.items() if key.endswith("_ac")}
    return OperatorCost(
        source=source,
        on_npu=on_npu,
        cycles=_int(row["op_cycles"]),
        compute_cycles=_int(row["npu_cycles"]),
        on_chip_cycles=accesses.get("Sram", 0),
        off_chip_cycles=sum(cycles for name, cycles in accesses.items() if name not in _ON_CHIP),
        macs=_int(row["mac_count"]),
        off_chip_bytes=sum(
            _int(value)
            for key, value in detail.items()
            if key.endswith(("_read", "_write")) and not key.startswith(_ON_CHIP)
        ),
        weight_bytes=_int(detail.get("weight_total_bytes", "")) + _int(detail.get("scales_total_bytes", "")),
    )


def _int(text: str) -> int:
    return int(text) if text else 0


def rows_by_owner(
    costs: Iterable[OperatorCost], owners: Sequence[str | None], clock_mhz: float
) -> tuple[Row, ...]:
    """One row per ONNX value, in order of execution; operators without an owner are left out."""
    by_owner: dict[str, list[OperatorCost]] = {}
    for cost in costs:
        owner = owner_of(cost, owners)
        if owner is not None:
            by_owner.setdefault(owner, []).append(cost)
    return tuple(_row(owner, parts, clock_mhz) for owner, parts in by_owner.items())


def owner_of(cost: OperatorCost, owners: Sequence[str | None]) -> str | None:
    """The ONNX value that an operator is charged to."""
    return owners[cost.source] if 0 <= cost.source < len(owners) else None


def _row(owner: str, parts: Sequence[OperatorCost], clock_mhz: float) -> Row:
    largest = max(parts, key=lambda cost: cost.cycles)
    return Row(
        output=owner,
        latency_us=sum(cost.cycles for cost in parts) / clock_mhz,
        macs=sum(cost.macs for cost in parts),
        off_chip_bytes=sum(cost.off_chip_bytes for cost in parts),
        weight_bytes=sum(cost.weight_bytes for cost in parts),
        bound=_bound(largest),
    )


def _bound(cost: OperatorCost) -> str:
    """What the operator waits for; nothing where it runs inside another one."""
    if cost.cycles == 0:
        return ""
    waits = {
        "compute": cost.compute_cycles,
        "on_chip": cost.on_chip_cycles,
        "off_chip": cost.off_chip_cycles,
    }
    return max(waits, key=lambda name: waits[name])
