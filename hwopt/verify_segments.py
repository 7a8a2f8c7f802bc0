"""Compares two models stretch by stretch, for models that no process should hold as a whole.

Both models are cut at the same values (`segments.py`). A stretch that is the same in both, node for
node and with the same weights, computes the same for any inputs: nothing is run to show it. A stretch
that differs runs in both models on the same values: those that the input model itself computes on
seeded inputs, carried from cut to cut. Each of its outputs is held against the usual tolerance.

What that proves: the stretches of each model, one after the other, are that model. Where every stretch
of the result does on the input's own values what the input's stretch does, up to float rounding, the
result differs from the input by nothing but the rounding of single stretches. How later stretches
amplify that rounding is not looked at, as it would be were the outputs of whole models compared; in
return a difference is held against the values beside it, and later stretches cannot dampen it.

Memory of the guard's worker, which runs the stretches, is bounded by the heaviest of them and the values
at one cut; this process holds a stretch's weights only where they lie in no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.alike import same_nodes
from hwopt.errors import RewriteFailed
from hwopt.gaps import BATCHES, Difference
from hwopt.guard.client import Died, NotRun, Stretches
from hwopt.inputs import fills, random_feeds
from hwopt.nodes import Array
from hwopt.reads import outer_reads
from hwopt.report.schema_proof import STRETCHES
from hwopt.runtime import serialised
from hwopt.segments import Dtypes, Segment, segments
from hwopt.shapes import infer_shapes
from hwopt.wording import shorten

SEGMENT_BYTES = 256 << 20  # weights that a stretch should have at the most
HOW = (
    f"{STRETCHES}, since a whole model of this size fits into no process: stretches that are the same, "
    "bit for bit, were not run; the others ran on the values that the input computes there"
)
InputShapes = Mapping[str, tuple[int, ...]]


def differences_by_segments(
    one: ir.Model, two: ir.Model, input_shapes: InputShapes, seed: int, most_bytes: int = SEGMENT_BYTES
) -> tuple[Difference, ...] | str:
    """The largest difference of each output, and of each value at which a stretch that differs was cut.

    A text instead says why ONNX Runtime could not run the first. Raises BadInput where that does not
    live through it, RewriteFailed where the second does not run.
    """
    dtypes = {name: info.dtype for name, info in infer_shapes(one, input_shapes).items()}
    parts = segments(one, two, dtypes, most_bytes)
    apart = [not _same(part, one, two) for part in parts]
    last = max((number for number, differs in enumerate(apart) if differs), default=-1)
    found = {str(value.name): Difference(str(value.name), 0.0, 0.0) for value in one.graph.outputs}
    if last < 0:
        return tuple(found.values())
    walk = _Walk(one, two, tuple(parts[: last + 1]), tuple(apart), dtypes)
    problem = ""
    for fill in fills(one):
        gaps = walk.gaps([random_feeds(one, input_shapes, seed + batch, batch, fill) for batch in BATCHES])
        if not isinstance(gaps, str):
            return tuple((found | gaps).values())
        problem = problem or gaps
    return f"ONNX Runtime cannot run the model: {problem}"


@dataclass(frozen=True, eq=False)
class _Walk:
    """Stretches of two models to run, up to the last that differs. apart: by stretch, whether it does."""

    one: ir.Model
    two: ir.Model
    parts: tuple[Segment, ...]
    apart: tuple[bool, ...]
    dtypes: Dtypes

    def gaps(self, feeds: Sequence[Mapping[str, Array]]) -> dict[str, Difference] | str:
        """What differs by how much, by name; a text: why the first model does not run on these feeds."""
        found: dict[str, Difference] = {}
        with Stretches(feeds) as stretches:
            for number, part in enumerate(self.parts):
                keep = self.parts[number + 1].reads if number + 1 < len(self.parts) else ()
                mine = serialised(stretch(self.one, part, part.one, self.dtypes))
                refusal = stretches.advance(mine, keep, noise=self.apart[number])
                if refusal is not None:
                    return shorten(refusal.reason, 200)
                if self.apart[number]:
                    other = stretch(self.two, part, part.two, self.dtypes)
                    found |= {gap.output: gap for gap in _gaps(stretches, other)}
        return found


def _gaps(stretches: Stretches, model: ir.Model) -> Sequence[Difference]:
    try:
        gaps = stretches.against(serialised(model))
    except Died as error:
        raise RewriteFailed(f"the result cannot be verified: {error.what}") from None
    if isinstance(gaps, NotRun):
        raise RewriteFailed(f"the result does not run: {shorten(gaps.reason, 200)}")
    return gaps


def _same(part: Segment, one: ir.Model, two: ir.Model) -> bool:
    own = {(name[0], name[1]) for model in (one, two) for name in model.functions}
    return (
        one.opset_imports == two.opset_imports
        and not any((node.domain, node.op_type) in own for node in part.one)
        and same_nodes(part.one, part.two)
    )


def stretch(model: ir.Model, part: Segment, nodes: Sequence[ir.Node], dtypes: Dtypes) -> ir.Model:
    """A stretch as a model; weights are shared, and of what is handed in only the type is said."""
    known = {str(value.name): value for value in (*model.graph.inputs, *model.graph.outputs)}
    known |= {str(value.name): value for node in nodes for value in node.outputs}
    makes = [known[name] for name in part.makes]
    read = dict.fromkeys((*(value for node in nodes for value in outer_reads(node)), *makes))
    handed = set(part.reads)
    constants = [value for value in read if value.is_initializer()]
    graph = ir.GraphView(
        [value for value in read if value.name in handed and not value.is_initializer()],
        makes,
        nodes=nodes,
        initializers=constants,
        opset_imports=model.graph.opset_imports,
        name="stretch",
    ).clone()
    for value in graph.inputs:
        value.type, value.shape = ir.TensorType(dtypes[str(value.name)]), None
    for value in graph.outputs:
        value.shape = None
    return ir.Model(graph, ir_version=model.ir_version, functions=tuple(model.functions.values()))
