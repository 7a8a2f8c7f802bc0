"""Other people's models: the onnx package's backend test data goes through EXACT mode (`bench.strange`).

By default every case that was ever refused or broke, and a sample of each kind; the whole is slow.
"""

from __future__ import annotations

from functools import cache

import pytest

from bench.strange import TARGETS, good, run
from bench.strange_cases import KINDS, Open, cases
from bench.strange_run import NOT_RUN, PASSED, Row, judge

EDGE, ETHOS = TARGETS
EVERY = {
    "node": 190,
    "pytorch-converted": 27,
    "pytorch-operator": 17,
    "simple": 8,
}  # of a kind, in the sample

MENDED = {
    "nudged scalars stay arrays": (
        "test_clip_example",
        "test_pow_types_float32_int32",
        "test_loop11",
    ),
    "texts have no size": (
        "test_string_concat",
        "test_equal_string",
        "test_ai_onnx_ml_label_encoder_string_int",
    ),
    "a regular expression": ("test_regex_full_match_basic",),
    "the shape is an input": ("test_reshape_reduced_dims", "test_affine_grid_2d", "test_col2im"),
    "the borders are inputs": ("test_slice_default_steps", "test_split_variable_parts_1d_opset18"),
    "inputs that fit together": (
        "test_melweightmatrix",
        "test_maxunpool_export_with_output_shape",
    ),
    "sequences cannot be made up": ("test_sequence_map_identity_1_sequence_expanded",),
    "older than opset 7": ("test_not_2d",),
}
NAMES = [name for names in MENDED.values() for name in names]


@cache
def known(kind: str) -> dict[str, Open]:
    return dict(cases(kind))


def sample() -> list[tuple[str, str]]:
    return [(kind, name) for kind, every in EVERY.items() for name in list(known(kind))[every // 2 :: every]]


def judged(kind: str, name: str, target: str) -> Row:
    if name not in known(kind):
        pytest.skip(f"this version of onnx has no {kind} case {name}")
    return judge(known(kind)[name](), target, pictures=False)


def require_passed(row: Row) -> None:
    assert row.outcome == PASSED or (row.outcome == NOT_RUN and not row.runs), row


@pytest.mark.parametrize("name", NAMES)
def test_what_was_mended(name: str) -> None:
    row = judged("node", name, EDGE)
    assert row.outcome == PASSED, row
    assert row.runs or "ONNXRuntimeError" in row.message, "ONNX Runtime ran it when it was mended"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("simple", "test_strnorm_model_nostopwords_nochangecase"),
        ("simple", "test_sequence_model8"),
        ("pytorch-operator", "test_operator_conv"),
    ],
)
def test_what_was_mended_in_other_kinds(kind: str, name: str) -> None:
    require_passed(judged(kind, name, ETHOS))


@pytest.mark.parametrize("number", range(2))
def test_a_sample_of_everything(number: int) -> None:
    """Half of the sample on one target, half on the other."""
    for kind, name in sample()[number::2]:
        require_passed(judged(kind, name, TARGETS[number]))


def test_every_kind_is_there() -> None:
    assert {kind: len(known(kind)) > 5 for kind in KINDS} == dict.fromkeys(KINDS, True)
    assert len(known("node")) > 1000


@pytest.mark.slow
def test_everything() -> None:
    jobs = [(kind, name, target, False) for kind in KINDS for name in known(kind) for target in TARGETS]
    rows = list(run(jobs, 2))
    assert len(rows) == len(jobs)
    bad = [row for row in rows if row.counted and row.outcome != PASSED]
    assert good(rows), bad
