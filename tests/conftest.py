"""What several test files share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

Hwopt = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session", autouse=True)
def no_targets_of_ones_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A target in the configuration folder of whoever runs the tests would win over one that ships."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def hwopt(tmp_path_factory: pytest.TempPathFactory) -> Hwopt:
    """Runs `hwopt` as a process: hwopt(*arguments, cwd=folder, NAME=value of an environment variable).

    Nothing of the user's own settings reaches it; oracle answers are shared by the session.
    """
    cache = tmp_path_factory.mktemp("hwopt-cache")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HWOPT_", "XDG_"))}

    def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
        own = {"PYTHONPATH": str(ROOT), "HWOPT_CACHE": str(cache), "XDG_CONFIG_HOME": str(cache)}
        env = {**kept, **own, "COLUMNS": "100", **environment}
        command = [sys.executable, "-m", "hwopt.cli", *arguments]
        return subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
        )

    return run
