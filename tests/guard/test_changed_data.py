"""External data that were swapped after the model was loaded are refused by the worker, not read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import hwopt
from bench.big_nets import DATA, write_network
from hwopt.alike import same_tensor
from hwopt.errors import BadInput
from hwopt.guard.client import Place, Stretches, run_shapes, runs, same_bytes
from hwopt.ir import load_model
from hwopt.runtime import Session, serialised
from hwopt.trace import Event, StageStarted
from tests.guard.test_same_bytes import guard as guard

X = {"x": np.zeros((1, 32, 4, 4), np.float32)}
CHANGED = r"external data .*changed while it was in use: start again"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(tmp_path, 3_000_000, 16)[0]


def swap(network: Path) -> None:
    """Another file of the same size, with other weights, under the name of the data."""
    data, other = network.with_name(DATA), network.with_name("other")
    other.write_bytes(np.random.default_rng(1).bytes(data.stat().st_size))
    os.replace(other, data)


@pytest.mark.usefixtures("guard")
def test_no_job_runs_on_data_that_were_swapped(network: Path) -> None:
    serial = serialised(load_model(network))
    assert serial.outside
    assert isinstance(runs(serial, [X]), list)
    swap(network)
    with pytest.raises(BadInput, match=CHANGED):
        runs(serial, [X])
    with pytest.raises(BadInput, match=CHANGED):
        run_shapes(serial, X)
    with Stretches([X]) as stretches, pytest.raises(BadInput, match=CHANGED):
        stretches.advance(serial, (), noise=False)
    assert isinstance(runs(serialised(load_model(network)), [X]), list)  # the worker goes on


@pytest.mark.usefixtures("guard")
def test_data_that_are_gone_are_said_to_be(network: Path) -> None:
    serial = serialised(load_model(network))
    network.with_name(DATA).unlink()
    with pytest.raises(BadInput, match="cannot be read any more: No such file"):
        runs(serial, [X])


def test_a_session_of_this_process_refuses_them_too(network: Path) -> None:
    model = load_model(network)
    swap(network)
    with pytest.raises(BadInput, match=CHANGED):
        Session(model)


@pytest.mark.usefixtures("guard")
def test_weights_are_not_held_against_data_that_were_swapped(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Swapped behind the look that this process takes: the worker looks itself."""
    one, two = (load_model(network).graph.initializers for _ in range(2))
    name = next(item.name for item in serialised(load_model(network)).outside)
    ours, theirs = one[name].const_value, two[name].const_value
    assert ours is not None
    assert theirs is not None
    monkeypatch.setattr("hwopt.alike._place", id)
    assert same_tensor(ours, theirs)

    def swapped_first(first: Place, second: Place, nbytes: int) -> bool:
        swap(network)
        return same_bytes(first, second, nbytes)

    monkeypatch.setattr("hwopt.alike.same_bytes", swapped_first)
    with pytest.raises(BadInput, match=CHANGED):
        same_tensor(ours, theirs)


def test_a_run_whose_data_are_swapped_before_it_verifies_is_refused(network: Path, tmp_path: Path) -> None:
    def swapping(event: Event) -> None:
        if isinstance(event, StageStarted) and event.name == "verify":
            swap(network)

    with pytest.raises(BadInput, match=CHANGED):
        hwopt.optimize(
            network, target="edge-npu", refine=0, output=tmp_path / "out.onnx", listeners=(swapping,)
        )
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([network.name, DATA])
