"""Any program as a check of a model, told by its exit code as `git bisect run` is."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from hwopt.debug.bisect.checks import COMMAND, GOOD, INVALID, Finding, Verdict
from hwopt.errors import BadInput, RewriteFailed
from hwopt.files.scratch import temporary_folder
from hwopt.ir import save_model
from hwopt.oracles.command_run import Finished, Overtime, Runner

PLACEHOLDER = "{model}"
SKIP_CODE = 125
WORST_CODE = 127  # the last one that says "bad"
NO_LIMIT_S = 7 * 86_400.0


@dataclass(frozen=True)
class CommandCheck:
    """Runs a command line, without a shell, with the path of a temporary ONNX file in it.

    words: one of them holds PLACEHOLDER. timeout_s: what takes longer says nothing. said: is handed the
    command, what it printed, and how it ended.
    """

    words: tuple[str, ...]
    timeout_s: float = NO_LIMIT_S
    said: Callable[[str], None] = lambda text: None
    _runner: Runner = field(default_factory=Runner, repr=False)

    def __call__(self, model: ir.Model) -> Finding:
        """0: good; 125: skip; 1 to 127: bad. Raises BadInput for anything else: the check is at fault."""
        with temporary_folder() as folder:
            path = Path(folder) / "model.onnx"
            try:
                save_model(model, path)
            except RewriteFailed as error:
                return Finding(Verdict.BAD, INVALID, str(error))
            return self._ran([word.replace(PLACEHOLDER, str(path)) for word in self.words])

    def _ran(self, words: list[str]) -> Finding:
        try:
            ended = self._runner.run(words, self.timeout_s)
        except OSError as error:
            raise BadInput(f"--check: {self.words[0]} cannot be started: {error.strerror or error}") from None
        self._note(words, ended)
        if isinstance(ended, Overtime):
            return Finding(Verdict.SKIP, COMMAND, f"the check {ended.ending}")
        if ended.code == 0:
            return GOOD
        if ended.code == SKIP_CODE:
            return Finding(Verdict.SKIP, COMMAND, f"the check says skip ({ended.ending})")
        if 0 < ended.code <= WORST_CODE:
            return Finding(Verdict.BAD, COMMAND, f"the check fails: {ended.ending}")
        raise BadInput(
            f"--check: {self.words[0]} {ended.ending}: only codes up to {WORST_CODE} tell of the model"
        )

    def _note(self, words: list[str], ended: Finished | Overtime) -> None:
        printed = ended.stdout.rstrip() if isinstance(ended, Finished) else ""
        self.said("\n".join(filter(None, [f"$ {shlex.join(words)}", printed, f"# {ended.ending}"])) + "\n")


def command_check(text: str, timeout_s: float | None, said: Callable[[str], None]) -> CommandCheck:
    """The check of `--check 'COMMAND {model}'`. Raises BadInput for a text that is no such command line."""
    try:
        words = tuple(shlex.split(text, posix=os.name == "posix"))
    except ValueError as error:
        raise BadInput(f"--check {text}: not a command line: {error}") from None
    if not any(PLACEHOLDER in word for word in words):
        raise BadInput(f"--check '{text}': put {PLACEHOLDER} where the path of the model belongs")
    return CommandCheck(words, NO_LIMIT_S if timeout_s is None else timeout_s, said)
