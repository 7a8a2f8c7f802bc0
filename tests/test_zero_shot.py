"""Scores without training: small networks whose scores can be computed by hand or in NumPy."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from hwopt.ir import load_model
from hwopt.zero_shot.probe import EPSILON, Weights, make_probe
from hwopt.zero_shot.score import (
    FEWEST,
    FLOAT_BYTES,
    MOST_BYTES,
    PERTURBATION,
    SAMPLES,
    Scores,
    affordable,
    entropy,
    naswot,
    noise,
    scores,
    zen,
)

FIGURES = Path(__file__).parent.parent / "models" / "figures" / "figures.onnx"
Floats = npt.NDArray[np.float64]


def pointwise(channels: tuple[int, ...], *, relu: bool, opset: int = 17, seed: int = 0) -> ir.Model:
    """1x1 convolutions from channels[0] to channels[-1], then global pooling."""
    rng = np.random.default_rng(seed)
    image = ir.val("image", dtype=ir.DataType.FLOAT, shape=["N", channels[0], 4, 4])
    value, nodes, constants = image, [], []
    for number, (inputs, outputs) in enumerate(pairwise(channels)):
        weight = rng.standard_normal((outputs, inputs, 1, 1)).astype(np.float32)
        constants.append(ir.val(f"w{number}", const_value=ir.tensor(weight, name=f"w{number}")))
        nodes.append(ir.node("Conv", [value, constants[-1]], name=f"conv{number}"))
        if relu:
            nodes.append(ir.node("Relu", [nodes[-1].outputs[0]], name=f"relu{number}"))
        value = nodes[-1].outputs[0]
    nodes.append(ir.node("GlobalAveragePool", [value], name="pool"))
    for number, node in enumerate(nodes):
        node.outputs[0].name = f"v{number}"
    out = nodes[-1].outputs[0]
    out.type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([image], [out], nodes=nodes, initializers=constants, opset_imports={"": opset}, name="g")
    return ir.Model(graph, ir_version=8)


def images(channels: int, samples: int = 8, seed: int = 5) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((samples, channels, 4, 4)).astype(np.float32)


def layer(x: Floats, seed: int, number: int, outputs: int) -> tuple[Floats, Floats]:
    """What a drawn and normalised 1x1 layer makes of x [batch, channels, 4, 4], and its deviations."""
    weight = np.random.default_rng((seed, number)).standard_normal((outputs, x.shape[1], 1, 1))[:, :, 0, 0]
    y = np.einsum("oc,nchw->nohw", weight, x)
    y = y - y.mean(axis=(0, 2, 3), keepdims=True)
    deviation = np.sqrt(np.square(y).mean(axis=(0, 2, 3), keepdims=True) + EPSILON)
    return y / deviation, deviation


def moved(given: npt.NDArray[np.float32], seed: int) -> Floats:
    """The samples, then the samples perturbed as the score does."""
    rng = np.random.default_rng((seed, len(given)))
    other = given + np.float32(PERTURBATION * given.std()) * rng.standard_normal(given.shape, np.float32)
    return np.concatenate([given, other]).astype(np.float64)


def test_a_one_layer_network_has_the_naswot_score_computed_by_hand() -> None:
    given = images(3)
    model = pointwise((3, 2), relu=True, seed=1)
    weight = np.random.default_rng(1).standard_normal((2, 3, 1, 1)).astype(np.float32)[:, :, 0, 0]
    codes = (np.einsum("oc,nchw->nohw", weight, given) > 0).reshape(len(given), -1)
    hamming = (codes[:, None, :] != codes[None, :, :]).sum(axis=2)
    wanted = np.linalg.slogdet(codes.shape[1] - hamming.astype(np.float64))[1]
    assert scores(model, given, Weights.KEPT, repeats=1).naswot == pytest.approx(wanted)


def test_samples_that_switch_the_same_activations_leave_nothing_to_tell_apart() -> None:
    same = np.repeat(images(3, samples=1), 4, axis=0)
    assert scores(pointwise((3, 4), relu=True), same, repeats=1).naswot == -math.inf
    assert math.isnan(scores(pointwise((3, 4), relu=False), images(3), repeats=1).naswot)
    assert naswot([np.array([[4.0, 0.0], [0.0, 4.0]])], 2) == pytest.approx(math.log(4 * 4 - 2 * 2))


def test_a_linear_network_has_the_zen_score_of_its_layers_in_numpy() -> None:
    given, seed = images(6), 3
    x, scale = moved(given, seed), 0.0
    for number, outputs in enumerate((8, 5)):
        x, deviation = layer(x, seed, number, outputs)
        scale += 0.5 * math.log(float(np.square(deviation).mean()))
    one, other = np.split(x, 2)
    distance = np.sqrt(np.square(one - other).sum(axis=(1, 2, 3))).mean()
    found = scores(pointwise((6, 8, 5), relu=False), given, seed=seed, repeats=1)
    assert found.zen == pytest.approx(math.log(distance) + scale, rel=1e-4)


def test_zen_grows_with_the_logarithm_of_the_inputs_of_a_linear_network_and_of_its_fan_in() -> None:
    model, given = pointwise((16, 16), relu=False), images(16)
    plain, louder = (scores(model, given * np.float32(k), repeats=1).zen for k in (1, 7))
    assert louder - plain == pytest.approx(math.log(7), abs=1e-3)
    deep = scores(pointwise((16, 16, 16), relu=False), given, repeats=8).zen
    shallow = scores(model, given, repeats=8).zen
    assert deep - shallow == pytest.approx(0.5 * math.log(16), abs=0.25)


def test_zen_of_features_that_move_twice_as_far_is_larger_by_log_two() -> None:
    still = np.zeros((4, 3, 2, 2))
    near, far = (zen(np.concatenate([still, still + step]), []) for step in (1.0, 2.0))
    assert far - near == pytest.approx(math.log(2))
    assert zen(np.concatenate([still, still + 1.0]), [np.full((1, 3, 1, 1), 10.0)]) - near == pytest.approx(
        math.log(10)
    )


def test_entropy_counts_the_directions_of_a_map() -> None:
    assert entropy(np.eye(6)) == pytest.approx(math.log(6))
    assert entropy(np.ones((6, 6))) == pytest.approx(0.0, abs=1e-9)


def test_expressivity_is_the_entropy_of_what_linear_layers_give() -> None:
    given, seed = images(6), 2
    y, _ = layer(moved(given, seed), seed, 0, 4)
    flat = np.moveaxis(y, 1, 0).reshape(4, -1)
    found = scores(pointwise((6, 4), relu=False), given, seed=seed, repeats=1)
    assert found.expressivity == pytest.approx(entropy(flat @ flat.T), rel=1e-4)


def test_names_do_not_matter_and_the_model_stays_as_it_was() -> None:
    model = pointwise((6, 12, 8), relu=True)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    first = scores(model, seed=4)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    renamed = model.clone()
    for number, node in enumerate(renamed.graph):
        node.name, node.outputs[0].name = f"another{number}", f"value{number}"
    assert scores(renamed, seed=4) == first == scores(model, seed=4)
    assert scores(model, seed=5) != first


def test_newer_opsets_write_means_another_way_and_score_alike() -> None:
    old, new = (scores(pointwise((6, 12), relu=True, opset=opset)) for opset in (13, 18))
    assert old == new


def test_wider_networks_score_higher() -> None:
    narrow, wide = (scores(pointwise((6, width, width), relu=True)) for width in (8, 64))
    assert wide.zen > narrow.zen
    assert wide.naswot > narrow.naswot


def test_what_has_no_convolution_has_no_score() -> None:
    image = ir.val("image", dtype=ir.DataType.FLOAT, shape=["N", 3, 4, 4])
    relu = ir.node("Relu", [image])
    relu.outputs[0].name = "out"
    relu.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([image], list(relu.outputs), nodes=[relu], opset_imports={"": 17}, name="g")
    with pytest.raises(ValueError, match="no convolution"):
        make_probe(ir.Model(graph, ir_version=8), Weights.DRAWN)


@pytest.mark.parametrize("weights", list(Weights))
def test_the_shipped_model_is_scored(weights: Weights) -> None:
    model = load_model(FIGURES)
    found = scores(model, noise(model, samples=4), weights, repeats=1)
    assert isinstance(found, Scores)
    assert all(math.isfinite(score) for score in (found.naswot, found.zen, found.expressivity))


@pytest.mark.parametrize(("edge", "samples"), [(4, SAMPLES), (1200, 7), (4000, FEWEST)])
def test_large_maps_are_scored_on_fewer_samples(edge: int, samples: int) -> None:
    model = pointwise((3, 3), relu=True)
    model.graph.inputs[0].shape = ir.Shape(["N", 3, edge, edge])
    assert affordable(model) == samples
    taken = 2 * samples * 3 * edge * edge * FLOAT_BYTES
    assert taken <= MOST_BYTES or samples == FEWEST
