"""The parent's side: hands jobs to the one worker of this process and says how they ended.

    checked(path)               -> None, or what the checker raised
    inferred(model)             -> the model with the shapes of its values
    runs(model, sets_of_feeds)  -> what comes out, or why ONNX Runtime could not
    same_bytes(one, two, n)     -> whether two parts of files are the same

Each raises `Died` where the worker did not live to answer, or ran out of its memory or time.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from hwopt.errors import BadInput
from hwopt.files.data_file import Identity
from hwopt.gaps import Difference
from hwopt.guard.endings import ending, out_of_memory
from hwopt.guard.limits import memory_limit, switched_off, time_limit
from hwopt.guard.messages import Array, Head, dtype_of, pack, pack_arrays, unpack, unpack_arrays
from hwopt.oracles.workers import Result, WorkerPool
from hwopt.sessions import Outside

_JOBS = "hwopt.guard.worker:answer"
_PATIENCE_S = 2.0
# From there on models are run as they stand: the time of ONNX Runtime's own rewriting grows with the
# square of the nodes, 2 s for 10,000 and 7 s for 20,000, and two or three runs do not make up for it.
MANY_NODES = 4_000
_HOURS = 1e6  # seconds; the worker's own clock is the one that counts
CHECKER, RUNTIME, INFERENCE = "the ONNX checker", "ONNX Runtime", "ONNX shape inference"


class Died(BadInput):
    """Native code did not live through a model: the input's fault, where nobody says otherwise.

    what: happened, without the model's name.
    """

    def __init__(self, what: str, model: str = "the model") -> None:
        super().__init__(f"{model}: {what}")
        self.what = what


@dataclass(frozen=True)
class NotRun:
    """Why native code refused, in its own words. kind: the exception's class. memory: it ran out of what
    it may have.
    """

    reason: str
    kind: str = ""
    memory: bool = False


Run = dict[str, Array] | NotRun


@dataclass(frozen=True)
class Outcome:
    """What kind of tensor came out of a run."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


@dataclass(frozen=True)
class Serial:
    """A model as bytes. outside: its weights that stay in files (`hwopt.runtime.serialised`).

    nodes: of its main graph, where somebody counted.
    """

    data: bytes
    outside: tuple[Outside, ...] = ()
    nodes: int = 0

    @property
    def size(self) -> int:
        """Bytes of the model, weights in files included."""
        return len(self.data) + sum(place.nbytes for place in self.outside)


def checked(path: Path) -> NotRun | None:
    """onnx.checker's full check of a file; None where it passes."""
    head: Head = {"job": "check", "path": str(path), "folder": str(Path.cwd())}
    size = path.stat().st_size
    reply, _ = _ask(head, [], size, CHECKER)
    return _affordable(_refusal(reply), CHECKER, size)


def inferred(model: bytes) -> bytes | NotRun:
    """The model as onnx.shape_inference leaves it (with data propagation)."""
    reply, blocks = _ask({"job": "infer"}, [model], len(model), INFERENCE)
    return _affordable(_refusal(reply), INFERENCE, len(model)) or bytes(blocks[0])


def runs(model: Serial, sets: Sequence[Mapping[str, Array]]) -> list[Run] | NotRun:
    """All outputs for each set of feeds, by ONNX Runtime; NotRun alone where it cannot load the model."""
    found = _run(model, sets, shapes=False)
    if isinstance(found, NotRun):
        return found
    answers, blocks = found
    return [_refusal(one) or unpack_arrays(one["arrays"], blocks) for one in answers]


def run_shapes(model: Serial, feeds: Mapping[str, Array]) -> dict[str, Outcome] | NotRun | None:
    """Shape and dtype of what comes out of one run, node by node as they stand.

    NotRun: it does not run on these feeds. None: ONNX Runtime cannot load the model.
    """
    found = _run(model, [feeds], shapes=True)
    if isinstance(found, NotRun):
        return None
    answer = found[0][0]
    return _refusal(answer) or dict(map(_outcome, _heads(answer["shapes"])))


def _outcome(item: Head) -> tuple[str, Outcome]:
    shape = item["shape"]
    assert isinstance(shape, list)
    return str(item["name"]), Outcome(tuple(shape), dtype_of(str(item["dtype"])))


class Stretches:
    """Two models run stretch by stretch on the same samples, whose values stay in the worker.

    Use it as a context manager. A worker that dies on the way ends it all: `Died`.
    """

    _numbers = itertools.count()

    def __init__(self, sets: Sequence[Mapping[str, Array]]) -> None:
        blocks = list[bytes | memoryview]()
        self._run = f"{os.getpid()}-{next(self._numbers)}"
        described = [pack_arrays(feeds, blocks) for feeds in sets]
        _ask({"job": "begin", "run": self._run, "sets": described}, blocks, 0, RUNTIME)

    def advance(self, model: Serial, keep: Sequence[str], noise: bool) -> NotRun | None:
        """The next stretch of the first model. keep: what is read behind it; noise: `against` will follow."""
        return self._do({"job": "advance", "keep": list(keep), "noise": noise}, model)[0]

    def against(self, model: Serial) -> list[Difference] | NotRun:
        """How far the same stretch of the second model is from what the first made."""
        refusal, reply = self._do({"job": "against"}, model)
        return refusal or [Difference(**gap) for gap in _heads(reply["gaps"])]  # type: ignore[arg-type]

    def _do(self, head: Head, model: Serial) -> tuple[NotRun | None, Head]:
        outside = [asdict(place) for place in model.outside]
        reply, _ = _ask({**head, "run": self._run, "outside": outside}, [model.data], model.size, RUNTIME)
        return _affordable(_refusal(reply), RUNTIME, model.size), reply

    def __enter__(self) -> Stretches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or not issubclass(kind, Died | KeyboardInterrupt):  # then the worker is gone
            _ask({"job": "end", "run": self._run}, [], 0, RUNTIME)


@dataclass(frozen=True)
class Place:
    """Where bytes lie in a file. path: by which another process can open it. identity: as of a DataFile."""

    path: str
    offset: int
    identity: Identity = ()


def same_bytes(one: Place, two: Place, nbytes: int) -> bool:
    """Whether so many bytes at two places are the same; read where the verifying is done, not here.

    Raises BadInput where a file cannot be read.
    """
    head: Head = {"job": "same", "one": asdict(one), "two": asdict(two), "nbytes": nbytes}
    reply, _ = _ask(head, [], 0, RUNTIME)
    if "error" in reply:
        raise BadInput(f"weights of {one.path} cannot be compared with {two.path}: {reply['error']}")
    return bool(reply["same"])


def warm() -> None:
    """Starts the worker in the background, while this process does something else."""
    if not switched_off():
        threading.Thread(target=_greet, daemon=True).start()


def _run(
    model: Serial, sets: Sequence[Mapping[str, Array]], shapes: bool
) -> tuple[list[Head], list[memoryview]] | NotRun:
    blocks: list[bytes | memoryview] = [model.data]
    described = [pack_arrays(feeds, blocks) for feeds in sets]
    head: Head = {"job": "run", "sets": described, "outside": [asdict(place) for place in model.outside],
                  "shapes": shapes, "plain": model.nodes > MANY_NODES}  # fmt: skip
    reply, found = _ask(head, blocks, model.size, RUNTIME)
    if "load" in reply:
        return _refusal(_heads([reply["load"]])[0]) or NotRun("")
    return _heads(reply["answers"]), found


def _heads(value: object) -> list[Head]:
    assert isinstance(value, list)
    return value


def _refusal(reply: Head) -> NotRun | None:
    if "error" not in reply:
        return None
    return NotRun(str(reply["error"]), str(reply["type"]), bool(reply["memory"]))


def _affordable(found: NotRun | None, who: str, size: int) -> NotRun | None:
    """A refusal that is not one of memory."""
    if found is not None and found.memory:
        raise Died(out_of_memory(who, memory_limit(size)))
    return found


def _greet() -> None:
    with contextlib.suppress(BadInput, RuntimeError):  # the first job will say it again
        _ask({"job": "hello"}, [], 0, RUNTIME)


def _ask(
    head: Head, blocks: Sequence[bytes | memoryview], size: int, who: str
) -> tuple[Head, list[memoryview]]:
    """The worker's answer. who: whose code it is.

    Raises Died where there is none, and BadInput where it is hwopt's own refusal.
    """
    reply, found = _here(head, blocks) if switched_off() else _there(head, blocks, size, who)
    if reply.get("ours"):
        raise BadInput(str(reply["error"]))
    return reply, found


def _there(
    head: Head, blocks: Sequence[bytes | memoryview], size: int, who: str
) -> tuple[Head, list[memoryview]]:
    """The job in the worker."""
    memory, seconds = memory_limit(size), time_limit()
    result = _WORKER.run(pack({**head, "memory": memory, "seconds": seconds}, blocks))
    if isinstance(result, bytes):
        return unpack(result)
    raise Died(ending(result, who, memory, seconds))


def _here(head: Head, blocks: Sequence[bytes | memoryview]) -> tuple[Head, list[memoryview]]:
    """The job in this process."""
    from hwopt.guard.worker import done

    out = list[bytes | memoryview]()
    reply = done(head, [memoryview(block) for block in blocks], out)
    return reply, [memoryview(block) for block in out]


class _Worker:
    """The one worker of this process; jobs wait for each other. jobs: "module:function" that does them."""

    def __init__(self, jobs: str) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._pool: WorkerPool | None = None
        self._owner = 0

    def run(self, message: bytes) -> Result:
        """The answer to one job."""
        with self._lock:
            if self._pool is None or self._owner != os.getpid():  # after a fork it is the parent's
                self._pool, self._owner = WorkerPool(self._jobs, 1, _HOURS), os.getpid()
                atexit.register(self.close)
            return self._pool.run([message])[0]

    def close(self) -> None:
        """Ends it; the next job starts another. One that is just being started ends with this process."""
        if self._lock.acquire(timeout=_PATIENCE_S):
            try:
                if self._pool is not None and self._owner == os.getpid():
                    self._pool.close()
            finally:
                self._lock.release()


_WORKER = _Worker(_JOBS)
