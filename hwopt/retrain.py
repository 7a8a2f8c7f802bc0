"""OUT.candidate.onnx: where the limits cannot be met without training, what would meet them with it.

It is never the result. The run still ends as one whose budget cannot be met; beside its message it
leaves the candidate, and in OUT.candidate.json what was changed in it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hwopt.candidate import SUFFIX, Candidate, make_candidate
from hwopt.candidate_plans import opened
from hwopt.choice import Risk
from hwopt.cost.learned import Learned
from hwopt.errors import BadInput, BudgetNotMet
from hwopt.files.scratch import workshop
from hwopt.find import find_choices
from hwopt.ir import save_model
from hwopt.pricing.price import draft, make_scene
from hwopt.report.jsonable import encode, json_text
from hwopt.report.write import publish, refuse_to_overwrite
from hwopt.resolution import changed_sizes, with_sizes
from hwopt.scope import Problem
from hwopt.settle import Data
from hwopt.steps import Found
from hwopt.trace import Listeners
from hwopt.verify import require_same_interface
from hwopt.work import Work


def candidate_files(out: Path) -> tuple[Path, Path]:
    """OUT.candidate.onnx and OUT.candidate.json."""
    stem = out.name.removesuffix(".onnx") + SUFFIX.removesuffix(".onnx")
    return out.with_name(f"{stem}.onnx"), out.with_name(f"{stem}.json")


def with_candidate(
    work: Work,
    found: Found,
    problem: Problem,
    data: Data | None,
    out: Path | None,
    error: BudgetNotMet,
    listeners: Listeners = (),
) -> BudgetNotMet:
    """The error that ends the run, with the candidate written where the user allows it.

    out: the result's own name; None in a dry run, when the candidate is only spoken of.
    """
    if not work.settings.allow_retrain:
        return error
    found_candidate = make_candidate(
        work, found.base, _with_retrain(work, found, problem, listeners), data, listeners
    )
    if isinstance(found_candidate, str):
        return BudgetNotMet(f"{error}; no candidate for training: {found_candidate}", error.details)
    sizes = changed_sizes(work.model, found_candidate.model)
    require_same_interface(with_sizes(work.model, sizes), found_candidate.model)
    steps = ", ".join(sorted(f"{choice}={value}" for choice, value in found_candidate.retrained.items()))
    where = "it was not written" if out is None else _write(found_candidate, out)
    text = f"{error}; a candidate that meets it needs training ({steps}): {where}"
    return BudgetNotMet(text, {**error.details, "candidate": dict(found_candidate.retrained)})


def _with_retrain(work: Work, found: Found, problem: Problem, listeners: Listeners) -> Problem:
    """Everything that may be decided, RETRAIN values among it; what damage is known stays known.

    Hints hold here, too, those about values that only training can mend among them.
    """
    orders = found.orders.for_training()
    lossy = {Risk.LOSSY} if work.calibration is not None else set()
    risks = frozenset({Risk.EXACT, Risk.RETRAIN} | lossy)
    choices, _ = find_choices(found.base, work.passes, work.target, risks, listeners)
    scene = make_scene(found.base, work.shapes(found.base), work.target)
    priced = draft(scene, orders.allowed(choices), listeners).problem(Learned(work.cost_model))
    damage = tuple(scope for scope in problem.scopes if scope.id.startswith("damage:"))
    return orders.restrict(opened(replace(priced, scopes=(*priced.scopes, *damage))))


def _write(candidate: Candidate, out: Path) -> str:
    """Both files, made beside their names and then renamed; where they are."""
    onnx, facts = candidate_files(out)
    try:
        with workshop(onnx) as folder:
            save_model(candidate.model, folder / onnx.name)
            (folder / facts.name).write_text(json_text(encode(candidate.section())), "utf-8")
            for path in (facts, onnx):
                publish(folder / path.name, path)
    except OSError as error:
        raise BadInput(f"{onnx} cannot be written: {error.strerror or error}") from None
    return str(onnx)


def check_candidate(out: Path, force: bool) -> None:
    """Raises BadInput where the candidate's files must not be written; asked before any work."""
    for path in candidate_files(out):
        refuse_to_overwrite(path, force)
