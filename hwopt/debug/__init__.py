"""Looking into a run: dumps, comparisons, bisection, reproducers. Nothing here is needed to optimise."""

from hwopt.debug.compare.inputs import Inputs, generated_inputs
from hwopt.debug.compare.layers import LayerGap, Layers, compare_layers
from hwopt.debug.compare.outputs import Comparison, OutputGap, compare_outputs

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
