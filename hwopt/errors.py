"""What can go wrong, and the exit code each kind of failure has on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hwopt.visible import escaped

if TYPE_CHECKING:
    import onnx_ir as ir  # the command line's help needs no model

REPRODUCER = "reproducer"  # key of the details: the folder


class HwoptError(Exception):
    """Base of every error that hwopt raises on purpose; its text is one line for the user.

    details: what a program wants to know beyond the text, as plain data (`--json` prints it).
    """

    exit_code = 3

    def __init__(self, text: str = "", details: Mapping[str, object] | None = None) -> None:
        super().__init__(text)
        self.details: Mapping[str, object] = details or {}

    @property
    def folder(self) -> Path | None:
        """Of a bug: where all lies that is needed to see it again; None where nothing was written."""
        known = self.details.get(REPRODUCER)
        return None if known is None else Path(str(known))


class BadInput(HwoptError):
    """The user's input cannot be used: says what, where, and how to fix it. Nothing was written.

    Its text is one line, whatever names it quotes: letters that cannot be printed are escaped.
    """

    exit_code = 2

    def __init__(self, text: str = "", details: Mapping[str, object] | None = None) -> None:
        super().__init__(escaped(text), details)


class BudgetNotMet(HwoptError):
    """No plan satisfies the hard limits; the text names the closest plan that was found."""

    exit_code = 1


class InternalError(HwoptError):
    """Anything that nobody foresaw: a bug in hwopt. What was raised is its `__cause__`."""

    exit_code = 3

    def __init__(self, cause: BaseException, details: Mapping[str, object] | None = None) -> None:
        super().__init__(reason_of(cause), details)


class RewriteFailed(HwoptError):
    """A rewrite broke an invariant of the model: a bug in hwopt, never the user's fault.

    pass_name, choice, value: what was being written; "" where no single value is to blame.
    """

    exit_code = 3
    pass_name = choice = value = ""


class PassFailed(HwoptError):
    """A pass broke down, or wrote what nobody can work on: a bug in it.

    model: what it was handed. choice, value: what it was writing; "" where it was looking for places.
    what: it did, in words, where it did not simply break down.
    """

    exit_code = 3

    def __init__(
        self,
        pass_name: str,
        cause: Exception,
        model: ir.Model,
        choice: str = "",
        value: str = "",
        what: str = "",
    ) -> None:
        doing = f"writing {choice} = {value}" if choice else "looking for places"
        self.what = what or f"broke down {doing}"
        super().__init__(f"pass {pass_name} {self.what}: {reason_of(cause)}")
        self.pass_name = pass_name
        self.model = model
        self.choice = choice
        self.value = value


class Interrupted(HwoptError):
    """The user stopped it (Ctrl-C); the text says what was kept and how to go on."""

    exit_code = 130


def reason_of(error: BaseException) -> str:
    """The class of an error and what it says, for people."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
