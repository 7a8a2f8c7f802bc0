"""EXACT rewrites where they pay, proved by the target's own oracle (no calibration data at all)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import hwopt
from hwopt.estimate import Estimate
from hwopt.report.schema import OracleProof, Report, Verification
from tests.graphs import model_of

PADDED = """
<ir_version: 8, opset_import: ["" : 13]>
padded (float[N,16,56,56] x) => (float[N,16,56,56] y) {
  a = Conv<kernel_shape=[1,1]>(x, wa, ba)
  b = Relu(a)
  c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(b, wb, bb)
  d = Relu(c)
  y = Conv<kernel_shape=[1,1]>(d, wc, bc)
}
"""
PADDED_WEIGHTS = {
    "wa": (24, 16, 1, 1), "ba": (24,), "wb": (96, 24, 3, 3), "bb": (96,), "wc": (16, 96, 1, 1), "bc": (16,),
}  # fmt: skip


def change(report: Report) -> float:
    """Relative change of the oracle's latency for the whole model."""
    assert isinstance(report.verification, Verification)
    proof = report.verification.oracle
    if not isinstance(proof, OracleProof):
        pytest.skip(f"the oracle is not installed: {proof.unavailable}")
    before, after = proof.before.latency_us, proof.after.latency_us
    assert isinstance(before, Estimate)
    assert isinstance(after, Estimate)
    return after.value / before.value - 1


def test_padding_24_to_32_input_channels_pays_on_ethos_u55() -> None:
    pytest.importorskip("ethosu.regor")
    result = hwopt.optimize(model_of(PADDED, PADDED_WEIGHTS), target="ethos-u55-256")
    chosen = {(c.chosen, v.passes) for c in result.report.choices for v in c.values if v.name == c.chosen}
    assert ("w32", ("align_channels",)) in chosen
    # FINDINGS of Vela 5.2: 24-channel inputs of a 3x3 convolution cost a fifth more than 32
    assert change(result.report) <= -0.15
    assert isinstance(result.report.verification, Verification)
    assert all(output.max_rel <= 1e-4 for output in result.report.verification.outputs)


@pytest.mark.skipif(
    "HWOPT_DATA" not in os.environ, reason="HWOPT_DATA is not set: EfficientNet-Lite0 is missing"
)
def test_lite0s_first_depthwise_made_dense_pays_on_edge_npu(tmp_path: Path) -> None:
    pytest.importorskip("zigzag")
    model = Path(os.environ["HWOPT_DATA"]) / "efficientnet_lite0.onnx"
    result = hwopt.optimize(model, target="edge-npu", output=tmp_path / "out.onnx")
    assert change(result.report) <= -0.02
    names = [path.name for path in result.files]
    assert names == ["out.onnx", "out.report.html", "out.report.md", "out.report.json", "out.plan.json"]
    assert isinstance(result.report.verification, Verification)
    assert all(output.max_rel <= 1e-4 for output in result.report.verification.outputs)
