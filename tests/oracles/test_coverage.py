"""Every operator on every target: it has a price, or a reason why it has none."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest

from hwopt.ir import model_bytes
from hwopt.oracles.protocol import Measurement, Unmeasured
from hwopt.partition import partition
from hwopt.registry import all_targets, load_target
from hwopt.target import Target
from tests.operators import CASES, model, shapes

needs_vela = pytest.mark.skipif(find_spec("ethosu") is None, reason="the ethos extra is not installed")
U85 = {
    "accelerator": "ethos-u85-1024",
    "system_config": "Ethos_U85_SYS_DRAM_Mid",
    "memory_mode": "Shared_Sram",
}
# What no NPU here runs: everything else in the table must have a price on ethos-u55-256.
WITHOUT_PRICE_ON_U55 = {
    "ArgMax", "DepthToSpace", "Einsum", "Erf", "Softplus", "Reciprocal", "Pow 3", "Div", "conv 1-D",
    "conv 5x5 stride 4", "transposed 4x4 stride 4", "average pool 9x9 padded", "MatMul of two ranks",
    "Resize cubic", "Resize nearest, uneven", "Resize bilinear by 4", "Resize bilinear, uneven",
    "Resize bilinear, down", "ReduceMean channels and image", "Pad by reflection", "Gather of scattered rows",
}  # fmt: skip


def _unpriced(name: str, target: Target) -> list[str]:
    """The reasons of the case's groups that have no price."""
    return [group.reason for group in partition(model(name), shapes(name), target).unpriced]


@pytest.mark.parametrize("target", all_targets(), ids=lambda target: target.name)
@pytest.mark.parametrize("name", CASES)
def test_every_group_has_an_engine_or_a_reason(name: str, target: Target) -> None:
    built = model(name)
    groups = partition(built, shapes(name), target).subgraphs
    assert {node.name for group in groups for node in group.nodes} == {node.name for node in built.graph}
    for group in groups:
        assert (group.engine is None) == bool(group.reason)


def test_what_has_no_price_on_ethos_u55_is_what_its_compiler_refuses() -> None:
    target = load_target("ethos-u55-256")
    assert {name for name in CASES if _unpriced(name, target)} == WITHOUT_PRICE_ON_U55


@needs_vela
@pytest.mark.parametrize("options", [{}, U85], ids=["u55", "u85"])
@pytest.mark.parametrize("name", CASES)
def test_a_group_has_a_price_where_vela_gives_one(name: str, options: dict[str, str]) -> None:
    from hwopt.oracles.vela_config import config_of
    from hwopt.oracles.vela_worker import compile_model

    target = load_target("ethos-u55-256")
    if options:
        target = replace(target, clock_mhz=1000.0, oracle=replace(target.oracle, options=options))
    answer = compile_model(model_bytes(model(name)), True, config_of(target))
    assert isinstance(answer, Unmeasured) == bool(_unpriced(name, target)), answer


@needs_vela
@pytest.mark.parametrize(
    "name", ["attention", "squeeze and excite", "Shuffle", "LayerNormalization written out"]
)
def test_the_groups_of_a_block_account_for_all_of_its_time(name: str) -> None:
    from hwopt.oracles.vela_config import config_of
    from hwopt.oracles.vela_worker import compile_model

    target, built = load_target("ethos-u55-256"), model(name)
    answer = compile_model(model_bytes(built), True, config_of(target))
    assert isinstance(answer, Measurement)
    latency = {row.output: row.latency_us for row in answer.rows}
    groups = [g for g in partition(built, shapes(name), target).subgraphs if g.kind != "view"]
    names = {value.name for group in groups for node in group.nodes for value in node.outputs}
    assert sum(us for output, us in latency.items() if output in names) == pytest.approx(answer.latency_us)
