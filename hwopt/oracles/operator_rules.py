"""Which operators an oracle's device leaves out for their sizes or attributes, asked without the oracle.

A target lists operators by name; compilers also refuse some forms of them. A rules module has
`why_not(node, signature, target)`, which names the reason, "" where there is none. It is found
here by the oracle's name and loaded when it is first asked.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache

import onnx_ir as ir

from hwopt.signature import Signature
from hwopt.target import Target

Rule = Callable[[ir.Node, Signature, Target], str]

_MODULES = {"vela": "hwopt.oracles.vela_rules"}


@lru_cache(maxsize=16)
def rule_of(oracle: str) -> Rule | None:
    """The rules of an oracle, None where it runs every form of what its targets list."""
    module = _MODULES.get(oracle)
    if module is None:
        return None
    found: Rule = importlib.import_module(module).why_not
    return found
