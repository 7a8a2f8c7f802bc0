"""The user's own device as oracle: a command that gets model.onnx and prints JSON.

    target = load_target("my-board")                    # oracle.name = "command"
    oracle = CommandOracle(target, "ssh board ./bench {model}")

The command comes from the command line or from the API, never from a file: loading a target
starts nothing. It is split as a shell would and run without one. Placeholders: `{model}`, the
path of the model (must be there); `{out}`, a file that the command may write its JSON to instead
of standard output; `{slot}`, 0 .. slots - 1, for several equal devices. What it prints is
described in hwopt.oracles.command_answer.

Options in target.toml: `device`, a label and version of device and program (change it, and
everything is measured anew); `runs` of the command per model (3: the minimum of all samples
counts); `retries` after an exit code other than 0 or a time-out (2 per model); `timeout_s` of one
run (300); `slots`, models measured at the same time (1: a device is one); `call_us`, what a call
costs besides its operators (0).

A device runs whole models: a job in context is measured as it is. Its figure is then the sum of
the rows where the command gives rows, else the total less `call_us`, because what a call costs
is not paid once per operator in a network.
"""

from __future__ import annotations

import hashlib
import json
import queue
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from hwopt.errors import BadInput
from hwopt.files.scratch import temporary_folder
from hwopt.oracles.command_answer import BadReport, Refusal, Report, parse_report
from hwopt.oracles.command_run import Overtime, Runner
from hwopt.oracles.protocol import Answer, Job, Measurement, Progress, Row, Unmeasured
from hwopt.oracles.spread import NOISE, noise_of_minimum
from hwopt.target import Target
from hwopt.wording import guess

SCHEMA_VERSION = 1  # of what is made of a command's answer: raise it with every change of a figure
_HINT = "--oracle-command 'ssh board ./bench {model}'"


@dataclass(frozen=True)
class CommandOptions:
    """How a command is run; see the module's text for each."""

    device: str = ""
    runs: int = 3
    retries: int = 2
    timeout_s: float = 300.0
    slots: int = 1
    call_us: float = 0.0


class CommandOracle:
    """Measures models on the device behind a command.

    command: a template, as text or as a list of arguments. workers: in place of the option `slots`.
    Raises BadInput where there is no command, where it lacks `{model}`, where its program is not
    found, and for options that cannot be used.
    """

    name = "command"
    source = "measured"

    def __init__(
        self, target: Target, command: str | Sequence[str] | None = None, workers: int | None = None
    ) -> None:
        options = options_of(target)
        self._options = options if workers is None else replace(options, slots=max(1, workers))
        self._argv = _template(target, command)
        self._runner = Runner()

    @property
    def identity(self) -> str:
        """Name, schema, a hash of the template, and the options that decide a figure."""
        o = self._options
        digest = hashlib.sha256(json.dumps(self._argv).encode()).hexdigest()[:16]
        chosen = f"runs={o.runs} call_us={o.call_us:g} device={json.dumps(o.device)}"
        return f"{self.name} schema={SCHEMA_VERSION} template={digest} {chosen}"

    def measure(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Answer]:
        """One answer per job, in order; whatever goes wrong with a job is its Unmeasured.

        details: `noise`, the relative standard deviation of the minimum over one run; `samples`,
        their number; and what the command gave.
        """
        slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(self._options.slots):
            slots.put(slot)
        answers: list[Answer] = [Unmeasured("not run", transient=True)] * len(jobs)
        self._runner = Runner()
        pool = ThreadPoolExecutor(self._options.slots, thread_name_prefix="hwopt-command")
        try:
            open_jobs = {pool.submit(self._answer, job, slots): i for i, job in enumerate(jobs)}
            for done, future in enumerate(as_completed(open_jobs), start=1):
                answers[open_jobs[future]] = future.result()
                if progress is not None:
                    progress(done, len(jobs))
        except BaseException:
            self.close()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return answers

    def close(self) -> None:
        """Ends every command that is running, with all that it started."""
        self._runner.stop()

    def _answer(self, job: Job, slots: queue.SimpleQueue[int]) -> Answer:
        slot = slots.get()
        try:
            with temporary_folder() as folder:
                return self._measured(job, Path(folder), slot)
        except BadReport as error:
            return Unmeasured(f"the command's answer cannot be used: {error}", transient=True)
        except OSError as error:
            return Unmeasured(f"the command cannot be run: {error}", transient=True)
        finally:
            slots.put(slot)

    def _measured(self, job: Job, folder: Path, slot: int) -> Answer:
        model, out = folder / "model.onnx", folder / "out.json"
        model.write_bytes(job.model)
        argv = _filled(self._argv, {"{model}": str(model), "{out}": str(out), "{slot}": str(slot)})
        reports: list[Report] = []
        failures = 0
        while len(reports) < self._options.runs:
            out.unlink(missing_ok=True)
            ended = self._runner.run(argv, self._options.timeout_s)
            if isinstance(ended, Overtime) or ended.code != 0:
                failures += 1
                if failures > self._options.retries:
                    return Unmeasured(f"the command failed {failures} times: {ended.ending}", transient=True)
                continue
            report = parse_report(out.read_text("utf-8", "replace") if out.exists() else ended.stdout)
            if isinstance(report, Refusal):
                return Unmeasured(f"the device cannot run it: {report.reason}", report.nodes)
            reports.append(report)
        return _combined(job, reports, self._options.call_us)


def options_of(target: Target) -> CommandOptions:
    """The options in the target's file. Raises BadInput naming the one at fault."""
    where = f"{target.folder / 'target.toml'}: oracle option"
    defaults = CommandOptions()
    known = list(vars(defaults))
    for name, value in target.oracle.options.items():
        if name == "command":
            raise BadInput(f"{where} command: a file names no command to run; give {_HINT}")
        if name not in known:
            raise BadInput(f"{where} '{name}' is unknown: {guess(name, known)}there is {', '.join(known)}")
        reason = _option_problem(name, value)
        if reason:
            raise BadInput(f"{where} {name} is {value!r}: {reason}")
    given = target.oracle.options
    return CommandOptions(
        device=str(given.get("device", defaults.device)),
        runs=int(given.get("runs", defaults.runs)),
        retries=int(given.get("retries", defaults.retries)),
        timeout_s=float(given.get("timeout_s", defaults.timeout_s)),
        slots=int(given.get("slots", defaults.slots)),
        call_us=float(given.get("call_us", defaults.call_us)),
    )


def _option_problem(name: str, value: object) -> str:
    """Why an option's value cannot be used; "" where it can."""
    if name == "device":
        return "" if isinstance(value, str) else "must be text"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    if name in ("runs", "retries", "slots") and not isinstance(value, int):
        return "must be a whole number"
    least = 0 if name in ("retries", "call_us") else 1 if isinstance(value, int) else 1e-3
    return "" if least <= value < 1e9 else f"must be at least {least:g}"


def _template(target: Target, command: str | Sequence[str] | None) -> tuple[str, ...]:
    if not command:
        raise BadInput(f"target '{target.name}' is measured by a command of your own: give {_HINT}")
    try:
        argv = tuple(shlex.split(command) if isinstance(command, str) else command)
    except ValueError as error:
        raise BadInput(f"--oracle-command {command}: {error}") from None
    if not any("{model}" in part for part in argv):
        raise BadInput(f"--oracle-command {shlex.join(argv)}: must hold {{model}}, as in {_HINT}")
    if shutil.which(argv[0]) is None:
        raise BadInput(f"--oracle-command: there is no program '{argv[0]}' that can be run")
    return argv


def _filled(argv: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The template with its placeholders replaced, argument by argument, in one pass."""
    known = re.compile("|".join(map(re.escape, values)))
    return [known.sub(lambda found: values[found[0]], part) for part in argv]


def _combined(job: Job, reports: Sequence[Report], call_us: float) -> Answer:
    """The figures of the run that holds the least sample; raises BadReport for rows of strangers."""
    best = min(reports, key=lambda report: min(report.samples))
    _check_rows(job, best.rows)
    latency_us = min(best.samples)
    if job.in_context:
        latency_us = sum(row.latency_us for row in best.rows) if best.rows else latency_us - call_us
    if latency_us <= 0:
        return Unmeasured(f"costs no more than an empty call ({call_us:g} us)")
    samples = [sample for report in reports for sample in report.samples]
    noise = noise_of_minimum([report.samples for report in reports])
    return Measurement(
        latency_us=latency_us,
        rows=best.rows,
        peak_bytes=best.peak_bytes,
        weight_bytes=best.weight_bytes,
        details={
            **best.details,
            "samples": float(len(samples)),
            **({} if noise is None else {NOISE: noise * min(samples) / latency_us}),
        },
    )


def _check_rows(job: Job, rows: Sequence[Row]) -> None:
    """Rows must name values of the model: a row that nobody finds would make an operator free."""
    if not rows:
        return
    nodes = onnx.load_model_from_string(job.model).graph.node
    known = [name for node in nodes for name in node.output]
    for i, row in enumerate(rows):
        if row.output not in known:
            raise BadReport(
                f"key 'rows[{i}].output' is '{row.output}', which no node of the model computes: "
                f"{guess(row.output, known)}charge the row to the operator it belongs to"
            )
