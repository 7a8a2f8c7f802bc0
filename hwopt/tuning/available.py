"""Whether PyTorch is there, and a fixed state of it to compute in."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from hwopt.errors import BadInput

_ONE_AT_A_TIME = Lock()  # what is set here holds for the whole process


def torch_missing() -> bool:
    """Whether gradient steps are impossible because PyTorch is not installed."""
    return importlib.util.find_spec("torch") is None


def require_torch() -> None:
    """Raise BadInput where PyTorch is not installed."""
    if torch_missing():
        raise BadInput(
            "gradient steps need PyTorch, which is not installed: pip install 'hwopt[train]', "
            "or leave them out (--tune 0)"
        )


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Within it PyTorch computes with deterministic algorithms on so many threads; then as before.

    One Python thread at a time is within it. The random state is not touched: what is random here
    comes from NumPy generators of its own.
    """
    import torch

    with _ONE_AT_A_TIME:
        before = _state()
        _set(threads, True, False, True, torch.float32)
        try:
            yield
        finally:
            _set(*before)


def _state() -> tuple[int, bool, bool, bool, object]:
    import torch

    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
    )


def _set(threads: int, deterministic: bool, warn_only: bool, gradients: bool, dtype: object) -> None:
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.set_grad_enabled(gradients)
    torch.set_default_dtype(dtype)
