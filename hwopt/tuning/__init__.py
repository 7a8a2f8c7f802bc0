"""Gradient steps on the weights of a repaired model, with the base model as teacher.

Needs PyTorch (the `train` extra); nothing here imports it before a model is really tuned.
"""

from hwopt.tuning.available import require_torch, torch_missing

__all__ = ["require_torch", "torch_missing"]
