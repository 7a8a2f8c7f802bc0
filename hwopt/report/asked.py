"""What a run was asked for, beside its model and its target: options and data."""

from __future__ import annotations

from dataclasses import fields

from hwopt.hints.file import Hints
from hwopt.limits import Bound
from hwopt.metric import UserMetric
from hwopt.report.schema import CalibrationInfo, Missing, Scalar
from hwopt.settings import Settings
from hwopt.work import Work

_OPTIONS = {  # fields of Settings whose option has another name
    "objective": "minimize",
    "latency": "max_latency",
    "memory": "max_memory",
    "size": "max_size",
    "footprint": "max_footprint",
}
_OWN_KEY = ("seed",)  # the report has a key of its own


def settings_asked(chosen: Settings) -> dict[str, Scalar]:
    """Options that are not the default, by name, each as it would be typed again."""
    plain = Settings()
    found: dict[str, Scalar] = {}
    for field in fields(chosen):
        value = getattr(chosen, field.name)
        if value != getattr(plain, field.name) and field.name not in _OWN_KEY:
            found[_OPTIONS.get(field.name, field.name)] = _typed(field.name, value)
    return found


def _typed(name: str, value: object) -> Scalar:
    """One value as a text, a number or a truth value."""
    match value:
        case Bound(relative=True):
            return f"{100 * (value.value - 1):+.7g}%"
        case Bound():
            return f"{value.value:.10g}{'us' if name == 'latency' else 'B'}"
        case dict():
            return " ".join(f"{key}:{','.join(map(str, shape))}" for key, shape in value.items())
        case tuple():
            return ",".join(map(str, value))
        case Hints():
            return value.path
        case UserMetric():
            return value.name
        case str():
            return str(value)  # a StrEnum as the text that it is
        case bool() | int():
            return value
        case float():
            return f"{value:g}s" if name == "time_limit" else value
    return str(value)


def calibration_info(work: Work) -> CalibrationInfo | Missing:
    """The calibration data of a run."""
    data = work.calibration
    if data is None:
        return Missing("no calibration data was given")
    labels = data.labels is not None
    return CalibrationInfo(data.fingerprint, len(data), len(data.folds), labels, data.copies)
