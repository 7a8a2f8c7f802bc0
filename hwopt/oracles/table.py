"""A table of measurements that exist already as oracle.

    oracle = TableOracle(target, "measurements.csv")

The columns are described in hwopt.oracles.table_file. A job is looked up as a whole (the hash of
its bytes, or a model file that the table names and that has the same operators, shapes and
weights' statistics), then by its fused groups under the target's rules: by signature, then by
shape. A job in context may be several groups: each gets its row. Parts are not added up to the
figure of a whole network, because a sum of measurements is no measurement.

Several rows for one thing are repeated measurements: the least counts, and their spread is the
noise where no column gives it. Anything else is "not in the table".
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from hwopt.errors import BadInput, reason_of
from hwopt.files.untrusted import shorten
from hwopt.ir import load_model
from hwopt.oracles.protocol import Answer, Job, Measurement, Progress, Row, Unmeasured
from hwopt.oracles.spread import NOISE, noise_of_minimum
from hwopt.oracles.table_file import Table, TableRow, read_table
from hwopt.oracles.table_shapes import ShapeKey, key_of, key_of_row
from hwopt.partition import Subgraph, partition
from hwopt.shapes import infer_shapes
from hwopt.signature import VIEW, Signature, from_text
from hwopt.target import Target

SCHEMA_VERSION = 1
_HINT = "--table FILE, or `file` in [oracle.options]"
_SHA256_DIGITS = 64

Key = tuple[str, str] | ShapeKey


@dataclass(frozen=True)
class _Entry:
    """The figures for one thing."""

    latency_us: float
    peak_bytes: int | None
    weight_bytes: int | None
    macs: int
    off_chip_bytes: int
    noise: float | None


class TableOracle:
    """Answers from a CSV or Parquet file.

    table: its path; None: the option `file` of the target, a file inside the target's folder.
    Raises BadInput where there is none or a cell is wrong (file, line, column), ImportError for
    Parquet without the extra `parquet`.
    """

    name = "table"
    source = "measured"

    def __init__(self, target: Target, table: str | Path | None = None) -> None:
        self._target = target
        self._table = read_table(Path(table) if table is not None else _own_file(target))
        found: dict[Key, list[TableRow]] = defaultdict(list)
        for row in self._table.rows:
            found[_key_of(row, target)].append(row)
        self._entries = {key: _entry(rows) for key, rows in found.items()}

    @property
    def identity(self) -> str:
        """Schema, the SHA-256 of the table and of what it names, and the target's configuration.

        The latter decides what a group is.
        """
        named = hashlib.sha256("\n".join(map(repr, self._entries)).encode()).hexdigest()[:16]
        read = f"sha256={self._table.sha256} named={named}"
        return f"{self.name} schema={SCHEMA_VERSION} {read} {self._target.config_hash}"

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        """One answer per job, in order."""
        answers: list[Answer] = []
        for job in jobs:
            try:
                answers.append(self._answer(job))
            except Exception as error:  # a job that cannot be read must not stop the others
                answers.append(Unmeasured(shorten(reason_of(error), 200)))
            if progress is not None:
                progress(len(answers), len(jobs))
        return answers

    def _answer(self, job: Job) -> Answer:
        for digest in (job.key, hashlib.sha256(job.model).hexdigest()):
            if ("sha256", digest) in self._entries:
                return _measurement(self._entries["sha256", digest])
        groups = _groups(ir.from_proto(onnx.load_model_from_string(job.model)), self._target)
        whole = self._entries.get(_whole_key(groups))
        if whole is not None:
            return _measurement(whole)
        if not groups:
            return Measurement(0.0)
        if len(groups) > 1 and not job.in_context:
            return Unmeasured(f"not in the table: this network of {len(groups)} groups as a whole")
        return self._by_groups(groups)

    def _by_groups(self, groups: Sequence[Subgraph]) -> Answer:
        """One row per group that the table holds, the others by name."""
        found = [(group, self._entry_of(group.signature)) for group in groups]
        missing = tuple(group.outputs[0].name or "" for group, entry in found if entry is None)
        rows = [(group.outputs[0].name or "", entry) for group, entry in found if entry is not None]
        if not rows:
            words = "; ".join(key_of(group.signature).words() for group in groups[:3])
            return Unmeasured(f"not in the table: {words}", missing)
        if len(rows) == len(groups) == 1:
            return _measurement(rows[0][1], rows[0][0])
        return Measurement(
            latency_us=sum(entry.latency_us for _, entry in rows),
            rows=tuple(_row(name, entry) for name, entry in rows),
            unpriced=missing,
        )

    def _entry_of(self, signature: Signature) -> _Entry | None:
        exact = self._entries.get(("signature", signature.key()))
        return exact if exact is not None else self._entries.get(key_of(signature))


def signature_in(row: TableRow) -> Signature:
    """The signature in a row's cell. Raises BadInput naming the cell."""
    try:
        return from_text(row.get("signature_json"))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise row.error("signature_json", f"not a signature: {shorten(str(error))}") from None


def groups_of_model(row: TableRow, target: Target) -> list[Subgraph]:
    """The fused groups of the model file that a row names, which lies beside the table or below."""
    folder = row.path.parent.resolve()
    path = (folder / row.get("model")).resolve()
    if folder not in path.parents or not path.is_file():
        raise row.error("model", f"'{row.get('model')}' is no file beside the table or below it")
    return _groups(load_model(path), target)


def _own_file(target: Target) -> Path:
    """The table that the target's file names, inside the target's folder."""
    where = target.folder / "target.toml"
    unknown = [name for name in target.oracle.options if name != "file"]
    if unknown:
        raise BadInput(f"{where}: oracle option '{unknown[0]}' is unknown: there is file")
    name = str(target.oracle.options.get("file", ""))
    if not name:
        raise BadInput(f"target '{target.name}' is measured by a table: give {_HINT}")
    path = (target.folder / name).resolve()
    if target.folder.resolve() not in path.parents or not path.is_file():
        raise BadInput(f"{where}: oracle option file is '{name}', no file in the target's folder")
    return path


def _key_of(row: TableRow, target: Target) -> Key:
    """What a row is looked up by. Raises BadInput naming the cell at fault."""
    column = row.key_column
    if column == "signature_json":
        return ("signature", signature_in(row).key())
    if column == "model":
        return _whole_key(groups_of_model(row, target))
    if column == "model_sha256":
        digest = row.get(column).lower()
        if len(digest) != _SHA256_DIGITS or set(digest) - set("0123456789abcdef"):
            raise row.error(column, f"'{row.get(column)}' is no SHA-256: {_SHA256_DIGITS} digits 0-9, a-f")
        return ("sha256", digest)
    return key_of_row(row)


def _groups(model: ir.Model, target: Target) -> list[Subgraph]:
    """The fused groups that cost something."""
    found = partition(model, infer_shapes(model, {}), target).subgraphs
    return [group for group in found if group.kind != VIEW]


def _whole_key(groups: Sequence[Subgraph]) -> tuple[str, str]:
    """What a network is known by: its groups in their context, whatever its values are called."""
    text = "\n".join(sorted(group.signature.key() for group in groups))
    return ("groups", hashlib.sha256(text.encode()).hexdigest())


def _entry(rows: Sequence[TableRow]) -> _Entry:
    """Repeated measurements as one: the least counts."""
    best = min(rows, key=lambda row: row.latency_us)
    noise = best.number("noise")
    return _Entry(
        best.latency_us,
        best.whole("peak_bytes"),
        best.whole("weight_bytes"),
        best.whole("macs") or 0,
        best.whole("off_chip_bytes") or 0,
        noise_of_minimum([[row.latency_us] for row in rows]) if noise is None else noise,
    )


def _measurement(entry: _Entry, output: str = "") -> Measurement:
    """The figures of one entry; with a row where it is a single group."""
    return Measurement(
        entry.latency_us,
        (_row(output, entry),) if output else (),
        entry.peak_bytes,
        entry.weight_bytes,
        {} if entry.noise is None else {NOISE: entry.noise},
    )


def _row(output: str, entry: _Entry) -> Row:
    return Row(output, entry.latency_us, entry.macs, entry.off_chip_bytes, entry.weight_bytes or 0)


def read_for(target: Target, table: str | Path | None = None) -> Table:
    """The table itself, found as the oracle finds it."""
    return read_table(Path(table) if table is not None else _own_file(target))
