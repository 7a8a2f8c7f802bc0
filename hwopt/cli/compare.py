"""`hwopt compare A.onnx B.onnx`: outputs side by side, and with --layers every tensor inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt.cli import show as cli_show
from hwopt.cli.common import print_object, running, shapes_of
from hwopt.cli.options import AsJson, Preprocess, Quiet, Seed, Shapes
from hwopt.errors import BadInput
from hwopt.trace import Listeners

if TYPE_CHECKING:
    import onnx_ir as ir

    from hwopt.debug.compare.inputs import Inputs
    from hwopt.debug.compare.layers import Layers
    from hwopt.debug.compare.outputs import Comparison

_DIFFERENT = 1

First = Annotated[Path, typer.Argument(metavar="A.onnx", help="The reference.", show_default=False)]
Second = Annotated[
    Path, typer.Argument(metavar="B.onnx", help="What is held against it.", show_default=False)
]
InputFiles = Annotated[
    Path | None,
    typer.Option(
        "--inputs",
        metavar="PATH",
        help="What to run them on: an .npz with an array per input, an .npy, a folder of .npy files, "
        "or a folder of images. Without it: seeded noise, in several shapes where axes are free.",
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Samples of the data (8), or draws of noise per shape (1)."),
]
Share = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        metavar="X",
        help="Largest difference allowed, as a share of a tensor's largest magnitude. "
        "Without it: what float rounding explains.",
    ),
]
LayersToo = Annotated[
    bool, typer.Option("--layers", help="Compare every tensor that both have; name the first that differs.")
]


def compare(
    one: First,
    two: Second,
    inputs: InputFiles = None,
    preprocess: Preprocess = None,
    samples: Samples = None,
    seed: Seed = 0,
    input_shape: Shapes = None,
    tolerance: Share = None,
    layers: LayersToo = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run two models on the same inputs and compare what comes out.

    Without --inputs they are run on seeded noise. What float rounding explains is no difference.

    Examples:
        hwopt compare model.onnx fast.onnx
        hwopt compare model.onnx fast.onnx --layers
        hwopt compare model.onnx fast.onnx --inputs calib.npz --tolerance 0.01 --json

    Exit codes:
        0    the same
        1    different
        2    bad input or usage: a model that does not run, no output in common
        3    a bug in hwopt
        130  interrupted
    """
    shapes = shapes_of(input_shape)
    with running(as_json, quiet) as listeners:
        from hwopt.debug.compare.outputs import compare_outputs
        from hwopt.ir import load_model

        models = load_model(one), load_model(two)
        runs = _inputs(models[0], str(one), inputs, preprocess, samples, seed, shapes)
        found = compare_outputs(*models, runs, tolerance, (str(one), str(two)), listeners)
        inside = _inside(*models, found, listeners) if layers else None
    if as_json:
        from hwopt.debug.compare.plain import to_object

        print_object(to_object((str(one), str(two)), found, inside))
    else:
        _show(found, inside)
    if not found.same or (inside is not None and not inside.same):
        raise typer.Exit(_DIFFERENT)


def _inputs(
    model: ir.Model,
    name: str,
    path: Path | None,
    preprocess: Path | None,
    samples: int | None,
    seed: int,
    shapes: dict[str, tuple[int, ...]],
) -> list[Inputs]:
    """The user's data, or noise."""
    from hwopt.debug.compare.data import given_inputs
    from hwopt.debug.compare.inputs import generated_inputs
    from hwopt.debug.compare.outputs import load_session

    if path is not None:
        if shapes:
            raise BadInput("--input-shape is for generated inputs: leave it out, --inputs has shapes")
        return given_inputs(path, model, preprocess, samples)
    if preprocess is not None:
        raise BadInput(f"--preprocess {preprocess} goes with --inputs: give the images too")
    return generated_inputs(model, load_session(model, name).run, shapes, seed, samples or 1)


def _inside(one: ir.Model, two: ir.Model, found: Comparison, listeners: Listeners) -> Layers:
    """The tensors inside, on the first inputs on which an output differs."""
    from hwopt.debug.compare.layers import compare_layers

    return compare_layers(one, two, found.inputs[found.telling - 1].feeds, found.tolerance, listeners)


def _show(found: Comparison, layers: Layers | None) -> None:
    """The verdict, what it rests on, and what differs."""
    from hwopt.debug.compare import text

    print(text.verdict(found, layers))
    for number, item in enumerate(found.inputs, start=1):
        print(f"inputs {number}: {item.shapes} ({item.name})")
    for line in text.notes(found):
        print(f"note: {line}")
    if found.outputs:
        cli_show.show_table(text.OUTPUT_HEADER, [text.output_row(output) for output in found.outputs])
    if layers is not None:
        _show_layers(found, layers)


def _show_layers(found: Comparison, layers: Layers) -> None:
    from hwopt.debug.compare import text

    print(
        f"tensors inside, on inputs {found.telling}: {len(layers.tensors)} compared, "
        f"{len(layers.differing)} differ"
    )
    if layers.first is None:
        print(text.closest_call(layers))
    else:
        for line in text.first_lines(layers.first):
            print(line)
        print("where differences begin (*), and the furthest apart, in the order of the first model:")
        cli_show.show_table(text.LAYER_HEADER, [text.layer_row(layer) for layer in text.shown(layers)])
    for line in text.left_out(layers):
        print(f"note: {line}")
