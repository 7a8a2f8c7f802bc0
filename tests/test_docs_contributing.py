"""CONTRIBUTING.md: its pass keeps every contract, its test passes and can fail, and hwopt finds it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx_ir as ir
import pytest

import hwopt
from hwopt.choice import Pass, Value
from hwopt.registry import all_passes
from tests.contracts import test_passes as contracts
from tests.graphs import model_of
from tests.pages import ROOT, blocks

MODULE = "hwopt.passes.mean_as_pool"
PAGE = {block.file: block.text for block in blocks("CONTRIBUTING.md") if block.file}
CONTRACTS = [getattr(contracts, name) for name in dir(contracts) if name.startswith("test_")]
NET = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,3,12,12] x) => (float[N,8,1,1] y) <float[N,8,10,10] c> {
  c = Conv<kernel_shape=[3,3]>(x, w)
  y = ReduceMean<axes=[2,3], keepdims=1>(c)
}
"""


@pytest.fixture
def plugged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pass]:
    """The page's pass as the plug-in of a package, under the name that it has in passes/."""
    (tmp_path / "mean_as_pool.py").write_text(PAGE["passes/mean_as_pool.py"], "utf-8")
    info = tmp_path / "mean_as_pool-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mean-as-pool\nVersion: 0.1\n", "utf-8")
    (info / "entry_points.txt").write_text("[hwopt.passes]\nmean_as_pool = mean_as_pool\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("mean_as_pool")
    monkeypatch.setitem(sys.modules, MODULE, module)
    (item,) = module.PASSES
    yield item
    sys.modules.pop("mean_as_pool", None)


def net() -> ir.Model:
    return model_of(NET, {"w": (8, 3, 3, 3)})


def own_tests() -> dict[str, Callable[[], None]]:
    names: dict[str, Callable[[], None]] = {}
    code = compile(PAGE["tests/passes/test_mean_as_pool.py"], "test_mean_as_pool.py", "exec")
    exec(code, names)
    return {name: test for name, test in names.items() if name.startswith("test_")}


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: str(contract.__name__))
def test_the_pass_keeps_every_contract(plugged_in: Pass, contract: Callable[..., None]) -> None:
    for make in (net, *contracts.MODELS.values()):
        for folder in contracts.TARGETS[:2]:
            contract(plugged_in, make, folder)
    assert isinstance(contracts.found(plugged_in, net(), contracts.TARGETS[0])[0], Value)


def test_its_own_test_passes(plugged_in: Pass) -> None:
    tests = own_tests()
    assert len(tests) == 2
    for test in tests.values():
        test()


def test_its_own_test_can_fail(plugged_in: Pass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(plugged_in), "values", lambda *given: iter(()))
    for test in own_tests().values():
        with pytest.raises(ValueError, match="not enough values"):
            test()


def test_it_is_found_by_itself_and_takes_part(plugged_in: Pass) -> None:
    assert plugged_in in all_passes()
    result = hwopt.optimize(net(), target="edge-npu", refine=0, passes=("mean_as_pool",))
    assert [row.name for row in result.report.passes if row.values] == ["mean_as_pool"]


def test_it_is_as_short_as_the_heading_says() -> None:
    """Lines that do something: no imports, no blank lines, no docstrings."""
    text = PAGE["passes/mean_as_pool.py"].partition("class MeanAsPool")[2]
    lines = [line for line in text.splitlines()[1:] if line.strip() and not line.strip().startswith('"""')]
    assert len(lines) <= 30
    assert all(len(line) <= 110 for line in PAGE["passes/mean_as_pool.py"].splitlines())


def test_what_ci_does_is_what_the_page_says() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert all(f" {goal}\n" in script for goal in ("lint", "types", "test"))
