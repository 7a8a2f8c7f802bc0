"""What the outside world sees of a model, in a form that can be compared."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

Dim = int | str | None


@dataclass(frozen=True)
class Port:
    """One input or output. A dynamic axis is its symbol, or None where it has no name."""

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None

    @property
    def dynamic_axes(self) -> tuple[int, ...]:
        """Indices of the axes whose size is not fixed."""
        return tuple(i for i, dim in enumerate(self.shape or ()) if not is_static(dim))


@dataclass(frozen=True)
class Interface:
    """Inputs, outputs, metadata and opsets of a model; equal where nobody outside can tell a difference."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: tuple[tuple[str, str], ...]
    opsets: tuple[tuple[str, int], ...]

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        return dict(self.opsets).get("", 1)


def is_static(dim: Dim) -> bool:
    """Whether a dimension is a size; some exporters write -1 for "any"."""
    return isinstance(dim, int) and dim >= 0


def interface(model: ir.Model) -> Interface:
    """The model's interface: names, dtypes, shapes and dynamic axes, metadata and opsets, in order."""
    return Interface(
        inputs=tuple(_port(value) for value in model.graph.inputs),
        outputs=tuple(_port(value) for value in model.graph.outputs),
        metadata=tuple(sorted(model.metadata_props.items())),
        opsets=tuple(sorted(model.opset_imports.items())),
    )


def _port(value: ir.Value) -> Port:
    shape = None if value.shape is None else tuple(_dim(dim) for dim in value.shape)
    return Port(value.name or "", value.dtype.name if value.dtype is not None else str(value.type), shape)


def _dim(dim: int | ir.SymbolicDim) -> Dim:
    return dim if isinstance(dim, int) else dim.value
