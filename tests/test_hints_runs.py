"""Hints in whole runs: the plan obeys, the report says why, nothing forbidden is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import hwopt
from hwopt.choice import Value
from hwopt.damage.harm import Harm
from tests.conftest import Hwopt
from tests.graphs import write_classifier

FIGURES = Path(__file__).parent.parent / "models" / "figures" / "figures.onnx"
VERSION = "schema_version = 1\n"
BLOCK = "form:conv-b7048e8bc9"  # offers dense, fused
HIDDEN = "width:522eba4368"  # offers widths alone


def test_a_run_obeys_and_its_report_says_why(tmp_path: Path) -> None:
    (tmp_path / "h.toml").write_text(
        VERSION + f'[pin]\n"{BLOCK}" = "dense"\n[forbid]\npasses = ["align_channels"]\n'
    )
    result = hwopt.optimize(FIGURES, target="edge-npu", refine=0, hints=tmp_path / "h.toml", dry_run=True)
    rows = {row.id: row for row in result.report.choices}
    assert rows[BLOCK].chosen == "dense"
    assert rows[BLOCK].reason == f'pinned by hints (pin."{BLOCK}")'
    assert rows[HIDDEN].reason == "forbidden by hints (forbid.passes)"
    assert not any(step.pass_name == "align_channels" for step in result.plan.steps)
    free = hwopt.optimize(FIGURES, target="edge-npu", refine=0, dry_run=True)
    assert BLOCK not in {step.choice for step in free.plan.steps}  # nobody would take it by himself


def test_nothing_forbidden_is_measured_and_what_is_pinned_is_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[str, ...]] = []
    real = Harm.of_values

    def of_values(self: Harm, values: Sequence[Value]) -> float:
        measured.append(tuple(value.pass_name for value in values))
        return real(self, values)

    monkeypatch.setattr(Harm, "of_values", of_values)
    write_classifier(tmp_path)
    free = hwopt.optimize(
        tmp_path / "model.onnx", target="edge-npu", calib=tmp_path / "calib.npz", max_divergence=0.5,
        refine=0, dry_run=True,
    )  # fmt: skip
    block = next(row for row in free.report.choices if row.id.startswith("form:"))
    assert any("prune_channels" in names for names in measured)
    measured.clear()
    (tmp_path / "h.toml").write_text(
        VERSION + f'[pin]\n"{block.id}" = "fused"\n[forbid]\npasses = ["prune_channels"]\n'
    )
    done = hwopt.optimize(
        tmp_path / "model.onnx", target="edge-npu", calib=tmp_path / "calib.npz", max_divergence=5.0,
        refine=0, dry_run=True, hints=tmp_path / "h.toml",
    )  # fmt: skip
    assert ("fuse_ibn",) in measured
    assert not any("prune_channels" in names for names in measured)
    assert (block.id, "fused") in {(step.choice, step.value) for step in done.plan.steps}


def test_exit_codes_of_a_real_process(tmp_path: Path, hwopt: Hwopt) -> None:
    (tmp_path / "bad.toml").write_text(VERSION + '[pin]\n"form:conv-b7048e8bc8" = "dense"\n')
    common = ("optimize", str(FIGURES), "-t", "edge-npu", "--refine", "0", "--dry-run")
    done = hwopt(*common, "--hints", "bad.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"did you mean '{BLOCK}'" in done.stderr
    (tmp_path / "pin.toml").write_text(VERSION + f'[pin]\n"{BLOCK}" = "dense"\n')
    done = hwopt(*common, "--hints", "pin.toml", "--max-latency", "-41%", cwd=tmp_path)
    assert done.returncode == 1, done.stderr  # without the pin it can be met
    assert f"{BLOCK}=dense" in done.stderr
    done = hwopt(*common, "--hints", "pin.toml", "--plan", "x.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "--hints and --plan" in done.stderr
