"""Marks on nodes: what a rewrite leaves for the repair.

They live in `node.meta`, so they survive `Model.clone()` and are never written to a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwopt.repair.masks import Sparsity

ORIGIN_KEY = "hwopt.origin"
FIT_KEY = "hwopt.fit"
SIGNED_KEY = "hwopt.fit_by"

Dense = npt.NDArray[np.float64]


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
    sparsity: the repair chooses on the data which weights are zero, in this pattern; the zeros
        that the rewrite has set are the pattern by magnitude, for the price only.
    codebook: the repair chooses so many codes for the layer on the data; 0: weights are free.
    dense: [groups, features, outputs of a group], the weights before the rewrite changed them.
    """

    support: bool = False
    sparsity: Sparsity | None = None
    codebook: int = 0
    dense: Dense | None = field(default=None, compare=False, repr=False)

    @property
    def keeps_zeros(self) -> bool:
        """Whether weights that are zero in the closed-form fit must stay zero afterwards."""
        return self.support or self.sparsity is not None

    @property
    def constrained(self) -> bool:
        """Whether the weights are not free to be any matrix."""
        return self.keeps_zeros or self.codebook > 0


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


def request_sparse_fit(node: ir.Node, sparsity: Sparsity, dense: Dense) -> None:
    """Ask repair to choose the node's zeros in this pattern and to fit the weights that stay.

    dense: [groups, features, outputs of a group], the weights to choose among.
    """
    node.meta[FIT_KEY] = Fit(sparsity=sparsity, dense=dense)


def request_codebook(node: ir.Node, count: int, dense: Dense) -> None:
    """Ask repair to find that many codes for the node's weights.

    dense: [groups, features, outputs of a group], the weights before they were clustered.
    """
    node.meta[FIT_KEY] = Fit(codebook=count, dense=dense)


def withdraw_fit(node: ir.Node) -> None:
    """Take a request to be fitted back."""
    node.meta.pop(FIT_KEY, None)


def fit_of(node: ir.Node) -> Fit | None:
    """The node's request to be fitted, or None."""
    fit = node.meta.get(FIT_KEY)
    assert fit is None or isinstance(fit, Fit)
    return fit


def sign(node: ir.Node, choice: str) -> None:
    """Says which choice marked the node to be fitted."""
    node.meta[SIGNED_KEY] = choice


def asked_by(node: ir.Node) -> str:
    """The choice whose rewrite marked the node to be fitted; "" where nobody signed it."""
    return str(node.meta.get(SIGNED_KEY, ""))
