"""Repair of weights after a rewrite: marks, the base model as reference, closed-form fits."""

from hwopt.repair.marks import Fit, Origin, fit_of, mark_origin, origin_of, request_fit

__all__ = ["Fit", "Origin", "fit_of", "mark_origin", "origin_of", "request_fit"]
