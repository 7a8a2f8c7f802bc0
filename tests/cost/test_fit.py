"""A cost model learns a made-up accelerator with a staircase; files are pinned, checked and reproducible."""

import random
import shutil
from math import ceil
from pathlib import Path

import numpy as np
import pytest

from hwopt.cost.bundle import pack
from hwopt.cost.dataset import FILE_NAME, Sample, write_samples
from hwopt.cost.fit import MODEL_FILE, fit, pin_model
from hwopt.cost.loading import load_cost_model
from hwopt.cost.training import Settings, train
from hwopt.descriptor import WeightDescriptor
from hwopt.errors import BadInput
from hwopt.estimate import Source
from hwopt.signature import Signature, macs
from hwopt.target import read_target

TARGETS = Path(__file__).parents[2] / "targets"
SMALL = Settings(depth=4, rounds=20, eta=0.2)


def signature(ci: int, co: int, size: int, kernel: int, kind: str = "conv") -> Signature:
    group = ci if kind == "depthwise" else 1
    out = ci if kind == "depthwise" else co
    elements = out * ci // group * kernel * kernel
    return Signature(
        kind=kind,
        ops=("DepthwiseConv" if group > 1 else "Conv",),
        inputs=((1, ci, size, size),),
        outputs=((1, out, size, size),),
        dtype="int8",
        kernel=(kernel, kernel),
        strides=(1, 1),
        pads=(kernel // 2,) * 4,
        dilations=(1, 1),
        group=group,
        weight=WeightDescriptor(elements, 0.0, "dense", 200, elements),
        bias=out,
    )


def staircase_us(s: Signature) -> float:
    """An array of 16 x 16 channels that runs one group at a time, at 500 MHz; 300 cycles to start."""
    _, ci, h, w = s.inputs[0]
    co = s.outputs[0][1]
    tiles = s.group * ceil(ci / s.group / 16) * ceil(co / s.group / 16)
    return (300 + tiles * h * w * s.kernel[0] * s.kernel[1]) / 500.0


def made_up_samples(count: int, seed: int = 1) -> list[Sample]:
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        kind = rng.choice(["conv", "depthwise", "pointwise"])
        kernel = 1 if kind == "pointwise" else rng.choice([3, 5])
        s = signature(rng.randrange(8, 200), rng.randrange(8, 200), rng.randrange(7, 57), kernel, kind)
        family = rng.choice(["a", "b", "c", "operators"])
        name = f"whole-{family}-{i % 3}" if i % 10 == 0 else f"s{i // 2}"
        rows.append(Sample(name, family, name, s, staircase_us(s), macs(s)))
    return rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(TARGETS / "edge-npu" / "target.toml", tmp_path / "target.toml")
    text = (tmp_path / "target.toml").read_text()
    (tmp_path / "target.toml").write_text(text.split("[cost_model]")[0])
    write_samples(tmp_path / FILE_NAME, made_up_samples(500))
    return tmp_path


def test_it_learns_a_staircase_that_flops_do_not_see(folder: Path) -> None:
    target = read_target(folder)
    model = train(made_up_samples(1500), target, Settings(depth=6, rounds=60, eta=0.2), "").model
    test = made_up_samples(300, seed=2)
    measured = np.array([row.latency_us for row in test])
    estimates = model.predict([row.signature for row in test])
    error = np.abs(np.array([e.value for e in estimates]) / measured - 1)
    flops = np.array([macs(row.signature) for row in test])
    slope = np.exp(np.mean(np.log(measured / flops)))
    assert error.mean() < 0.08
    assert error.mean() < 0.2 * np.abs(flops * slope / measured - 1).mean()
    covered = np.mean([abs(e.value - m) <= 2 * e.spread for e, m in zip(estimates, measured, strict=True)])
    assert covered > 0.85
    assert all(e.source is Source.PREDICTED and 0 < e.spread < e.value for e in estimates)


def test_fit_writes_pins_and_loads(folder: Path) -> None:
    before = read_target(folder)
    result = fit(folder, SMALL)
    after = read_target(folder)
    assert after.config_hash == before.config_hash
    assert after.cost_model is not None
    assert after.cost_model.sha256 == result.sha256
    assert result.path.stat().st_size == result.bytes
    assert result.evaluation is not None
    assert result.evaluation.networks is not None
    model = load_cost_model(after)
    some = [row.signature for row in made_up_samples(5, seed=3)]
    assert [e.value for e in model.predict(some)] == [e.value for e in load_cost_model(after).predict(some)]
    assert "## Cost model" in (folder / "card.md").read_text()


def test_fitting_twice_gives_the_same_bytes_and_one_table(folder: Path) -> None:
    (folder / "card.md").write_text("# Mine\n\nby hand\n\n## Cost model\n\nold\n\n## Later\n\nkept\n")
    fit(folder, SMALL)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    fit(folder, SMALL)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    assert first["target.toml"].count(b"[cost_model]") == 1
    card = first["card.md"].decode()
    assert "by hand" in card
    assert "kept" in card
    assert "old" not in card


def test_the_table_is_replaced_wherever_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "target.toml"
    path.write_text('a = 1\n[cost_model]\nfile = "x"\n\n[oracle]\nname = "zigzag"\n')
    pin_model(path, "s", "d")
    text = path.read_text()
    assert text.startswith('a = 1\n[oracle]\nname = "zigzag"\n\n[cost_model]\n')
    assert 'file = "x"' not in text


def test_a_flipped_bit_never_reaches_xgboost(folder: Path) -> None:
    fit(folder, SMALL)
    data = bytearray((folder / MODEL_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / MODEL_FILE).write_bytes(bytes(data))
    with pytest.raises(BadInput, match="SHA-256 differs"):
        load_cost_model(read_target(folder))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("feature_version = ", "feature_version = 9", "features of version 9"),
        ("clock_mhz = 500.0", "clock_mhz = 501.0", "tables changed"),
        ('file = "cost_model', 'file = "absent', "cost model .* cannot be read"),
    ],
)
def test_what_does_not_fit_together_is_refused(folder: Path, old: str, new: str, message: str) -> None:
    fit(folder, SMALL)
    path = folder / "target.toml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(BadInput, match=message) as caught:
        load_cost_model(read_target(folder))
    assert "\n" not in str(caught.value)


def test_without_a_pin_the_error_says_what_to_do(folder: Path) -> None:
    with pytest.raises(BadInput, match="hwopt targets fit"):
        load_cost_model(read_target(folder))


def test_too_few_rows_are_refused(folder: Path) -> None:
    write_samples(folder / FILE_NAME, made_up_samples(20))
    with pytest.raises(BadInput, match="20 usable rows"):
        fit(folder, SMALL)


def test_views_are_free_and_strangers_are_named(folder: Path) -> None:
    model = train(made_up_samples(200), read_target(folder), SMALL, "").model
    view = Signature("view", ("Reshape",), ((1, 4, 1, 1),), ((1, 4),), "int8")
    pool = Signature("pool", ("MaxPool",), ((1, 4, 8, 8),), ((1, 4, 4, 4),), "int8", (2, 2), (2, 2))
    assert model.knows(view)
    assert not model.knows(pool)
    free, guess = model.predict([view, pool])
    assert (free.value, free.spread) == (0.0, 0.0)
    assert guess.spread >= 0.7 * guess.value > 0


def test_equal_headers_pack_to_equal_bytes(folder: Path) -> None:
    trained = train(made_up_samples(100), read_target(folder), SMALL, "x")
    assert pack(trained.header, trained.boosters) == pack(trained.header, trained.boosters)
