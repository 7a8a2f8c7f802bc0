"""What the shell offers, through a real process, as bash asks for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hwopt.cli.complete import STRATEGIES, pass_names
from hwopt.registry import all_passes
from hwopt.search.strategies import NAMES

Hwopt = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parent.parent

# What is typed before the tab key, and some of what must be offered.
OFFERS = [
    ("hwopt op", {"optimize"}),
    ("hwopt ", {"analyze", "optimize", "explain", "compare", "bisect", "targets", "passes"}),
    ("hwopt targets ", {"list", "show", "new", "measure", "fit", "check"}),
    ("hwopt targets show eth", {"ethos-u55-256", "ethos-u65-512"}),
    ("hwopt optimize --max-", {"--max-drop", "--max-latency", "--max-size"}),
    ("hwopt optimize m.onnx --target ed", {"edge-npu"}),
    ("hwopt analyze m.onnx -t ed", {"edge-npu"}),
    ("hwopt optimize --disable fuse_", {"fuse_ibn", "fuse_separable"}),
    ("hwopt optimize --passes canonicalize,fuse_i", {"canonicalize,fuse_ibn"}),
    ("hwopt optimize --minimize m", {"memory"}),
    ("hwopt optimize --search e", {"evolve"}),
]


@pytest.mark.parametrize(("typed", "wanted"), OFFERS)
def test_the_shell_is_offered(typed: str, wanted: set[str], hwopt: Hwopt) -> None:
    done = hwopt(_HWOPT_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(typed.split(" ")) - 1))
    assert done.returncode == 0, done.stderr
    offered = set(done.stdout.split())
    assert wanted <= offered
    begun = typed.split(" ")[-1]
    assert all(word.startswith(begun) for word in offered)


def test_offering_names_imports_nothing_that_takes_long() -> None:
    script = (
        "import sys\nfrom hwopt.cli.complete import pass_names, strategy_names, target_names\n"
        "assert target_names('edge') and pass_names('fuse') and strategy_names('m')\n"
        "print(sorted({'onnx', 'onnx_ir', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n", done.stderr


def test_what_is_offered_is_what_there_is() -> None:
    assert sorted(pass_names("")) == sorted(item.name for item in all_passes())
    assert sorted(STRATEGIES) == sorted(NAMES)


def test_the_script_for_a_shell_is_shown(hwopt: Hwopt) -> None:
    shown = hwopt("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert shown.returncode == 0
    assert "_HWOPT_COMPLETE=complete_bash" in shown.stdout
