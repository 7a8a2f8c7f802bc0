"""The user's own metric: where it comes from, and what it may give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from hwopt.errors import BadInput
from hwopt.metric import user_metric
from hwopt.settings import accuracy_limit, settings

OUTPUTS: Mapping[str, np.ndarray] = {"y": np.array([1.0, 3.0], np.float32)}


def mean(outputs: Mapping[str, np.ndarray], labels: object) -> float:
    return float(outputs["y"].mean())


def test_a_function_is_a_metric_with_its_own_name() -> None:
    metric = user_metric(mean)
    assert metric(OUTPUTS, None) == 2.0
    assert metric.name.endswith(":mean")
    assert getattr(metric, "__name__") == metric.name  # noqa: B009


def test_an_edited_module_is_another_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_first_metric.py").write_text("def f(outputs, labels): return 1\n")
    (tmp_path / "my_other_metric.py").write_text("def f(outputs, labels): return 2\n")
    one, two = user_metric("my_first_metric:f"), user_metric("my_other_metric:f")
    assert one(OUTPUTS, None) == 1.0
    assert one.identity.split()[1] != two.identity.split()[1]
    (tmp_path / "my_first_metric.py").write_text("def f(outputs, labels): return 3\n")
    assert user_metric("my_first_metric:f").identity != one.identity


@pytest.mark.parametrize(("figure", "said"), [(float("nan"), "finite"), ("much", "ValueError")])
def test_what_is_no_number_is_refused(figure: object, said: str) -> None:
    def odd(outputs: object, labels: object) -> float:
        return figure  # type: ignore[return-value]

    with pytest.raises(BadInput, match=said):
        user_metric(odd)(OUTPUTS, None)


def test_a_metric_needs_no_labels() -> None:
    with pytest.raises(BadInput, match="labels"):
        accuracy_limit(settings(max_drop=0.02), None)
    limit = accuracy_limit(settings(max_drop=0.02, metric=mean), None)
    assert (limit.name, limit.value) == ("max_drop", 0.02)
    assert accuracy_limit(settings(metric=mean), None).name == "max_drop"
    assert accuracy_limit(settings(metric=mean, max_divergence=0.1), None).name == "max_divergence"
