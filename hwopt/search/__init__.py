"""Search: one value per choice under hard limits. One file per strategy, one signature for all."""

from hwopt.search.problem import Budget, Objective, Outcome

__all__ = ["Budget", "Objective", "Outcome"]
