"""The user's own metric: a Python function named on the command line, nowhere else.

    def accuracy(outputs: Mapping[str, ndarray], labels: ndarray | None) -> float

It is given the model's outputs on some samples, by name and stacked on axis 0, with the labels
of those samples where there are any. Higher is better. It must know the samples by their
outputs or labels alone: it is called once per fold, on that fold's samples.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hwopt.accuracy import Metric
from hwopt.calibration.data import Labels
from hwopt.errors import BadInput
from hwopt.nodes import Array


@dataclass(frozen=True)
class UserMetric:
    """A metric with a name for reports and an identity for caches; itself a `Metric`.

    identity: the function's name, and the SHA-256 of the file that it stands in, so that an
    edited function is a new metric.
    """

    function: Metric
    name: str
    identity: str

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, outputs: Mapping[str, Array], labels: Labels | None) -> float:
        """The function's figure. Raises BadInput where it fails or gives anything but a finite number."""
        try:
            figure = float(self.function(outputs, labels))
        except Exception as error:  # it may raise anything
            raise BadInput(f"--metric {self.name} raised {type(error).__name__}: {error}") from error
        if not math.isfinite(figure):
            raise BadInput(f"--metric {self.name} gave {figure}: it must give a finite number")
        return figure


def user_metric(given: str | Metric) -> UserMetric:
    """The metric of MODULE:FUNCTION, or of a function given through the API.

    Raises BadInput where the text has another form, or the module or function cannot be had.
    """
    if isinstance(given, UserMetric):
        return given
    function = _imported(given) if isinstance(given, str) else given
    if not callable(function):
        raise BadInput(f"--metric {given} is not a function: it is {type(function).__name__}")
    name = given if isinstance(given, str) else _name(function)
    return UserMetric(function, name, f"{name} {_source_hash(function)}")


def _imported(text: str) -> Metric:
    module, colon, function = text.partition(":")
    if not colon or not module or not function:
        raise BadInput(f"--metric {text}: give MODULE:FUNCTION, for example mymetrics:f_score")
    try:
        found = importlib.import_module(module)
    except Exception as error:  # the module's own code runs here
        raise BadInput(f"--metric {text}: module '{module}' cannot be imported: {error}") from error
    if not hasattr(found, function):
        raise BadInput(f"--metric {text}: module '{module}' has no '{function}'")
    metric: Metric = getattr(found, function)
    return metric


def _name(function: Metric) -> str:
    module = getattr(function, "__module__", "")
    return f"{module}:{getattr(function, '__qualname__', type(function).__name__)}"


def _source_hash(function: Metric) -> str:
    """SHA-256 of the source file; "" for a function without one, such as one typed into a prompt."""
    target = function if inspect.isroutine(function) else type(function)
    try:
        file = inspect.getsourcefile(inspect.unwrap(target))
        return "" if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return ""
