"""Cards: prose by hand stays, generated sections are replaced where they stand, plots are stable files."""

import json
from functools import partial
from pathlib import Path

import pytest

from hwopt.cost.card import sizes_section, table, with_section
from hwopt.cost.card_accuracy import (
    Entry,
    RealNetwork,
    Results,
    accuracy_section,
    peers_section,
    read_results,
    write_results,
)
from hwopt.cost.heldout import Group, Network, Rewrite
from hwopt.cost.judging import (
    Judged,
    JudgedGroup,
    JudgedNetwork,
    JudgedRewrite,
    KindScores,
    NetworkScores,
    RewriteScores,
)
from hwopt.cost.landscape import Point, marked, read_points, write_points
from hwopt.errors import BadInput
from hwopt.estimate import Estimate, Source
from hwopt.signature import Signature


def entry(predictor: str, mape: float, recipe: str = "", refine: int = 0) -> Entry:
    networks = NetworkScores(40, mape, -0.5, 97.5, 100.0, 6.0, 0.999, 70.0, 95.0)
    return Entry(predictor, recipe, refine, networks, RewriteScores(500, 300, 99.0, 0.1, 0.99, 90.0, 0.02))


RESULTS = Results(
    data="d",
    folds=4,
    about=(("as shipped", "three members"),),
    entries=(entry("hwopt", 0.61, "as shipped"), entry("roofline", 40.0), entry("forest", 5.0)),
    kinds=(KindScores("pool", 12, 3.0, 1.0, 80.0, 90.0, 95.0),),
    real=(RealNetwork("figures", 2000.0, 2020.0, 30.0),),
)


def test_a_section_is_replaced_where_it_stands_and_nothing_else() -> None:
    card = "# Mine\n\nby hand\n\n## Cost model\n\nold\n### deeper\n\n## Later\n\nkept\n"
    changed = with_section(card, "Cost model", "new")
    assert changed == "# Mine\n\nby hand\n\n## Cost model\n\nnew\n\n## Later\n\nkept\n"
    assert with_section(changed, "Cost model", "new") == changed


def test_a_new_section_comes_last() -> None:
    assert with_section("# Mine\n\nby hand\n", "Sizes", "x") == "# Mine\n\nby hand\n\n## Sizes\n\nx\n"
    assert with_section("# Mine\n\n## Sizes and more\n\na\n", "Sizes", "x").endswith("a\n\n## Sizes\n\nx\n")


def test_a_table_has_as_many_bars_as_columns() -> None:
    lines = table(("a", "b"), [("1", "2")]).splitlines()
    assert lines == ["| a | b |", "|---|---|", "| 1 | 2 |"]


def test_sizes_leave_the_card_out_and_add_up(tmp_path: Path) -> None:
    (tmp_path / "a.ubj.xz").write_bytes(b"x" * 2_000_000)
    (tmp_path / "b.csv.xz").write_bytes(b"x" * 500_000)
    (tmp_path / "card.md").write_text("# Mine")
    assert "2.500 of at most 25" in sizes_section(tmp_path)


def test_results_survive_the_file(tmp_path: Path) -> None:
    assert read_results(tmp_path) == Results()
    write_results(tmp_path, RESULTS)
    assert read_results(tmp_path) == RESULTS
    (tmp_path / "accuracy.json").write_text(json.dumps({"entries": []}))
    with pytest.raises(BadInput, match=r"accuracy\.json"):
        read_results(tmp_path)


def test_newer_entries_replace_older_ones_of_the_same_data() -> None:
    newer = Results(
        "d", 4, about=(("without the limit", "deep"),), entries=(entry("hwopt", 0.5, "without the limit"),)
    )
    both = RESULTS.updated(newer)
    assert [e.key for e in both.entries] == [
        ("hwopt", "as shipped", 0),
        ("roofline", "", 0),
        ("forest", "", 0),
        ("hwopt", "without the limit", 0),
    ]
    assert both.kinds == RESULTS.kinds
    assert [name for name, _ in both.about] == ["as shipped", "without the limit"]
    assert RESULTS.updated(Results("other data", 4)).entries == ()


def test_peers_are_ranked_and_only_our_own_stand_in_the_first_tables() -> None:
    ranked = [line.split("|")[1].strip() for line in peers_section(RESULTS).splitlines() if "| " in line][1:]
    assert ranked == ["**hwopt** (as shipped)", "forest", "roofline"]
    section = accuracy_section(RESULTS, ("networks.svg",))
    assert "roofline" not in section
    assert "](networks.svg)" in section
    assert "](kinds.svg)" not in section
    assert "| figures | 2.000 | 2.020 | 0.030 | +1.0 |" in section


def judged() -> Judged:
    signature = Signature("pool", ("MaxPool",), ((1, 4, 8, 8),), ((1, 4, 4, 4),), "int8")
    groups = (Group(signature, 10.0),)
    networks = [
        JudgedNetwork(
            Network(f"{word}-{i}", "f", groups, 1e3 * i), Estimate(1.02e3 * i, 30.0, Source.PREDICTED)
        )
        for i in range(1, 20)
        for word in ("whole", "real")
    ]
    rewrites = [
        JudgedRewrite(
            Rewrite("n", "f", "c", (), groups, 1e3, 1e3 + effect),
            Estimate(effect + 1.0, 2.0, Source.PREDICTED),
        )
        for effect in range(-250, 250)
    ]
    return Judged(
        tuple(networks), tuple(rewrites), (JudgedGroup(groups[0], Estimate(9.0, 1.0, Source.PREDICTED)),)
    )


def test_plots_are_small_and_the_same_bytes_each_time() -> None:
    import matplotlib

    from hwopt.cost import plots

    before = dict(matplotlib.rcParams)
    found = judged()
    draws = [
        partial(plots.networks_plot, found.networks, "compiled"),
        partial(plots.rewrites_plot, found.rewrites, "compiled"),
        partial(plots.kinds_plot, RESULTS.kinds),
        partial(plots.calibration_plot, found),
    ]
    for draw in draws:
        data = draw()
        assert data == draw()
        assert data.startswith(b"<?xml")
        assert b"dc:date" not in data
        assert len(data) < 100_000
    assert dict(matplotlib.rcParams) == before


def test_a_landscape_survives_its_file_and_is_drawn(tmp_path: Path) -> None:
    points = [Point("pointwise", 28, c, 1.5 * c) for c in range(8, 40, 4)]
    write_points(tmp_path / "landscape.csv", points)
    assert read_points(tmp_path / "landscape.csv") == points
    (tmp_path / "landscape.csv").write_text("operator,size,channels,latency_us\npointwise,28,eight,1\n")
    with pytest.raises(BadInput, match="line 2"):
        read_points(tmp_path / "landscape.csv")
    from hwopt.cost.plots_landscape import landscape_plot

    drawn = landscape_plot(points, points, (8, 16), "compiled")
    assert drawn == landscape_plot(points, points, (8, 16), "compiled")
    assert b"multiple of 16" in drawn


def test_curated_points_are_marked_by_the_largest_multiple() -> None:
    assert [marked(c, (8, 16, 32)) for c in (12, 24, 48, 96)] == [0, 8, 16, 32]
