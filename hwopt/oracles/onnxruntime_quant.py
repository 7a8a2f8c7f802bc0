"""int8 for latency only: QDQ, per channel, with ranges from random data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from hwopt.oracles.onnxruntime_context import static_shape

_SAMPLES = 2


def quantised(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model with quantised activations (uint8) and weights (int8, per channel).

    path: a file that is written and removed. Outputs are meaningless: ranges come from random
    inputs. Raises what onnxruntime.quantization raises.
    """
    try:
        quantize_static(
            model,
            str(path),
            _RandomInputs(model),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load_model(path)
    finally:
        path.unlink(missing_ok=True)


class _RandomInputs(CalibrationDataReader):  # type: ignore[misc]
    """A few seeded random inputs of the model's shapes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._samples = self._draw(model)

    def get_next(self) -> dict[str, npt.NDArray[np.generic]] | None:
        """The next sample, or None after the last."""
        return next(self._samples, None)

    @staticmethod
    def _draw(model: onnx.ModelProto) -> Iterator[dict[str, npt.NDArray[np.generic]]]:
        rng = np.random.default_rng(0)
        initialised = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in initialised]
        for _ in range(_SAMPLES):
            yield {value.name: _random(value, rng) for value in inputs}


def _random(value: onnx.ValueInfoProto, rng: np.random.Generator) -> npt.NDArray[np.generic]:
    shape = static_shape(value)
    if shape is None:
        raise ValueError(f"input '{value.name}' has no fixed shape")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    if np.issubdtype(dtype, np.floating):
        return np.asarray(rng.random(shape, np.float32).astype(dtype))
    return np.zeros(shape, dtype)
