"""One BLAS thread for the linear algebra of a repair.

Sums that are split over threads are rounded differently for each number of threads, and the
result of a run must not depend on the machine's cores. It is also faster: the matrices are
small, and threads that wait for one another cost more than they give, most of all on a busy
machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    """Looks for the BLAS libraries once: it takes milliseconds."""
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within it NumPy and SciPy compute on the calling thread alone."""
    with _controller().limit(limits=1, user_api="blas"):
        yield
