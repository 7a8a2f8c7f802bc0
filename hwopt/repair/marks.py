"""Marks that a rewrite leaves on the nodes of a changed model, for the weights to be fitted later.

They live in `node.meta`, so they survive `Model.clone()` and are never written to a file.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

ORIGIN_KEY = "hwopt.origin"
FIT_KEY = "hwopt.fit"


@dataclass(frozen=True)
class Origin:
    """What a node's output should reproduce: a value of the base model.

    value: the value's name in the base model; the node's own output is compared with it as it
        is, before any activation that follows the node.
    channels: which channels of that value, in the order of the node's output channels; None: all.
    """

    value: str
    channels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Fit:
    """A request to fit a node's weights on calibration data.

    support: only the weights that are not zero now may change; zeros stay zeros.
    """

    support: bool = False


def mark_origin(node: ir.Node, origin: Origin) -> None:
    """Say which value of the base model the node's output stands for."""
    node.meta[ORIGIN_KEY] = origin


def origin_of(node: ir.Node) -> Origin | None:
    """The value of the base model that the node's output stands for, where a rewrite said so."""
    origin = node.meta.get(ORIGIN_KEY)
    assert origin is None or isinstance(origin, Origin)
    return origin


def request_fit(node: ir.Node, support: bool = False) -> None:
    """Ask repair to fit the node's weights; `support` keeps its present zeros."""
    node.meta[FIT_KEY] = Fit(support)


def withdraw_fit(node: ir.Node) -> None:
    """Take a request to be fitted back."""
    node.meta.pop(FIT_KEY, None)


def fit_of(node: ir.Node) -> Fit | None:
    """The node's request to be fitted, or None."""
    fit = node.meta.get(FIT_KEY)
    assert fit is None or isinstance(fit, Fit)
    return fit
