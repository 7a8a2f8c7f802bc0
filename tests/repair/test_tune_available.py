"""Gradient steps without PyTorch: nothing needs it until a model is really tuned."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from hwopt.errors import BadInput
from hwopt.tuning import require_torch, torch_missing


def test_pytorch_is_imported_only_when_it_is_needed() -> None:
    code = "import sys, hwopt.tuning.tune, hwopt.tuning.operators; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_its_absence_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert torch_missing()
    with pytest.raises(BadInput, match=r"pip install 'hwopt\[train\]'") as found:
        require_torch()
    assert "\n" not in str(found.value)
