"""Hints files: read, refused in one line, resolved for a model, and what they leave of choices and tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hwopt.choice import KEEP, Choice, Kind, Risk
from hwopt.errors import BadInput
from hwopt.estimate import Estimate, Source
from hwopt.find import canonicalise, find_choices, with_places
from hwopt.hints.apply import Orders
from hwopt.hints.file import DEFAULT_WITHIN, Hints, read_hints
from hwopt.hints.resolve import resolve
from hwopt.ir import load_model
from hwopt.registry import all_passes, load_target
from hwopt.scope import NOTHING, Price, Problem, Scope

FIGURES = Path(__file__).parent.parent / "models" / "figures" / "figures.onnx"
VERSION = "schema_version = 1\n"
BLOCK = "form:conv-b7048e8bc9"  # offers dense, fused
HIDDEN = "width:522eba4368"  # 24 channels; offers w12, w20, w32, w16
WIDE = "width:ac59210bab"  # 96 channels
Ordered = Callable[..., Orders]
BOTH = frozenset({Risk.EXACT, Risk.LOSSY})


def read(folder: Path, text: str) -> Hints:
    (folder / "hints.toml").write_text(VERSION + text)
    return read_hints(folder / "hints.toml")


@pytest.fixture(scope="module")
def offered() -> list[Choice]:
    passes, target = all_passes(), load_target("edge-npu")
    canonical = canonicalise(with_places(load_model(FIGURES)), passes, target)
    return find_choices(canonical.model, passes, target, frozenset(Risk))[0]


@pytest.fixture
def ordered(tmp_path: Path, offered: list[Choice]) -> Ordered:
    """The orders that a text means for the shipped model."""

    def orders(text: str, risks: frozenset[Risk] = BOTH, allow_retrain: bool = False) -> Orders:
        model = with_places(load_model(FIGURES))
        return resolve(read(tmp_path, text), offered, risks, model, allow_retrain)

    return orders


def left(orders: Orders) -> dict[str, list[str]]:
    """What may still be taken, by choice."""
    return {c.id: [v.name for v in c.values] for c in orders.allowed(orders.listed)}


# reading


def test_every_key_is_read(tmp_path: Path) -> None:
    hints = read(
        tmp_path,
        """
        [pin]
        "a" = "fused"
        [forbid]
        passes = ["sparsify"]
        choices = ["b", "b"]
        nodes = ["n"]
        values = { c = "w8", d = ["w8", "w12"] }
        [channels]
        "*" = 16
        [prefer]
        within = 0.05
        passes = ["fuse_ibn"]
        values = { e = "dense" }
        [limits]
        "*" = { max_damage = 0.01, max_strength = 1 }
        f = { min_channels = 0.5, max_latency = "40us" }
        """,
    )
    assert hints.pin == {"a": "fused"}
    assert (hints.forbid_passes, hints.forbid_choices, hints.forbid_nodes) == (("sparsify",), ("b",), ("n",))
    assert hints.forbid_values == {"c": ("w8",), "d": ("w8", "w12")}
    assert hints.channels == {"*": 16}
    assert (hints.within, hints.prefer_passes, hints.prefer_values) == (
        0.05,
        ("fuse_ibn",),
        {"e": ("dense",)},
    )
    assert (hints.limits["*"].max_damage, hints.limits["*"].max_strength) == (0.01, 1.0)
    assert (hints.limits["f"].min_channels, hints.limits["f"].max_latency_us) == (0.5, 40.0)
    assert read(tmp_path, "").within == DEFAULT_WITHIN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[pinn]", "key 'pinn' is not known: did you mean 'pin'"),
        ('[forbid]\npass = ["a"]', "key 'forbid.pass' is not known: did you mean 'passes'"),
        ("[limits]\na = { max_damages = 1 }", "did you mean 'max_damage'"),
        ("pin = 3", "must be a table"),
        ("[pin]\na = 3", "key 'pin.a' is 3: must be text"),
        ('[pin]\na = " "', "must be text"),
        ('[forbid]\npasses = "a"', "must be a list"),
        ("[forbid]\npasses = [1]", "must be text"),
        ("[prefer]\nwithin = nan", "key 'prefer.within' is nan"),
        ("[prefer]\nwithin = inf", "key 'prefer.within' is inf"),
        ("[prefer]\nwithin = true", "key 'prefer.within' is true"),
        ("[channels]\na = 0", "key 'channels.a' is 0"),
        ("[channels]\na = 1.5", "whole number"),
        ("[channels]\na = " + "9" * 3000, "whole number"),
        ("[limits]\na = 1", "must be a table"),
        ("[limits]\na = {}", "limits nothing"),
        ("[limits]\na = { max_damage = -1 }", "not negative"),
        ("[limits]\na = { max_damage = " + "9" * 3000 + " }", "not negative"),
        ("[limits]\na = { min_channels = 1.1 }", "between 0 and 1"),
        ('[limits]\na = { max_latency = "-30%" }', "must be a time"),
        ("[limits]\na = { max_latency = nan }", "must be a time"),
        ("[pin", "hints.toml:2: not valid TOML"),
        ("x = " + "[" * 1900 + "]" * 1900, "nesting beyond all bounds"),
        ("x = " + "9" * 3900, "is not known"),
        (".".join(["a"] * 50_000) + " = 1", "more than 4000 characters"),
        ("# long\n" * 40_000, "more than 200000 bytes"),
        ('"a\\nb" = 1', "key 'a b' is not known"),
    ],
)
def test_what_is_no_hints_file_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)
    assert "hints.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "version", ["", "schema_version = 2", "schema_version = true", 'schema_version = "1"']
)
def test_another_schema_is_refused(tmp_path: Path, version: str) -> None:
    (tmp_path / "h.toml").write_text(version)
    with pytest.raises(BadInput, match="this hwopt reads schema_version = 1"):
        read_hints(tmp_path / "h.toml")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "bytes.toml", "/dev/zero", "a\0b"):
        with pytest.raises(BadInput):
            read_hints(path)


# names


@pytest.mark.parametrize("name", [BLOCK, "form:conv-b7048", "conv-b7048e8bc9", "blocks.2.depthwise"])
def test_a_choice_is_named_by_id_prefix_place_or_node(ordered: Ordered, name: str) -> None:
    names = {n: c for c in ordered("").listed for n in [c.id]}
    assert BLOCK in names
    if name.startswith("blocks"):
        name = next(iter(named_nodes()))
    assert left(ordered(f'[pin]\n"{name}" = "fused"'))[BLOCK] == ["fused"]


def named_nodes() -> list[str]:
    """What the depthwise convolution of BLOCK is called in the shipped model."""
    from hwopt.nodes import label
    from hwopt.places import place_of

    model = with_places(load_model(FIGURES))
    return [label(node) for node in model.graph if place_of(node) == BLOCK.partition(":")[2]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[pin]\n"form:conv-b7048e8bc8" = "fused"', "names no choice of this model; did you mean"),
        ('[pin]\n"form:conv" = "fused"', "may mean form:conv-"),
        (f'[pin]\n"{BLOCK}" = "fuse"', "did you mean 'fused'"),
        ('[pin]\n"width:model" = "x0.5"', "only training mends it: --allow-retrain"),
        ('[pin]\n"canonical:sub-1" = "keep"', "--disable canonicalize"),
        ('[forbid]\npasses = ["fuse_ibm"]', "names no pass 'fuse_ibm': did you mean 'fuse_ibn'"),
        ('[forbid]\nnodes = ["nothing"]', "names no node 'nothing'"),
        (f'[forbid.values]\n"{BLOCK}" = "keep"', "cannot forbid 'keep'"),
        (f'[pin]\n"{BLOCK}" = "fused"\n"form:conv-b704" = "dense"', "decide the same choice"),
        (
            f'[pin]\n"{BLOCK}" = "fused"\n[forbid]\npasses = ["fuse_ibn"]',
            "forbidden by hints (forbid.passes)",
        ),
        (
            f'[pin]\n"{HIDDEN}" = "w12"\n[channels]\n"*" = 8',
            "no multiple of 8: forbidden",
        ),
        ('[limits]\n"*" = { max_latency = "1us" }', "limits no single choice"),
    ],
)
def test_names_that_mean_nothing_or_exclude_one_another(ordered: Ordered, text: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        ordered(text)
    assert words in str(caught.value)
    assert "hints.toml: key '" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lossy_pins_need_data(ordered: Ordered) -> None:
    with pytest.raises(BadInput, match="LOSSY: give calibration data"):
        ordered(f'[pin]\n"{BLOCK}" = "fused"', frozenset({Risk.EXACT}))


# what is left of the choices


def test_without_hints_everything_is_left(offered: list[Choice]) -> None:
    orders = resolve(None, offered, frozenset(Risk), with_places(load_model(FIGURES)))
    assert orders.allowed(orders.listed) == tuple(offered)


def test_a_forbidden_pass_a_choice_and_a_value_are_gone(ordered: Ordered) -> None:
    orders = ordered(
        f'[forbid]\npasses = ["densify_depthwise"]\nchoices = ["{WIDE}"]\nvalues = {{ "{HIDDEN}" = "w32" }}'
    )
    found = left(orders)
    assert all("dense" not in names for names in found.values())
    assert WIDE not in found
    assert "w32" not in found[HIDDEN]
    assert "w12" in found[HIDDEN]
    assert orders.reason(WIDE, KEEP) == "forbidden by hints (forbid.choices)"
    assert orders.reason(HIDDEN, KEEP) == ""
    assert orders.barred(BLOCK, "dense") == "forbidden by hints (forbid.passes)"


def test_values_for_the_whole_model_obey_what_is_said_of_one_group(ordered: Ordered) -> None:
    free = left(ordered(""))["width:model"]
    assert {"x0.9", "x0.75"} <= set(free)
    assert "width:model" not in left(ordered(f'[pin]\n"{WIDE}" = "w72"')) or all(
        WIDE not in value.widths
        for choice in ordered(f'[pin]\n"{WIDE}" = "w72"').allowed(ordered("").listed)
        if choice.id == "width:model"
        for value in choice.values
    )


def test_multiples_and_shares_hold_for_every_value_that_resizes(ordered: Ordered) -> None:
    orders = ordered('[channels]\n"*" = 16\n[limits]\n"*" = { min_channels = 0.7 }')
    allowed = orders.allowed(orders.listed)
    widths = [pair for c in allowed for v in c.values for pair in v.widths.values()]
    assert widths
    assert all(new % 16 == 0 and new >= 0.7 * old for old, new in widths)
    gone = {pair for pair in orders.removed if pair[0].startswith("width:")}
    for choice in orders.listed:
        for value in choice.values:
            fits = all(new % 16 == 0 and new >= 0.7 * old for old, new in value.widths.values())
            assert ((choice.id, value.name) in gone) == (bool(value.widths) and not fits)


def test_a_node_may_be_left_alone(ordered: Ordered) -> None:
    node = named_nodes()[0]
    orders = ordered(f'[forbid]\nnodes = ["{node}"]')
    assert BLOCK not in left(orders)
    place, allowed = BLOCK.partition(":")[2], orders.allowed(orders.listed)
    assert not any(
        place in value.places for choice in allowed for value in choice.values if choice.kind != Kind.INPUT
    )
    assert "x0.9" not in left(orders).get("width:model", [])
    assert len(allowed) > 20  # other blocks are free


# what is left of the tables


def priced(latency: float, damage: float = 0.0) -> Price:
    return Price(Estimate(latency, 0.0, Source.PREDICTED), damage=damage)


@pytest.fixture
def problem(offered: list[Choice]) -> Problem:
    """BLOCK and WIDE share a part; BLOCK fused with w72 cannot be written."""
    by_id = {choice.id: choice for choice in offered}
    costs: dict[tuple[str, ...], Price] = {
        (KEEP, KEEP): priced(10), ("fused", KEEP): priced(6), ("dense", KEEP): priced(12),
        (KEEP, "w72"): priced(8), ("dense", "w72"): priced(9),
    }  # fmt: skip
    harm: dict[tuple[str, ...], Price] = {
        (KEEP, KEEP): priced(0), ("fused", KEEP): priced(0, 0.2),
        (KEEP, "w72"): priced(0, 0.1), ("dense", "w72"): priced(0, 0.1), ("dense", KEEP): priced(0),
    }  # fmt: skip
    scopes = (Scope("cost:0", (BLOCK, WIDE), costs), Scope("damage:0", (BLOCK, WIDE), harm))
    return Problem((by_id[BLOCK], by_id[WIDE]), scopes, NOTHING)


def test_a_pin_leaves_its_entries_alone(ordered: Ordered, problem: Problem) -> None:
    found = ordered(f'[pin]\n"{BLOCK}" = "dense"').restrict(problem)
    assert [sorted(scope.table) for scope in found.scopes] == [[("dense", KEEP), ("dense", "w72")]] * 2
    assert found.start == {BLOCK: "dense"}
    assert found.total(found.start) is not None


def test_limits_on_damage_and_latency_take_entries_away(ordered: Ordered, problem: Problem) -> None:
    harm = ordered('[limits]\n"*" = { max_damage = 0.15 }').restrict(problem).scopes[1].table
    assert ("fused", KEEP) not in harm
    assert ("dense", "w72") in harm  # dense is EXACT, and w72 does 0.1
    harm = ordered(f'[limits]\n"{BLOCK}" = {{ max_damage = 0.05 }}').restrict(problem).scopes[1].table
    assert sorted(harm) == sorted([(KEEP, KEEP), (KEEP, "w72"), ("dense", KEEP), ("dense", "w72")])
    found = ordered(f'[limits]\n"{BLOCK}" = {{ max_latency = "9us" }}').restrict(problem)
    assert sorted(found.scopes[0].table) == [("dense", "w72"), ("fused", KEEP), (KEEP, "w72")]
    assert found.total(found.start) is not None
    assert found.total({}) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'[pin]\n"{BLOCK}" = "fused"\n"{WIDE}" = "w72"', f'pin."{WIDE}"\' exclude one another'),
        (f'[pin]\n"{WIDE}" = "w48"', "cannot be written or priced here"),
        (f'[limits]\n"{BLOCK}" = {{ max_latency = 5 }}', f"the fastest value of {BLOCK} takes 6 us"),
        (
            f'[pin]\n"{BLOCK}" = "fused"\n[limits]\n"{BLOCK}" = {{ max_damage = 0.1 }}',
            f'limits."{BLOCK}".max_damage\' exclude one another',
        ),
    ],
)
def test_hints_that_no_plan_obeys_are_named(
    ordered: Ordered, problem: Problem, text: str, words: str
) -> None:
    with pytest.raises(BadInput) as caught:
        ordered(text).restrict(problem)
    assert words in str(caught.value)
    assert "hints.toml" in str(caught.value)


def test_a_limit_on_latency_needs_one_table(ordered: Ordered, problem: Problem) -> None:
    more = Scope("cost:1", (WIDE,), {(KEEP,): priced(1), ("w72",): priced(1)})
    split = Problem(problem.choices, (*problem.scopes, more), NOTHING)
    with pytest.raises(BadInput, match="changes 2 parts of the model"):
        ordered(f'[limits]\n"{WIDE}" = {{ max_latency = 9 }}').restrict(split)


def test_wishes_and_pins_are_measured_whether_they_pay_or_not(ordered: Ordered) -> None:
    orders = ordered(f'[pin]\n"{BLOCK}" = "fused"\n[prefer.values]\n"{WIDE}" = ["w72", "w80"]')
    assert orders.named == (
        {BLOCK: "fused"}, {BLOCK: "fused", WIDE: "w72"}, {BLOCK: "fused", WIDE: "w80"},
    )  # fmt: skip
    assert orders.wishes == ((WIDE, "w72"), (WIDE, "w80"))


def test_a_pin_that_only_training_mends_concerns_the_candidate(ordered: Ordered) -> None:
    orders = ordered('[pin]\n"width:model" = "x0.5"', BOTH, allow_retrain=True)
    assert "x0.9" in left(orders)["width:model"]
    assert orders.for_training().pins["width:model"][0] == "x0.5"
