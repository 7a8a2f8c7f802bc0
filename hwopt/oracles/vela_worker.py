"""What runs inside a worker process: lower one job, compile it, read the tables.

Vela's compiler is native code that a malformed file can bring down, so nothing else imports
this module.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir
from ethosu import regor

from hwopt.errors import reason_of
from hwopt.oracles.answers import answer_to_json
from hwopt.oracles.protocol import Answer, Measurement, Unmeasured
from hwopt.oracles.tflite import Lowered, Missing, lower
from hwopt.oracles.vela_config import VelaConfig, decode_job
from hwopt.oracles.vela_tables import OperatorCost, operator_costs, owner_of, rows_by_owner
from hwopt.wording import said, shorten

_NAMED = 8  # operators named in a reason before it is cut short


def measure_job(payload: bytes) -> bytes:
    """A job as `encode_job` writes it; the answer as JSON text."""
    config, model, guarded = decode_job(payload)
    return answer_to_json(compile_model(model, guarded, config)).encode()


def compile_model(data: bytes, guarded: bool, config: VelaConfig) -> Answer:
    """Vela's figures for a serialised ONNX model.

    guarded: the figures are those of the model's own operators inside a network (there is no
    peak then: the guards have part in it), and any operator without a figure makes the whole
    job Unmeasured. Otherwise the figures are those
    of everything Vela can run, and the rest is named in `unpriced`.
    """
    try:
        model = ir.from_proto(onnx.load_from_string(data))
    except Exception as error:  # protobuf and onnx_ir raise many types
        return Unmeasured(f"not a model: {shorten(reason_of(error), 200)}")
    lowered = lower(model, guarded)
    missing = _first_of_each(lowered.missing)
    if missing and (guarded or not lowered.owners):
        return _refused("not lowered to TFLite", missing)
    if not lowered.owners:
        return Measurement(0.0, peak_bytes=0, weight_bytes=0, details={"cycles": 0.0})
    return _compile(lowered, guarded, config)


def _first_of_each(missing: Sequence[Missing]) -> dict[str, str]:
    return {problem.output: f"{problem.op_type}: {problem.reason}" for problem in missing}


def _refused(why: str, problems: dict[str, str]) -> Unmeasured:
    shown = [f"{name} ({reason})" for name, reason in list(problems.items())[:_NAMED]]
    more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    return Unmeasured(f"{why}: {'; '.join(shown)}{more}", tuple(problems))


def _compile(lowered: Lowered, guarded: bool, config: VelaConfig) -> Answer:
    try:
        compiled = regor.compile(
            config.architecture,
            lowered.file,
            "TFLITE",
            config.system(),
            options=config.options(),
            verbose=False,
        )
    except RuntimeError as error:
        return Unmeasured(f"Vela refuses the network: {said(error, 300)}")
    costs = operator_costs(compiled.opt_database.tables)
    hosted = dict.fromkeys(_hosted(costs, lowered), "runs on the host, not on the NPU")
    if compiled.perf_report.cpuOps and (guarded or not hosted or compiled.perf_report.npuOps == 0):
        return _refused("not run by the NPU", hosted)
    unpriced = tuple(dict.fromkeys([*(problem.output for problem in lowered.missing), *hosted]))
    return _measurement(compiled.perf_report, costs, lowered, guarded, config, unpriced)


def _hosted(costs: Sequence[OperatorCost], lowered: Lowered) -> list[str]:
    """ONNX values whose operators Vela leaves to the host processor."""
    names = (owner_of(cost, lowered.owners) for cost in costs if not cost.on_npu)
    return list(dict.fromkeys(name for name in names if name is not None))


def _measurement(
    report: regor.PerfReport,
    costs: Sequence[OperatorCost],
    lowered: Lowered,
    guarded: bool,
    config: VelaConfig,
    unpriced: tuple[str, ...],
) -> Measurement:
    rows = rows_by_owner(costs, lowered.owners, config.clock_mhz)
    own = [cost for cost in costs if owner_of(cost, lowered.owners) is not None]
    cycles = sum(cost.cycles for cost in own) if guarded else report.totalCycles
    memories = {str(name): memory.peakUsage for name, memory in report.memories.items()}
    return Measurement(
        latency_us=cycles / config.clock_mhz,
        rows=rows,
        peak_bytes=None if guarded else sum(memories.values()) - report.readOnlyPeakUsage,
        weight_bytes=report.encodedWeights,
        details={
            "cycles": float(cycles),
            "npu_cycles": float(sum(cost.compute_cycles for cost in own)),
            "macs": float(sum(cost.macs for cost in own)),
            "off_chip_bytes": float(sum(cost.off_chip_bytes for cost in own)),
            "constant_bytes": float(report.readOnlyPeakUsage),
            **{f"peak_{name.lower()}_bytes": float(peak) for name, peak in sorted(memories.items())},
        },
        unpriced=unpriced,
    )
