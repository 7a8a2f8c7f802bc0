"""A comparison as plain data, for `hwopt compare --json`.

An infinite difference (NaN or infinity against a number, or another shape) is null.
"""

from __future__ import annotations

from hwopt.debug.compare.inputs import Inputs
from hwopt.debug.compare.layers import LayerGap, Layers
from hwopt.debug.compare.outputs import Comparison, OutputGap
from hwopt.debug.compare.stats import Gap
from hwopt.debug.compare.text import verdict

SCHEMA_VERSION = 1
Plain = dict[str, object]


def to_object(names: tuple[str, str], found: Comparison, layers: Layers | None) -> Plain:
    """Everything that was found. names: of the models."""
    return {
        "schema_version": SCHEMA_VERSION,
        "equal": found.same and (layers is None or layers.same),
        "verdict": verdict(found, layers),
        "first_model": names[0],
        "second_model": names[1],
        "tolerance": found.tolerance,
        "inputs": [_inputs(item) for item in found.inputs],
        "interface": found.interface,
        "failure": found.failure,
        "outputs": [_output(output) for output in found.outputs],
        "layers": None if layers is None else _layers(found, layers),
    }


def _inputs(item: Inputs) -> Plain:
    return {"name": item.name, "shapes": {name: array.shape for name, array in item.feeds.items()}}


def _output(output: OutputGap) -> Plain:
    return {
        "name": output.name,
        "other": output.other,
        "equal": output.same,
        "inputs": output.inputs,
        "limit": output.limit,
        "noise": output.noise,
        "top1": output.top1 and {"agree": output.top1[0], "of": output.top1[1]},
        **_gap(output.gap),
    }


def _layers(found: Comparison, layers: Layers) -> Plain:
    return {
        "inputs": found.telling,
        "compared": len(layers.tensors),
        "different": len(layers.differing),
        "first": None if layers.first is None else layers.first.name,
        "begins": [layer.name for layer in layers.tensors if layer.begins],
        "tensors": [_layer(layer) for layer in layers.tensors],
        "not_compared": [
            {"name": item.name, "in": item.in_, "reason": item.reason} for item in layers.not_compared
        ],
        "nested_nodes": layers.nested,
    }


def _layer(layer: LayerGap) -> Plain:
    return {
        "name": layer.name,
        "other": layer.other,
        "paired_by": layer.how,
        "equal": layer.same,
        "limit": layer.limit,
        "noise": layer.noise,
        "own": layer.own,
        "begins": layer.begins,
        "channels": layer.channels,
        "first_nodes": layer.one,
        "second_nodes": layer.two,
        "rewrites": layer.rewrites,
        **_gap(layer.gap),
    }


def _gap(gap: Gap) -> Plain:
    return {
        "shapes": gap.shapes,
        "dtypes": gap.dtypes,
        "elements": gap.elements,
        "different": gap.different,
        "max_abs": gap.max_abs,
        "max_rel": gap.max_rel,
        "mean_abs": gap.mean_abs,
        "largest": gap.largest,
        "snr_db": gap.snr_db,
        "cosine": gap.cosine,
        "at": gap.at,
        "at_values": None if gap.at is None else (gap.one, gap.two),
        "nan": gap.nan,
        "inf": gap.inf,
    }
