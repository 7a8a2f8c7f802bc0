"""What went into two runs, and where that differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwopt.report.schema import UNKNOWN, Missing, Report

NOTHING = "-"  # not given, or not in a report of that age


@dataclass(frozen=True)
class InputChange:
    """Something that the runs were given, as a text each."""

    what: str
    a: str
    b: str


def input_changes(a: Report, b: Report) -> tuple[InputChange, ...]:
    """Everything that decides a result and is not the same in both; the order is fixed."""
    silent = () if says_all(a) and says_all(b) else _LATER
    one, two = (given(report) for report in (a, b))
    names = sorted(dict.fromkeys((*one, *two)), key=lambda name: (_rank(name), name))
    rows = (InputChange(name, one.get(name, NOTHING), two.get(name, NOTHING)) for name in names)
    return tuple(row for row in rows if row.a != row.b and not row.what.startswith(silent))


def says_all(report: Report) -> bool:
    """Whether a report is of a release that tells settings, data and versions."""
    return report.calibration != UNKNOWN


def same_pricing(a: Report, b: Report) -> bool:
    """Whether one cost model predicted both, for the same hardware."""
    known = bool(a.target.cost_model)
    return known and (a.target.cost_model, a.target.config) == (b.target.cost_model, b.target.config)


_LATER = ("cost model", "calibration", "setting", "version of")  # what older releases do not tell
_ORDER = ("model", "target", "cost model", "calibration", "minimize", "limit", "setting", "seed", "hwopt")


def _rank(name: str) -> int:
    return next((number for number, head in enumerate(_ORDER) if name.startswith(head)), len(_ORDER))


def given(report: Report) -> dict[str, str]:
    """What a run was given, by name."""
    target, data = report.target, report.calibration
    found = {
        "model, SHA-256": report.model.sha256,
        "model, opset": str(report.model.opset),
        "target": target.name,
        "target, oracle": target.oracle,
        "target, precision": target.precision,
        "target, configuration": target.config,
        "cost model, SHA-256": target.cost_model or NOTHING,
        "minimize": report.budget.minimize,
        "seed": str(report.seed),
        f"{report.tool.name}": report.tool.version,
    }
    if not isinstance(data, Missing):
        found["calibration, fingerprint"] = data.fingerprint
        found["calibration, samples"] = f"{data.samples}{', labelled' if data.labels else ''}"
    limits = {f"limit {limit.name}": f"{limit.limit:.7g}" for limit in report.budget.limits}
    asked = {name: value for name, value in report.settings.items() if name != "minimize"}
    settings = {f"setting {name}": str(value) for name, value in asked.items()}
    return {**found, **limits, **settings, **_versions(report.tool.versions)}


def _versions(versions: Mapping[str, str]) -> dict[str, str]:
    """Of what decides figures; hwopt's own stands by itself."""
    return {f"version of {name}": version for name, version in versions.items() if name != "hwopt"}
