"""hwopt's EXACT rewrites as one pass of an onnx-ir pipeline.

    import hwopt
    import onnx_ir.passes.common as common
    from onnx_ir.passes import Sequential

    pipeline = Sequential(
        common.CommonSubexpressionEliminationPass(),
        hwopt.ExactPasses(target="edge-npu"),
        common.ClearMetadataAndDocStringPass(),
    )
    model = pipeline(model).model

Without a target only folds are made (canonicalising), since nothing else pays everywhere. With one, forms
are chosen as `hwopt.optimize` chooses them without data: where the target says that they pay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Unpack

import onnx_ir as ir

from hwopt.choice import Pass, Stage
from hwopt.errors import BadInput
from hwopt.find import canonicalise, with_places
from hwopt.ir import interface
from hwopt.ir.load import OLDEST_OPSET
from hwopt.pipeline import Result, optimize
from hwopt.registry import load_target, select_passes
from hwopt.report.schema import Outcome, Verification
from hwopt.settings import Options, settings
from hwopt.target import Target, read_target
from hwopt.verify import differences, require_exact, require_same_interface

# Options that mean something without prices.
_WITHOUT_TARGET = ("passes", "disable", "input_shapes", "seed", "allow_unverified")
_NEVER_EXACT = ("quantize", "allow_retrain", "allow_interface_change")


class ExactPasses(ir.passes.FunctionalPass):
    """Rewrites a model into an equal one: same interface, same opset, outputs equal up to float rounding.

    target: a name, a folder, or a Target; None: folds alone, which need no prices. on_result: called with
    what `hwopt.optimize` gave back (report, plan), where there is a target. options: those of
    `hwopt.optimize`, `allow_unverified` among them, to accept what ONNX Runtime cannot run and nobody can
    compare; without a target only it, `passes`, `disable`, `input_shapes` and `seed` are understood.

    The outputs of every model that was changed are compared with the input's in ONNX Runtime. `modified`
    is False where nothing pays: a pass manager that stops early does stop.

    Raises BadInput, when it is made, for anything that cannot be used.
    """

    def __init__(
        self,
        target: str | Path | Target | None = None,
        *,
        on_result: Callable[[Result], None] | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._settings = settings(**options)
        _require_exact(options)
        self._passes = select_passes(self._settings.passes, self._settings.disable)
        if target is None:
            _require_folds(options, self._passes)
        self._target = target if target is None or isinstance(target, Target) else load_target(target)
        self._on_result = on_result
        self._allow_unverified = options.get("allow_unverified", False)
        self._options = options

    def __str__(self) -> str:
        """For the error messages of a pipeline."""
        given = "" if self._target is None else f"target={self._target.name}"
        return f"hwopt.ExactPasses({given})"

    def requires(self, model: ir.Model) -> None:
        """Raises PreconditionError for an opset that hwopt does not read."""
        opset = interface(model).opset
        if opset < OLDEST_OPSET:
            raise ir.passes.PreconditionError(f"the model is in opset {opset}, hwopt reads {OLDEST_OPSET} up")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Another model, its weights in memory; the one that comes in stays as it is."""
        own = model.clone()
        ir.external_data.load_to_model(own)
        return self._folded(own) if self._target is None else self._optimised(own, self._target)

    def _folded(self, model: ir.Model) -> ir.passes.PassResult:
        chosen = self._settings
        folded = canonicalise(with_places(model), self._passes, _any_target())
        if not folded.folds:
            return ir.passes.PassResult(model, modified=False)
        require_same_interface(model, folded.model)
        found = differences(model, folded.model, chosen.input_shapes, chosen.seed)
        require_exact(found, "canonicalising")
        if isinstance(found, str):
            self._require_allowed(found)
        return ir.passes.PassResult(folded.model, modified=True)

    def _optimised(self, model: ir.Model, target: Target) -> ir.passes.PassResult:
        made: Options = {**self._options, "allow_unverified": True}  # refused below, by name
        result = optimize(model, target=target, **made)
        report = result.report
        modified = report.outcome is Outcome.CHANGED
        proof = report.verification
        if modified and not (isinstance(proof, Verification) and proof.outputs):
            self._require_allowed("; ".join(report.notes))
        if self._on_result is not None:
            self._on_result(result)
        return ir.passes.PassResult(result.model, modified)

    def _require_allowed(self, why: str) -> None:
        """Raises BadInput: a change that nobody has verified."""
        if not self._allow_unverified:
            raise BadInput(f"hwopt changed the model and cannot verify it: {why}; see allow_unverified")


def _require_exact(options: Options) -> None:
    """Raises BadInput for what may change the function of the model, or its interface."""
    for name in _NEVER_EXACT:
        if options.get(name):
            raise BadInput(f"{name}: ExactPasses keeps the model's function: use hwopt.optimize")


def _require_folds(options: Options, passes: Sequence[Pass]) -> None:
    """Raises BadInput for what needs prices, and so a target."""
    later = (
        [item.name for item in passes if item.stage != Stage.CANONICALISE] if options.get("passes") else []
    )
    for name in [*(name for name in options if name not in _WITHOUT_TARGET), *later]:
        raise BadInput(f"{name} goes by what an accelerator is good at: give ExactPasses a target")


@cache
def _any_target() -> Target:
    """Folds ask nothing of a target."""
    return read_target(Path(str(files("hwopt.targets"))) / "cpu")
