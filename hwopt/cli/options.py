"""The options of the command line, each with its help; used by `hwopt.cli.entry` alone."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hwopt.cli.complete import pass_names, strategy_names, target_names


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


# Headings in the help.
TASK = "Model and target"
DATA = "Calibration data"
LIMITS = "Goal and limits"
CHANGES = "What may change"
SEARCH = "Search"
INSIDE = "Looking inside"
RESULTS = "Results"

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="The ONNX model.", show_default=False)]
TargetName = Annotated[
    str,
    typer.Option(
        "--target",
        "-t",
        help="An accelerator: a name (hwopt targets list) or a folder.",
        autocompletion=target_names,
        metavar="NAME|FOLDER",
        rich_help_panel=TASK,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="OUT.onnx", help="File to write.", rich_help_panel=TASK),
]
Calib = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", help="Calibration data: an image folder, .npz or .npy.", rich_help_panel=DATA
    ),
]
Labels = Annotated[
    Path | None, typer.Option(metavar="FILE", help="CSV with columns file and label.", rich_help_panel=DATA)
]
Preprocess = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="How images become inputs: a preprocess.toml.", rich_help_panel=DATA),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape", metavar="NAME:1,3,224,224", help="Shape of a dynamic input.", rich_help_panel=TASK
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Largest drop of accuracy, a fraction: 0.01. Needs labels or a metric.",
        rich_help_panel=LIMITS,
    ),
]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="MODULE:FUNCTION",
        help="Your own accuracy: a Python function of outputs (by name) and labels, higher is better.",
        rich_help_panel=DATA,
    ),
]
MaxDivergence = Annotated[
    float | None, typer.Option(metavar="X", help="Largest divergence of the outputs.", rich_help_panel=LIMITS)
]
MaxLatency = Annotated[
    str | None, typer.Option(metavar="5ms|-30%", help="Largest latency.", rich_help_panel=LIMITS)
]
MaxMemory = Annotated[
    str | None, typer.Option(metavar="2MB|-30%", help="Largest arena of activations.", rich_help_panel=LIMITS)
]
MaxSize = Annotated[
    str | None, typer.Option(metavar="2MB|-30%", help="Largest size of the weights.", rich_help_panel=LIMITS)
]
MaxFootprint = Annotated[
    str | None, typer.Option(metavar="2MB|-30%", help="Arena and weights together.", rich_help_panel=LIMITS)
]
Objective = Annotated[Minimize, typer.Option(help="What to make small.", rich_help_panel=LIMITS)]
Passes = Annotated[
    list[str] | None,
    typer.Option(
        metavar="A,B",
        autocompletion=pass_names,
        help="Only these passes (hwopt passes list).",
        rich_help_panel=CHANGES,
    ),
]
Disable = Annotated[
    list[str] | None,
    typer.Option(
        metavar="A,B", autocompletion=pass_names, help="All passes but these.", rich_help_panel=CHANGES
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Replay this plan instead of searching for one.", rich_help_panel=CHANGES
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, metavar="N", help="Same seed, same result.", rich_help_panel=SEARCH)
]
AllowUnpriced = Annotated[
    bool,
    typer.Option(
        "--allow-unpriced",
        help="Accept a latency limit where operators have no price.",
        rich_help_panel=LIMITS,
    ),
]
AllowUnverified = Annotated[
    bool,
    typer.Option(
        "--allow-unverified",
        help="Rewrite even what ONNX Runtime cannot run (custom operators), and nobody can verify.",
        rich_help_panel=CHANGES,
    ),
]
Refine = Annotated[
    int,
    typer.Option(
        "--refine",
        metavar="K",
        min=0,
        help="Subgraphs to measure exactly where the oracle is installed, the most uncertain ones. "
        "0: no exact measurement at all, neither of subgraphs nor of whole models; all is predicted.",
        rich_help_panel=SEARCH,
    ),
]
CostModelFile = Annotated[
    Path | None,
    typer.Option(
        "--cost-model",
        metavar="FILE",
        help="Price with this file instead of the pinned one; it is loaded in a process of its own.",
        rich_help_panel=SEARCH,
    ),
]
QuantizeTo = Annotated[
    Quantize | None,
    typer.Option(
        "--quantize",
        help="Write the model in this precision, as QDQ. Needs calibration data.",
        rich_help_panel=CHANGES,
    ),
]
InterfaceChange = Annotated[
    bool,
    typer.Option(
        "--allow-interface-change",
        help="Accept rewrites that change the shape of an input.",
        rich_help_panel=CHANGES,
    ),
]
Retrain = Annotated[
    bool,
    typer.Option(
        "--allow-retrain",
        help="Also write OUT.candidate.onnx, with rewrites that only training can mend.",
        rich_help_panel=CHANGES,
    ),
]
Tune = Annotated[
    int,
    typer.Option(
        metavar="STEPS",
        min=0,
        help="Gradient steps on the chosen plan's weights; needs PyTorch.",
        rich_help_panel=CHANGES,
    ),
]
Augment = Annotated[
    int,
    typer.Option(
        metavar="COPIES",
        min=0,
        help="Cropped and flipped copies of every calibration image.",
        rich_help_panel=DATA,
    ),
]
RankBy = Annotated[
    Ranking,
    typer.Option(
        "--ranking",
        help="Which channels go first: by their effect on the output, or simpler.",
        rich_help_panel=CHANGES,
    ),
]
Search = Annotated[
    str,
    typer.Option(
        "--search",
        metavar="NAME",
        autocompletion=strategy_names,
        help="How plans are searched: milp (proves how good they are), evolve, greedy, random, reinforce.",
        rich_help_panel=SEARCH,
    ),
]
Evaluations = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Plans that a search other than milp may look at.", rich_help_panel=SEARCH
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Where --search evolve keeps its state: to resume from, and to share.",
        rich_help_panel=SEARCH,
    ),
]
InTheLoop = Annotated[
    bool,
    typer.Option(
        "--in-the-loop",
        help="Ask the oracle for every plan that the search looks at, where prices of parts do not add up.",
        rich_help_panel=SEARCH,
    ),
]
TimeLimit = Annotated[
    str | None,
    typer.Option(
        metavar="90s|10m|1h",
        help="Stop searching then, and write the best plan so far.",
        rich_help_panel=SEARCH,
    ),
]
HintsFile = Annotated[
    Path | None,
    typer.Option(
        "--hints",
        metavar="FILE",
        help="What you know better: a TOML file that pins or forbids.",
        rich_help_panel=CHANGES,
    ),
]
WritePlan = Annotated[
    Path | None,
    typer.Option(
        "--write-plan",
        metavar="FILE",
        help="Write the plan there, in a dry run, too: to edit.",
        rich_help_panel=RESULTS,
    ),
]
RewriteLimit = Annotated[
    int | None,
    typer.Option(
        "--rewrite-limit",
        metavar="N",
        min=0,
        help="Make the first N steps of the plan alone.",
        rich_help_panel=INSIDE,
    ),
]
OnlyChoice = Annotated[
    list[str] | None,
    typer.Option(
        "--only-choice",
        metavar="ID",
        help="Decide about this choice alone (again for more).",
        rich_help_panel=CHANGES,
    ),
]
KeepGoing = Annotated[
    bool,
    typer.Option(
        "--keep-going",
        help="Where a rewrite turns out to be wrong, go on without it.",
        rich_help_panel=INSIDE,
    ),
]
DumpDir = Annotated[
    Path | None,
    typer.Option(
        "--dump-dir", metavar="DIR", help="Write the model after each pass into DIR.", rich_help_panel=INSIDE
    ),
]
DumpEach = Annotated[
    bool,
    typer.Option("--dump-each", help="With --dump-dir: after each single rewrite.", rich_help_panel=INSIDE),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Find the plan, write nothing.", rich_help_panel=RESULTS)
]
Force = Annotated[
    bool, typer.Option("--force", help="Overwrite files of an earlier run.", rich_help_panel=RESULTS)
]
Measure = Annotated[
    bool, typer.Option("--measure", help="Ask the target's oracle for the whole model.", rich_help_panel=TASK)
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print the report, or why there is none, as JSON.", rich_help_panel=RESULTS),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress display.", rich_help_panel=RESULTS)]
