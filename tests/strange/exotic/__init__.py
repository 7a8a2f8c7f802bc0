"""Small models with strange features, by name: importing this fills `EXOTIC`."""

from tests.strange.exotic import (
    axes,
    control_flow,
    convolutions,
    element_types,
    fed_computed,
    functions,
    names,
    odd_inputs,
    operators,
    sparse_tied,
)

__all__ = [
    "axes",
    "control_flow",
    "convolutions",
    "element_types",
    "fed_computed",
    "functions",
    "names",
    "odd_inputs",
    "operators",
    "sparse_tied",
]
