"""Figures of a model on its way: its predicted cost, and how far its outputs are from the input's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.debug.dumps.index import Cost, Output
from hwopt.verify import EXACT_TOLERANCE, OWN_NOISE, Difference, Sample, differences_from, expected_of
from hwopt.wording import said
from hwopt.work import Work


@dataclass(frozen=True)
class Yardstick:
    """What a run's models are held against. samples: the input's outputs, or why there are none."""

    work: Work
    samples: Sequence[Sample] | str

    @classmethod
    def of(cls, work: Work) -> Yardstick:
        """The input of a run, run once on seeded inputs."""
        return cls(work, expected_of(work.model, work.input_shapes, work.settings.seed))

    def cost(self, model: ir.Model) -> Cost:
        """What the run's cost model says of a model."""
        try:
            found = self.work.before if model is self.work.model else self.work.assess(model)
        except Exception as error:  # a model half way may be more than the cost model takes
            return Cost(unavailable=said(error))
        return Cost(
            found.latency_us, found.memory.peak_bytes, found.weight_bytes, found.macs, tuple(found.unpriced)
        )

    def outputs(self, model: ir.Model) -> tuple[Output, ...] | str:
        """How far every output is from the input's; a text: why that cannot be said."""
        if isinstance(self.samples, str):
            return self.samples
        try:
            return tuple(map(_output, differences_from(self.samples, model)))
        except Exception as error:  # whatever ONNX Runtime objects to
            return f"does not run in ONNX Runtime on the input's inputs: {said(error)}"


def _output(found: Difference) -> Output:
    limit = EXACT_TOLERANCE + OWN_NOISE * found.noise
    return Output(found.output, found.max_abs, found.max_rel, limit, found.exact)
