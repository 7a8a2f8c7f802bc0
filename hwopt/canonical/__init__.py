"""Canonical form: the same function written with fewer operators, exactly.

`find_folds` looks, `apply_fold` edits, `canonicalise` repeats both until nothing is left.
The pass in passes/canonicalize.py offers the folds to the engine as values.
"""

from hwopt.canonical.common import Fold, Passed
from hwopt.canonical.engine import RULES, apply_fold, canonicalise, find_folds

__all__ = ["RULES", "Fold", "Passed", "apply_fold", "canonicalise", "find_folds"]
