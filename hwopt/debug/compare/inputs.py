"""What two models are run on: the user's data, or seeded noise in several shapes where axes are free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.errors import BadInput
from hwopt.inputs import random_feeds
from hwopt.ir.interface import is_static
from hwopt.nodes import Array
from hwopt.verify import BATCHES
from hwopt.wording import said

Shapes = Mapping[str, tuple[int, ...]]
Runs = Callable[[Mapping[str, Array]], object]
_SIZES = (64, 96, 32, 128, 224, 320, 16)  # for axes that nobody fixed; models of images want multiples of 32


@dataclass(frozen=True, eq=False)
class Inputs:
    """One array per input of a model. name: where they come from."""

    name: str
    feeds: Mapping[str, Array]

    @property
    def shapes(self) -> str:
        """x 1x3x224x224, sr (): every input with its shape."""
        sizes = {name: "x".join(map(str, array.shape)) or "()" for name, array in self.feeds.items()}
        return ", ".join(f"{name} {size}" for name, size in sizes.items())


def generated_inputs(
    model: ir.Model, runs: Runs, input_shapes: Shapes, seed: int = 0, samples: int = 1
) -> list[Inputs]:
    """Seeded noise: batches of 1 and 3 where the batch is free, two sizes where other axes are.

    runs: runs the model and raises where it cannot; shapes that it does not take are left out.
    input_shapes: an input whose shape is given gets that one alone. samples: draws per shape.
    Raises BadInput where the model takes none of the shapes that were tried.
    """
    taken, problem = _shapes_taken(model, runs, input_shapes, seed)
    if not taken:
        raise BadInput(_refusal(model, input_shapes, problem))
    return [
        Inputs(f"seed {seed + draw}", random_feeds(model, shapes, seed + draw))
        for shapes in taken
        for draw in range(samples)
    ]


def _shapes_taken(model: ir.Model, runs: Runs, given: Shapes, seed: int) -> tuple[list[Shapes], str]:
    """Shapes that the model runs with: two sizes, the first also in larger batches; and a complaint."""
    taken: list[Shapes] = []
    problem = ""
    for size in _sizes(model, given):
        shapes = bound(model, given, BATCHES[0], size)
        complaint = _complaint(model, runs, shapes, seed)
        if complaint:
            problem = problem or complaint
        elif taken:
            return [*taken, shapes], problem
        else:
            wider = [bound(model, given, batch, size) for batch in BATCHES[1:]]
            taken = [shapes, *(w for w in wider if w != shapes and not _complaint(model, runs, w, seed))]
    return taken, problem


def _sizes(model: ir.Model, given: Shapes) -> tuple[int, ...]:
    """What to try on free axes that are no batch; one of them where there are none."""
    first, second = (bound(model, given, 1, size) for size in _SIZES[:2])
    return _SIZES if first != second else _SIZES[:1]


def bound(model: ir.Model, given: Shapes, batch: int, size: int) -> Shapes:
    """A shape per input: the given one, or its own with a batch on a free first axis and a size on others.

    An axis with the name of a batch is one. Raises BadInput for an input without any shape.
    """
    values = [v for v in model.graph.inputs if not v.is_initializer() and isinstance(v.type, ir.TensorType)]
    rest = [value for value in values if str(value.name) not in given]
    batches = {_symbol(value, 0) for value in rest if value.shape} - {None}
    found = dict(given)
    for value in rest:
        if value.shape is None:
            raise BadInput(f"input '{value.name}' has no shape: give it with --input-shape {value.name}:1,10")
        axes = range(len(value.shape))
        found[str(value.name)] = tuple(_axis(value, axis, batches, batch, size) for axis in axes)
    return found


def _axis(value: ir.Value, axis: int, batches: set[str | None], batch: int, size: int) -> int:
    assert value.shape is not None
    known = value.shape[axis]
    if isinstance(known, int) and is_static(known):
        return known
    return batch if axis == 0 or _symbol(value, axis) in batches else size


def _symbol(value: ir.Value, axis: int) -> str | None:
    """The name of an axis that is not fixed."""
    assert value.shape is not None
    known = value.shape[axis]
    return None if isinstance(known, int) else known.value


def _complaint(model: ir.Model, runs: Runs, shapes: Shapes, seed: int) -> str:
    """Why the model does not run with these shapes; "" where it does."""
    try:
        runs(random_feeds(model, shapes, seed))
    except BadInput:
        raise
    except Exception as error:  # whatever ONNX Runtime throws
        return said(error)
    return ""


def _refusal(model: ir.Model, given: Shapes, problem: str) -> str:
    names = [str(value.name) for value in model.graph.inputs if str(value.name) not in given]
    free = [name for name in names if bound(model, given, 1, 1)[name] != bound(model, given, 1, 2)[name]]
    if not names or not free:
        return f"the model does not run on generated inputs: {problem}; give some with --inputs"
    asked = " ".join(f"--input-shape {name}:..." for name in free)
    return (
        f"no shape that was tried fits the model's free axes: give {asked}, or data with --inputs ({problem})"
    )
