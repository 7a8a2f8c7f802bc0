"""Tables of measurements: what a spreadsheet holds is found again, and nothing else is."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import lzma
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest

from hwopt.cost.dataset import read_samples, write_samples
from hwopt.cost.sampling_net import Net
from hwopt.cost.sampling_weights import WeightStyle
from hwopt.cost.table_samples import measured_in
from hwopt.errors import BadInput
from hwopt.ir import model_bytes
from hwopt.oracles.protocol import Answer, Job, Measurement, Unmeasured
from hwopt.oracles.table import TableOracle
from hwopt.partition import partition
from hwopt.registry import load_target, make_oracle
from hwopt.shapes import infer_shapes
from hwopt.signature import Signature
from hwopt.target.file import OracleSpec, Target

SHAPES = """kind,input,output,kernel,stride,group,activation,latency_us,# remark
Conv,1x8x6x6,1x16x3x3,3,2,,relu6,812.5,the stem
depthwise,1x16x3x3,1x16x3x3,3x3,,,,240,
grouped,1x16x3x3,1x16x3x3,3,1,4,,250,
pointwise,1x16x3x3,1x8x3x3,,,,HSwish,90,
Add,1x16x3x3 1x16x1x1,1x16x3x3,,,,,61,
Gemm,1x32,1x10,,,,,95.2,
MaxPool,1x16x3x3,1x16x2x2,3,2,,,30,
Sigmoid,1x16x3x3,1x16x3x3,,,,,12,
"""
Build = Callable[[Net], ir.Value]


@pytest.fixture(scope="module")
def target() -> Target:
    return replace(load_target("ethos-u55-256"), oracle=OracleSpec("table"))


def stem(net: Net) -> ir.Value:
    return net.conv(net.input(1, 8, 6, 6), 16, 3, 2, "relu6")


def model(build: Build) -> ir.Model:
    net = Net("net", WeightStyle(), (3,))
    return net.model(build(net))


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def ask(oracle: TableOracle, build: Build, in_context: bool = True) -> Answer:
    return oracle.measure([Job(model_bytes(model(build)), in_context)])[0]


def latency(answer: Answer) -> float:
    assert isinstance(answer, Measurement), answer
    return answer.latency_us


def signatures(build: Build, target: Target) -> list[Signature]:
    found = model(build)
    return [group.signature for group in partition(found, infer_shapes(found, {}), target).subgraphs]


BUILDS: Mapping[str, tuple[Build, float]] = {
    "conv": (stem, 812.5),
    "depthwise": (lambda n: n.depthwise(n.input(1, 16, 3, 3), 3), 240),
    "grouped": (lambda n: n.window(n.input(1, 16, 3, 3), 16, (3, 3), groups=4), 250),
    "pointwise": (lambda n: n.conv(n.input(1, 16, 3, 3), 8, 1, 1, "hswish"), 90),
    "add": (lambda n: n.add(n.input(1, 16, 1, 1), n.input(1, 16, 3, 3)), 61),
    "gemm": (lambda n: n.gemm(n.input(1, 32), 10), 95.2),
    "pool": (lambda n: n.pool(n.input(1, 16, 3, 3), "MaxPool", 3, 2), 30),
    "sigmoid": (lambda n: n.activate(n.input(1, 16, 3, 3), "sigmoid"), 12),
}


@pytest.mark.parametrize("name", BUILDS)
def test_a_row_that_a_person_filled_in_is_found_by_its_shape(
    name: str, target: Target, tmp_path: Path
) -> None:
    build, expected = BUILDS[name]
    answer = ask(TableOracle(target, write(tmp_path, SHAPES)), build)
    assert latency(answer) == expected
    assert isinstance(answer, Measurement)
    assert [row.latency_us for row in answer.rows] == [expected]
    assert answer.peak_bytes is None


@pytest.mark.parametrize(
    "build",
    [
        lambda n: n.conv(n.input(1, 8, 6, 6), 16, 3, 2, "relu"),  # another activation
        lambda n: n.conv(n.input(1, 8, 6, 6), 16, 5, 2, "relu6"),  # another kernel
        lambda n: n.conv(n.input(1, 8, 6, 6), 24, 3, 2, "relu6"),  # another width
        lambda n: n.pool(n.input(1, 16, 3, 3), "AveragePool", 3, 2),
        lambda n: n.sub(n.input(1, 16, 3, 3), n.input(1, 16, 1, 1)),
        lambda n: n.window(n.input(1, 16, 3, 3), 16, (3, 3), groups=8),
    ],
)
def test_what_is_not_in_the_table_is_unmeasured(build: Build, target: Target, tmp_path: Path) -> None:
    answer = ask(TableOracle(target, write(tmp_path, SHAPES)), build)
    assert isinstance(answer, Unmeasured)
    assert answer.reason.startswith("not in the table: ")
    assert not answer.transient


def test_parts_are_summed_in_context_only(target: Target, tmp_path: Path) -> None:
    def two(net: Net) -> ir.Value:
        return net.depthwise(stem(net), 3)

    def three(net: Net) -> ir.Value:
        return net.softmax(net.flatten(two(net)))

    oracle = TableOracle(target, write(tmp_path, SHAPES))
    assert latency(ask(oracle, two)) == 812.5 + 240
    whole = ask(oracle, two, in_context=False)
    assert isinstance(whole, Unmeasured)
    assert "2 groups as a whole" in whole.reason
    partly = ask(oracle, three)
    assert isinstance(partly, Measurement)
    assert len(partly.rows) == 2
    assert len(partly.unpriced) == 1


def test_whole_networks_by_hash_and_by_file(target: Target, tmp_path: Path) -> None:
    def two(net: Net) -> ir.Value:
        return net.depthwise(stem(net), 3)

    data = model_bytes(model(two))
    digest = hashlib.sha256(data).hexdigest()
    by_hash = write(tmp_path, f"model_sha256,latency_us,peak_bytes,noise\n{digest},77,1024,0.02\n")
    answer = TableOracle(target, by_hash).measure([Job(data)])[0]
    assert answer == Measurement(77.0, peak_bytes=1024, details={"noise": 0.02})
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "two.onnx").write_bytes(data)
    by_file = TableOracle(target, write(tmp_path, "model,latency_us\nnets/two.onnx,88\n"))
    renamed = model(two)
    for node in renamed.graph:
        node.outputs[0].name = f"other_{node.outputs[0].name}"
    assert latency(by_file.measure([Job(model_bytes(renamed))])[0]) == 88
    assert isinstance(ask(by_file, stem, in_context=False), Unmeasured)


def test_a_signature_is_matched_exactly_and_before_a_shape(target: Target, tmp_path: Path) -> None:
    (signature,) = signatures(stem, target)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";")
    writer.writerow(
        ["signature_json", "kind", "input", "output", "kernel", "stride", "activation", "latency_us"]
    )
    writer.writerow([signature.text(), "", "", "", "", "", "", 5])
    writer.writerow(["", "Conv", "1x8x6x6", "1x16x3x3", 3, 2, "relu6", 9])
    oracle = TableOracle(target, write(tmp_path, text.getvalue()))
    assert latency(ask(oracle, stem)) == 5

    def other_context(net: Net) -> ir.Value:
        return net.conv(net.softmax(net.input(1, 8, 6, 6)), 16, 3, 2, "relu6")

    answer = ask(oracle, other_context)
    assert isinstance(answer, Measurement)
    assert [row.latency_us for row in answer.rows] == [9]


def test_repeated_rows_are_repeated_measurements(target: Target, tmp_path: Path) -> None:
    rows = "".join(f"Gemm,1x32,1x10,{us}\n" for us in (13, 10, 11))
    answer = ask(
        TableOracle(target, write(tmp_path, "kind,input,output,latency_us\n" + rows)), BUILDS["gemm"][0]
    )
    assert isinstance(answer, Measurement)
    assert answer.latency_us == 10
    assert answer.details["noise"] == pytest.approx(1.4826 / 10)


def test_a_spreadsheet_of_another_country_and_an_archive_read_the_same(
    target: Target, tmp_path: Path
) -> None:
    plain = TableOracle(target, write(tmp_path, SHAPES))
    foreign = write(tmp_path, "\ufeff" + SHAPES.replace(",", ";").replace("\n", "\r\n"), "foreign.csv")
    packed = tmp_path / "packed.csv.xz"
    packed.write_bytes(lzma.compress(SHAPES.encode()))
    for other in (foreign, packed):
        assert latency(ask(TableOracle(target, other), stem)) == latency(ask(plain, stem)) == 812.5


@pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="the extra 'parquet' is not installed"
)
def test_parquet_reads_as_csv_does(target: Target, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = {
        "kind": ["Conv", "Gemm"],
        "input": ["1x8x6x6", "1x32"],
        "output": ["1x16x3x3", "1x10"],
        "kernel": [3.0, None],
        "stride": [2.0, None],
        "activation": ["relu6", None],
        "latency_us": [812.5, 95.2],
    }
    path = tmp_path / "table.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    oracle = TableOracle(target, path)
    assert latency(ask(oracle, stem)) == 812.5
    assert latency(ask(oracle, BUILDS["gemm"][0])) == 95.2
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(BadInput, match=r"not a Parquet file"):
        TableOracle(target, path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: column 'latency_us' is missing"),
        ("kind,input,output,latency_ms\n", "unknown column 'latency_ms': did you mean 'latency_us'?"),
        ("input,output,latency_us\n", "no column says what was measured"),
        ("kind,kind,latency_us\n", "'kind' is there twice"),
        ("kind,latency_us\n", "holds no measurement"),
        ("kind,latency_us\nConv,1,2\n", "line 2: 3 cells under 2 columns (a decimal"),
        ("kind,latency_us\nConv,\n", "line 2, column latency_us: is empty"),
        ("kind,latency_us\nConv,1\nConv,\"1,5\"\n", "line 3, column latency_us: '1,5' is no number: write"),
        ("kind,latency_us\nConv,-1\n", "must be a number that is not negative"),
        ("kind,latency_us,peak_bytes\nConv,1,2.5\n", "column peak_bytes: '2.5' must be a whole number"),
        ("kind,model,latency_us\nConv,a.onnx,1\n", "column model: says what was measured, and so does kind"),
        ("kind,model,latency_us\n,,1\n", "line 2, column kind: nothing says what was measured"),
        ("kind,input,output,latency_us\nConf,1x1,1x1,1\n", "unknown operator 'Conf': did you mean 'Conv'"),
        ("kind,input,output,latency_us\nConv,,1x1,1\n", "column input: is empty"),
        ("kind,input,output,latency_us\nConv,8*8,1x1,1\n", "column input: '8*8' is no shape"),
        ("kind,input,output,latency_us\nConv,8x8,1x1x1x1,1\n", "column input: '8x8': Conv takes an image"),
        ("kind,input,output,latency_us\nConv,1x8x6x6,1x8x6x6,1\n", "column kernel: is empty"),
        ("kind,input,output,kernel,latency_us\nAdd,1x8,1x8,3,1\n", "column kernel: '3': Add has none"),
        ("kind,input,output,kernel,group,latency_us\nConv,1x8x6x6,1x8x6x6,1,2,1\n", "call it DepthwiseConv"),
        ("kind,input,output,kernel,latency_us\ngrouped,1x8x6x6,1x8x6x6,1,1\n", "column group: is empty"),
        ("kind,input,output,kernel,latency_us\ndepthwise,1x8x6x6,1x9x6x6,1,1\n", "keeps the 8 channels"),
        ("kind,input,output,activation,latency_us\nAdd,1x8,1x8,rely,1\n", "did you mean 'relu'?"),
        ("model,latency_us\n../secret.onnx,1\n", "line 2, column model: '../secret.onnx' is no file beside"),
        ("model_sha256,latency_us\nabc,1\n", "column model_sha256: 'abc' is no SHA-256"),
        ("signature_json,latency_us\n{},1\n", "line 2, column signature_json: not a signature"),
    ],
)  # fmt: skip
def test_a_wrong_cell_is_named(text: str, words: str, target: Target, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadInput) as error:
        TableOracle(target, path)
    assert words in str(error.value)
    assert str(path) in str(error.value)


def test_where_the_table_comes_from(target: Target, tmp_path: Path) -> None:
    path = write(tmp_path, SHAPES)
    with pytest.raises(BadInput, match="--table"):
        make_oracle(target)
    with pytest.raises(BadInput, match="cannot be read"):
        make_oracle(target, table=tmp_path / "none.csv")
    inside = replace(target, folder=tmp_path, oracle=OracleSpec("table", {"file": "table.csv"}))
    assert make_oracle(inside).identity == make_oracle(target, table=path).identity
    (tmp_path / "sub").mkdir()
    outside = replace(inside, folder=tmp_path / "sub", oracle=OracleSpec("table", {"file": "../table.csv"}))
    with pytest.raises(BadInput, match="no file in the target's folder"):
        make_oracle(outside)
    before = make_oracle(inside).identity
    write(tmp_path, SHAPES.replace("812.5", "812.6"))
    assert make_oracle(inside).identity != before


def test_a_table_becomes_a_measurement_file(target: Target, tmp_path: Path) -> None:
    """Its signatures are those of the same operators in a model, context and weights' values apart."""
    path = write(tmp_path, SHAPES)
    done = measured_in(target, path)
    write_samples(tmp_path / "m.csv.xz", done.rows)
    samples = read_samples(tmp_path / "m.csv.xz")
    assert (len(samples), done.samples, done.dropped) == (8, 8, {})
    assert {sample.family for sample in samples} == {"table"}
    assert len({sample.sample for sample in samples}) == 8
    for (build, expected), sample in zip(BUILDS.values(), samples, strict=True):
        (true,) = signatures(build, target)
        unread = true.weight is not None and sample.signature.weight is not None
        assert sample.latency_us == expected
        if unread and true.weight is not None and sample.signature.weight is not None:
            assert sample.signature.weight.elements == true.weight.elements
        assert (sample.signature.weight is None) == (true.weight is None)
        plain = replace(true, producers=(), consumers=(), weight=None, pads=())
        assert replace(sample.signature, weight=None, pads=(), inputs=plain.inputs) == plain
        assert sorted(sample.signature.inputs) == sorted(plain.inputs)


def test_a_table_of_networks_teaches_no_cost_model(target: Target, tmp_path: Path) -> None:
    path = write(tmp_path, f"model_sha256,latency_us\n{'0' * 64},1\n")
    with pytest.raises(BadInput, match="every row is of a whole network"):
        measured_in(target, path)


def test_the_example_is_a_table(target: Target) -> None:
    path = Path(__file__).parents[2] / "docs" / "examples" / "measurements.csv"
    done = measured_in(target, path)
    assert len(done.rows) == 9
    assert {row.network for row in done.rows} == {"net-a", "net-b"}
    gemm = ask(TableOracle(target, path), lambda n: n.gemm(n.input(1, 1280), 1000))
    assert latency(gemm) == 94.9


def test_the_identity_covers_the_files_that_a_table_names(target: Target, tmp_path: Path) -> None:
    path = write(tmp_path, "model,latency_us\nnet.onnx,88\n")
    identities = []
    for build in (stem, BUILDS["gemm"][0]):
        (tmp_path / "net.onnx").write_bytes(model_bytes(model(build)))
        identities.append(TableOracle(target, path).identity)
    assert identities[0] != identities[1]
