"""The options of the command line, each with its help; used by `hwopt.cli` alone."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Minimize(StrEnum):
    """What the search makes small."""

    LATENCY = "latency"
    MEMORY = "memory"
    SIZE = "size"
    FOOTPRINT = "footprint"
    DAMAGE = "damage"


class Quantize(StrEnum):
    """The precision of the written file."""

    INT8 = "int8"


class Ranking(StrEnum):
    """What decides which channels go."""

    OBS = "obs"
    ACTIVATION = "activation"
    MAGNITUDE = "magnitude"


Model = Annotated[Path, typer.Argument(metavar="MODEL", help="The ONNX model.", show_default=False)]
TargetName = Annotated[
    str, typer.Option("--target", "-t", help="An accelerator: a name (hwopt targets list) or a folder.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="OUT.onnx", help="File to write.")]
Calib = Annotated[Path | None, typer.Option(help="Calibration data: an image folder, .npz or .npy.")]
Labels = Annotated[Path | None, typer.Option(help="CSV with columns file and label.")]
Preprocess = Annotated[Path | None, typer.Option(help="How images become inputs: a preprocess.toml.")]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--input-shape", metavar="NAME:1,3,224,224", help="Shape of a dynamic input."),
]
MaxDrop = Annotated[
    float | None, typer.Option(help="Largest drop of accuracy, a fraction: 0.01. Needs labels or a metric.")
]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="MODULE:FUNCTION",
        help="Your own accuracy: a Python function of outputs (by name) and labels, higher is better.",
    ),
]
MaxDivergence = Annotated[float | None, typer.Option(help="Largest divergence of the outputs.")]
MaxLatency = Annotated[str | None, typer.Option(metavar="5ms|-30%", help="Largest latency.")]
MaxMemory = Annotated[str | None, typer.Option(metavar="2MB|-30%", help="Largest arena of activations.")]
MaxSize = Annotated[str | None, typer.Option(metavar="2MB|-30%", help="Largest size of the weights.")]
MaxFootprint = Annotated[str | None, typer.Option(metavar="2MB|-30%", help="Arena and weights together.")]
Objective = Annotated[Minimize, typer.Option(help="What to make small.")]
Passes = Annotated[
    list[str] | None, typer.Option(metavar="A,B", help="Only these passes (hwopt passes list).")
]
Disable = Annotated[list[str] | None, typer.Option(metavar="A,B", help="All passes but these.")]
PlanFile = Annotated[Path | None, typer.Option(help="Replay this plan instead of searching for one.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same result.")]
AllowUnpriced = Annotated[
    bool, typer.Option("--allow-unpriced", help="Accept a latency limit where operators have no price.")
]
Refine = Annotated[
    int,
    typer.Option(
        "--refine",
        metavar="K",
        min=0,
        help="Subgraphs to measure exactly where the oracle is installed, the most uncertain ones. "
        "0: no exact measurement at all, neither of subgraphs nor of whole models; all is predicted.",
    ),
]
CostModelFile = Annotated[
    Path | None,
    typer.Option(
        "--cost-model",
        metavar="FILE",
        help="Price with this file instead of the pinned one; it is loaded in a process of its own.",
    ),
]
QuantizeTo = Annotated[
    Quantize | None,
    typer.Option("--quantize", help="Write the model in this precision, as QDQ. Needs calibration data."),
]
InterfaceChange = Annotated[
    bool,
    typer.Option("--allow-interface-change", help="Accept rewrites that change the shape of an input."),
]
Retrain = Annotated[
    bool,
    typer.Option(
        "--allow-retrain", help="Also write OUT.candidate.onnx, with rewrites that only training can mend."
    ),
]
Tune = Annotated[
    int,
    typer.Option(metavar="STEPS", min=0, help="Gradient steps on the chosen plan's weights; needs PyTorch."),
]
Augment = Annotated[
    int,
    typer.Option(metavar="COPIES", min=0, help="Cropped and flipped copies of every calibration image."),
]
RankBy = Annotated[
    Ranking,
    typer.Option("--ranking", help="Which channels go first: by their effect on the output, or simpler."),
]
Search = Annotated[
    str,
    typer.Option(
        "--search",
        metavar="NAME",
        help="How plans are searched: milp (proves how good they are), evolve, greedy, random, reinforce.",
    ),
]
Evaluations = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Plans that a search other than milp may look at.")
]
Store = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Where --search evolve keeps its state: to resume from, and to share."),
]
InTheLoop = Annotated[
    bool,
    typer.Option(
        "--in-the-loop",
        help="Ask the oracle for every plan that the search looks at, where prices of parts do not add up.",
    ),
]
TimeLimit = Annotated[
    str | None,
    typer.Option(metavar="90s|10m|1h", help="Stop searching then, and write the best plan so far."),
]
HintsFile = Annotated[
    Path | None,
    typer.Option("--hints", metavar="FILE", help="What you know better: a TOML file that pins or forbids."),
]
WritePlan = Annotated[
    Path | None,
    typer.Option("--write-plan", metavar="FILE", help="Write the plan there, in a dry run, too: to edit."),
]
RewriteLimit = Annotated[
    int | None,
    typer.Option("--rewrite-limit", metavar="N", min=0, help="Make the first N steps of the plan alone."),
]
OnlyChoice = Annotated[
    list[str] | None,
    typer.Option("--only-choice", metavar="ID", help="Decide about this choice alone (again for more)."),
]
KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="Where a rewrite turns out to be wrong, go on without it.")
]
DumpDir = Annotated[
    Path | None, typer.Option("--dump-dir", metavar="DIR", help="Write the model after each pass into DIR.")
]
DumpEach = Annotated[bool, typer.Option("--dump-each", help="With --dump-dir: after each single rewrite.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Find the plan, write nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files of an earlier run.")]
Measure = Annotated[bool, typer.Option("--measure", help="Ask the target's oracle for the whole model.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report, or why there is none, as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress display.")]
