"""fp32 model  -->  the same model in int8, as QDQ, by ONNX Runtime's static quantiser.

Weights: symmetric int8, one scale per output channel. Activations: uint8, one scale and zero point
per tensor, from the smallest and largest values on calibration samples. Interface: unchanged, all
inputs and outputs stay float. An activation that a range can express (ReLU, Clip) goes into the
range of what it follows.

What stays float: a Softmax at the end, whose probabilities would be rounded to 1/255, and what is
between the operators of an activation that is written out as several (HardSwish as Add, Clip, Mul
and Div): a target looks the whole of it up in one table.

The representation is that of Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", CVPR 2018, with scales per channel as in Krishnamoorthi,
"Quantizing deep convolutional networks for efficient inference", 2018, section 3.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx.version_converter
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from hwopt.activations import following_activation
from hwopt.calibration.data import Calibration
from hwopt.errors import BadInput
from hwopt.files.scratch import temporary_folder
from hwopt.ir import save_model
from hwopt.nodes import Array, is_op
from hwopt.quantize.sources import keep_sources
from hwopt.runtime import fixed_batch
from hwopt.wording import said

OPSET = 13  # the first where DequantizeLinear has an axis
SAMPLES = 32  # that ranges come from: on EfficientNet-Lite0 more, or cut-off tails, gave no smaller error
_AT_THE_END = ("Softmax", "LogSoftmax")
_VIEWS = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")  # keeps the quantiser from warning


def require_opset(model: ir.Model) -> None:
    """Raises BadInput where the model's opset cannot express scales per channel."""
    opset = model.opset_imports.get("", 1)
    if opset < OPSET:
        raise BadInput(
            f"--quantize int8: the model has opset {opset}, but scales per channel need {OPSET}: "
            f"convert it first (onnx.version_converter.convert_version(model, {OPSET}))"
        )


def quantised(model: ir.Model, calibration: Calibration, samples: Sequence[int]) -> ir.Model:
    """The model in int8, with ranges from (at most `SAMPLES` of) these samples.

    model: not edited. Same bytes for the same model and samples. Raises BadInput where the opset is
    too low or the quantiser cannot handle the model.
    """
    require_opset(model)
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static  # takes seconds

    copy = _prepared(model)
    with temporary_folder() as folder:
        before, after = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        save_model(copy, before)
        try:
            with _no_advice():
                quantize_static(
                    str(before), str(after), _reader(model, calibration, samples),
                    quant_format=QuantFormat.QDQ, per_channel=True, weight_type=QuantType.QInt8,
                    activation_type=QuantType.QUInt8,
                    nodes_to_exclude=[str(node.name) for node in _kept_float(copy)],
                )  # fmt: skip
        except Exception as error:  # whatever the quantiser throws at a model that it does not know
            raise BadInput(f"ONNX Runtime cannot quantise the model: {said(error)}") from error
        result = ir.from_proto(onnx.load_model(after))
        keep_sources(model, copy, result)
        return _with_interface_of(model, result)


def judged_form(model: ir.Model, calibration: Calibration, samples: Sequence[int]) -> ir.Model:
    """The int8 form for judging alone: as `quantised`, of a copy in a later opset where that is needed.

    Raises BadInput where the opset cannot be raised, or the quantiser cannot handle the model.
    """
    if model.opset_imports.get("", 1) < OPSET:
        try:
            proto = onnx.version_converter.convert_version(ir.to_proto(model), OPSET)
        except Exception as error:  # the converter is C++ and throws what it likes
            raise BadInput(f"the model's opset cannot be raised to {OPSET}: {said(error)}") from error
        model = ir.from_proto(proto)
    return quantised(model, calibration, samples)


@contextmanager
def _no_advice() -> Iterator[None]:
    """The quantiser's advice goes to the root logger, which nobody reads here."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def _prepared(model: ir.Model) -> ir.Model:
    """A copy as the quantiser wants it: named nodes, because it keeps its books by names, and weights
    that are initialisers, because it takes Constant nodes (PaddlePaddle's exporter) for activations.
    """
    copy = model.clone()
    LiftConstantsToInitializersPass(lift_all_constants=True)(copy)
    copy.metadata_props[_PREPARED[0]] = _PREPARED[1]
    taken: set[str] = set()
    for number, node in enumerate(copy.graph.all_nodes()):
        if not node.name or node.name in taken:
            node.name = f"hwopt.node.{number}"
        taken.add(node.name)
    return copy


def _kept_float(model: ir.Model) -> list[ir.Node]:
    """The Softmax at the end of the model, the views behind it, and the inside of written-out activations."""
    found: list[ir.Node] = []
    for node in model.graph:
        match = following_activation(node.outputs[0]) if len(node.outputs) == 1 else None
        if match is not None and match.decomposed:
            found.extend(match.nodes)
    for output in model.graph.outputs:
        last, behind = output.producer(), []
        while last is not None and is_op(last, *_VIEWS) and last.inputs[0] is not None:
            behind.append(last)
            last = last.inputs[0].producer()
        if last is not None and is_op(last, *_AT_THE_END):
            found.extend([*behind, last])
    return found


def _reader(model: ir.Model, calibration: Calibration, samples: Sequence[int]) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Calibration samples, one run's worth at a time."""

        def __init__(self) -> None:
            self._feeds = _feeds(model, calibration, samples)

        def get_next(self) -> dict[str, Array] | None:
            """The next inputs, or None after the last."""
            return next(self._feeds, None)

    return Reader()


def _feeds(model: ir.Model, calibration: Calibration, samples: Sequence[int]) -> Iterator[dict[str, Array]]:
    """An even share of the samples, as many at once as the model insists on; the last ones may repeat."""
    chosen = list(samples[:: -(-len(samples) // SAMPLES)])
    size = fixed_batch(model) or 1
    for begin in range(0, len(chosen), size):
        batch = chosen[begin : begin + size]
        yield dict(calibration.batch([*batch, *batch[-1:] * (size - len(batch))]))


def _with_interface_of(model: ir.Model, result: ir.Model) -> ir.Model:
    """The quantised model as it would have come from the same exporter: metadata, versions, producer."""
    result.metadata_props.clear()
    result.metadata_props.update(model.metadata_props)
    result.opset_imports.clear()
    result.opset_imports.update(model.opset_imports)
    result.ir_version = model.ir_version
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    return result
