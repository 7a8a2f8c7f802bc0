"""The command line: which commands there are, and what becomes of their failures.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 a
negative verdict, 2 bad input or usage (one line, nothing written), 3 a bug in hwopt (one line
that names a folder with what is needed to see it again), 130 interrupted.
"""

from __future__ import annotations

import atexit
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated, NoReturn

import typer
from typer.main import get_command

from hwopt import __version__
from hwopt.cli.commands import COMMANDS
from hwopt.cli.garbage import searched_by_memory
from hwopt.cli.help import SETTINGS, LazyGroup
from hwopt.cli.streams import harmless_streams
from hwopt.cli.usage import refuse_empty, usage_text
from hwopt.errors import REPRODUCER, BadInput, HwoptError, InternalError, Interrupted, PassFailed

_INTERRUPTED = 130
_BUG = 3
_LONGEST = 4_000  # letters of the line: a name in a file may have millions
_ENDING = ("SIGTERM", "SIGHUP")
_VERSION, _JSON = "--version", "--json"
_COMPLETION = {"--install-completion", "--show-completion"}  # typer's own, which say 1 for a shell unknown


class _Root(LazyGroup):
    entries = COMMANDS


app = typer.Typer(cls=_Root, rich_markup_mode=None, context_settings=SETTINGS)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the versions of what decides.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --version: as JSON.")] = False,
) -> None:
    """Rewrites a trained ONNX model so that it runs faster, or in less memory, on one accelerator.

    Examples:
        hwopt targets list
        hwopt analyze model.onnx --target edge-npu
        hwopt optimize model.onnx --target edge-npu -o fast.onnx
        hwopt optimize model.onnx --target edge-npu --calib images --max-drop 0.01 -o fast.onnx
        hwopt COMMAND --help

    Exit codes:
        0    done; also: unchanged, because nothing better was found
        1    a negative verdict: a limit cannot be met, a comparison or a check failed
        2    bad input or usage: one line says what, where, and how to mend it
        3    a bug in hwopt: the line names a folder with what is needed to see it again
        130  interrupted (Ctrl-C, SIGTERM, SIGHUP); the best plan so far is kept

    What is kept on disk between runs lies in $HWOPT_CACHE, else ~/.cache/hwopt; see docs/files.md.
    """
    if version:
        _show_versions(as_json)
    elif as_json:
        raise BadInput("--json goes behind the command, as in: hwopt targets list --json")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def _show_versions(as_json: bool) -> int:
    """One line per component, hwopt's own first; the exit code."""
    from hwopt.report.jsonable import encode, json_text
    from hwopt.versions import versions

    found = {"hwopt": __version__} | versions()
    if as_json:
        print(json_text(encode({"versions": found})), end="")
    else:
        print("\n".join(f"{name} {number}" for name, number in found.items()))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; every failure is one line on standard error.

    With --json it is an object on standard output besides, with what a program wants to know of it.
    """
    is_process = arguments is None
    with harmless_streams(), searched_by_memory() if is_process else nullcontext():
        return _run(list(sys.argv[1:] if arguments is None else arguments), is_process)


def _run(given: list[str], is_process: bool) -> int:
    """Runs one command. is_process: whether the process ends with it."""
    if is_process:
        _heed_signals()
    try:
        refuse_empty(given)
        if _VERSION in given and {*given} <= {_VERSION, _JSON}:  # without what click loads to read options
            return _show_versions(_JSON in given)
        code = get_command(app).main(args=given, prog_name="hwopt", standalone_mode=False)
        if code == _INTERRUPTED:  # newer releases of typer make an exit code of Ctrl-C, older ones an Abort
            raise KeyboardInterrupt
        if code and _COMPLETION.intersection(given):
            raise BadInput("this shell is not known; completion works in bash, zsh, fish and PowerShell")
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        failure: HwoptError = Interrupted("interrupted, nothing was written")
    except HwoptError as error:
        failure = _bug(error, given) if error.exit_code == _BUG else error
    except Exception as error:
        text = usage_text(error)
        failure = _bug(error, given) if text is None else BadInput(_usage(text, given))
    if failure.exit_code == _INTERRUPTED and is_process:
        _leave(failure, _JSON in given)
    return _complain(failure, _JSON in given)


def _heed_signals() -> None:
    """Who asks the process to end (a scheduler, a closed terminal) gets what Ctrl-C gets."""
    for name in _ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup keeps it ignored
            signal.signal(number, signal.default_int_handler)


def _leave(failure: HwoptError, as_json: bool) -> NoReturn:
    """Ends the process where it stands: who is in a hurry shall not wait for other threads.

    Another Ctrl-C must not meet an interpreter that is half taken down. Temporary files go.
    """
    for name in ("SIGINT", *_ENDING):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    code = _complain(failure, as_json)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _usage(text: str, arguments: Sequence[str]) -> str:
    """A usage error, and where the options of that command are explained."""
    given = arguments[: 2 if arguments[:1] in (["targets"], ["passes"]) else 1]
    words = [word for word in given if not word.startswith("-")]
    return f"{text} (see {shlex.join(['hwopt', *words, '--help'])})"


def _complain(failure: HwoptError, as_json: bool) -> int:
    """One line, whatever the text holds."""
    text = " ".join(str(failure).split())
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    if as_json:
        from hwopt.report.jsonable import encode, json_text

        print(json_text(encode({"error": text, **failure.details, "exit_code": failure.exit_code})), end="")
    print(f"hwopt: {text}", file=sys.stderr)
    return failure.exit_code


def _bug(error: Exception, arguments: Sequence[str]) -> HwoptError:
    """The error as one line that names its folder; a run that has more to show has written one already."""
    failure = error if isinstance(error, HwoptError) else InternalError(error)
    if REPRODUCER not in failure.details:
        try:
            from hwopt.debug.faults.incident import Asked, Incident
            from hwopt.debug.faults.reproducer import with_folder

            with_folder(failure, Incident(error, Asked(shlex.join(["hwopt", *arguments]))))
        except Exception:  # what cannot even be imported may be the very bug
            failure.details = {**failure.details, REPRODUCER: None}
    kept = f"what is needed to see it again is in {failure.folder}" if failure.folder else _not_kept(failure)
    whose = "" if isinstance(failure, PassFailed) else "a bug in hwopt: "
    return HwoptError(f"{whose}{failure}; {kept}", failure.details)


def _not_kept(failure: HwoptError) -> str:
    return "; ".join(getattr(failure, "__notes__", ())) or "nothing could be kept of it"


if __name__ == "__main__":
    sys.exit(main())
