"""Looking into a run: dumps, comparisons, bisection, reproducers. Nothing here is needed to optimise."""

from hwopt.debug.compare import Comparison, OutputGap, compare_outputs
from hwopt.debug.compare_inputs import Inputs, generated_inputs
from hwopt.debug.layers import LayerGap, Layers, compare_layers

__all__ = [
    "Comparison",
    "Inputs",
    "LayerGap",
    "Layers",
    "OutputGap",
    "compare_layers",
    "compare_outputs",
    "generated_inputs",
]
