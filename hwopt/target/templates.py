"""The texts that `hwopt targets new` writes: a target.toml to fill in, with a comment on every key.

Each works as it stands, so that a new target can be tried before it is right. $name is the
target's name.
"""

from __future__ import annotations

from collections.abc import Mapping

_ACCELERATOR_OPS = """\
ops = [
  "Conv", "DepthwiseConv", "GroupedConv", "Gemm", "MatMul", "Add",
  "MaxPool", "AveragePool", "GlobalAveragePool",
]"""

_FUSION = """\
# What runs inside the operator before it when nothing else reads that one's result: a batch
# normalisation is folded into the weights, an activation stands behind the adders. Unknown? Leave
# this, measure, and let `hwopt targets fit $name --find-fusions` say what it finds.
[[fusion]]
anchors = ["Conv", "DepthwiseConv", "GroupedConv", "Gemm"]
followers = [ # stage by stage: of each, at most one follower
  ["BatchNormalization"],
  ["Clip", "Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh", "HardSwish", "Silu"],
]

[[fusion]]
anchors = ["MatMul", "Add"]
followers = [["Clip", "Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "Tanh", "HardSwish", "Silu"]]
"""

_HEAD = """\
# A target of one's own. Every key is explained here and in docs/how-to-target.md; what is wrong
# with this file, `hwopt targets check $name` says line by line.
schema_version = 1
name = "$name" # as the folder
title = "{title}"
precision = "{precision}" # int8, fp16 or fp32: of activations and weights on the device

[hardware]
clock_mhz = {clock} # the clock that cycles are counted in
macs_per_cycle = {macs} # multiply-adds at best
# How the MAC array is unrolled: out_channels, in_channels, out_height, out_width. The product
# divides macs_per_cycle. Leave it out where you do not know: the cost model then learns it.
{array}
channel_multiples = {multiples} # widths worth trying: the array's own step, and multiples of it
weights_compressed = {compressed} # true where zeros and repeats shorten the weight stream
{depthwise}# arena_memory = "sram" # the memory that holds activations; default: the innermost

# Memories, innermost first: capacity, and bytes per cycle towards the inside. Bandwidth never
# grows outwards. The innermost is the one that operators read from.
[[memory]]
name = "{inner}"
bytes = {inner_bytes}
bytes_per_cycle = {inner_rate}

[[memory]]
name = "{outer}"
bytes = {outer_bytes}
bytes_per_cycle = {outer_rate}

# What the device runs, by ONNX's names; convolutions are told apart as Conv, DepthwiseConv and
# GroupedConv. An operator that stands nowhere here is reported as unpriced.
[[engine]]
name = "{engine}"
{ops}

# A host CPU beside the accelerator, where it takes over what the array cannot run:
# [[engine]]
# name = "host"
# host = true
# ops = ["Softmax"]

{fusion}
# Zeros that the array skips: "unstructured", "2:4", "block", "channel".
# [sparsity]
# skipped = ["2:4"]

"""

_CPU_OPS = """\
ops = [
  "Conv", "DepthwiseConv", "GroupedConv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div",
  "Clip", "Relu", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "Tanh", "HardSwish", "Silu", "Gelu",
  "MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "Softmax", "Resize", "Pad", "Transpose",
  "Concat", "Split", "Slice",
]"""

_DESCRIBED: dict[str, object] = {
    "title": "An accelerator of 16 x 16 multipliers with 512 KiB on chip (ZigZag, from its datasheet)",
    "precision": "int8",
    "clock": "500.0",
    "macs": 256,
    "array": "array = { out_channels = 16, in_channels = 16 }",
    "multiples": "[16, 32]",
    "compressed": "false",
    "depthwise": "depthwise_macs_per_cycle = 16 # what a depthwise convolution can use of it at best\n",
    "inner": "sram",
    "inner_bytes": 524288,
    "inner_rate": "32.0",
    "outer": "dram",
    "outer_bytes": 268435456,
    "outer_rate": "8.0",
    "engine": "npu",
    "ops": _ACCELERATOR_OPS,
    "fusion": _FUSION,
}
_ZIGZAG = """\
# ZigZag costs layers on the accelerator that the tables above describe.
[oracle]
name = "zigzag"
[oracle.options]
# What each dimension of `array`, in its order, does in a depthwise convolution, which has one input
# and one output channel per group: "groups", "out_width", "out_height", "kernel_width",
# "kernel_height", or "-" (idle). "default": as in any convolution, so that one unit in 256 works.
depthwise_mapping = "groups, -"
weight_buffer_bytes = 65536 # weights between the innermost memory's level and the array
weight_buffer_bytes_per_cycle = 16
data_locality = false # true where what one layer writes stays on chip for the next
# For machines that these tables cannot describe: ZigZag's own files, beside this one, or a stock name.
# Then leave out the weight buffer, and depthwise_mapping names an entry of the mapping.
# accelerator = "accelerator.yaml"
# mapping = "mapping.yaml"
"""

_VELA: dict[str, object] = {
    **_DESCRIBED,
    "title": "Arm Ethos-U55, 128 MACs per cycle (Vela estimate)",
    "macs": 128,
    "array": "array = { out_channels = 8, in_channels = 8, out_width = 2 }",
    "multiples": "[8, 16, 32]",
    "compressed": "true",
    "depthwise": "",
    "inner_bytes": 2097152,
    "inner_rate": "8.0",
    "outer": "off_chip_flash",
    "outer_bytes": 134217728,
    "outer_rate": "1.0",
}
_VELA_ORACLE = """\
# Arm's Vela compiler: its own estimate, not silicon.
[oracle]
name = "vela"
[oracle.options]
accelerator = "ethos-u55-128" # family and MACs
system_config = "Ethos_U55_High_End_Embedded" # a section of Vela's own file, or of config_file
memory_mode = "Shared_Sram"
# config_file = "system.ini" # own [System_Config.X] and [Memory_Mode.X] sections, beside this file
"""

_CPU: dict[str, object] = {
    **_DESCRIBED,
    "title": "The CPU of this machine, one thread, fp32 (ONNX Runtime, measured)",
    "precision": "fp32",
    "clock": "3000.0",
    "macs": 32,
    "array": "array = { out_channels = 16 } # lanes of the vector unit",
    "multiples": "[8, 16, 32]",
    "depthwise": "",
    "inner": "cache",
    "inner_bytes": 33554432,
    "inner_rate": "32.0",
    "outer": "ram",
    "outer_bytes": 8589934592,
    "outer_rate": "8.0",
    "engine": "cpu",
    "ops": _CPU_OPS,
}
_ORT_ORACLE = """\
# ONNX Runtime on this machine: really measured, so leave the machine alone meanwhile.
[oracle]
name = "onnxruntime"
[oracle.options]
provider = "CPUExecutionProvider" # any execution provider that is installed
threads = 1
"""

_BOARD: dict[str, object] = {
    **_DESCRIBED,
    "title": "A board of mine, measured by my own command",
    "array": "# array = { out_channels = 16, in_channels = 16 }",
    "multiples": "[8, 16, 32]",
    "depthwise": "",
}
_COMMAND_ORACLE = """\
# Your own device. The command itself is never read from a file: it is given as
# `hwopt targets measure $name --oracle-command 'ssh board ./bench {model}'`.
[oracle]
name = "command"
[oracle.options]
device = "board 1, program 1" # a label: change it, and everything is measured anew
runs = 3 # of the command per model: the smallest figure counts
retries = 2 # after a failed run
timeout_s = 300
slots = 1 # models measured at a time: as many as there are devices
call_us = 0.0 # what a call costs besides its operators, taken off each figure
"""
_TABLE_ORACLE = """\
# Measurements that exist already, as CSV or Parquet: `hwopt targets measure $name --table FILE`.
[oracle]
name = "table"
"""


def _text(values: Mapping[str, object], oracle: str) -> str:
    """One template: the common part with its values, and the oracle's tables."""
    return _HEAD.format(**values) + oracle


# oracle: file name to its text
TEMPLATES: Mapping[str, Mapping[str, str]] = {
    "zigzag": {"target.toml": _text(_DESCRIBED, _ZIGZAG)},
    "vela": {"target.toml": _text(_VELA, _VELA_ORACLE)},
    "onnxruntime": {"target.toml": _text(_CPU, _ORT_ORACLE)},
    "command": {"target.toml": _text(_BOARD, _COMMAND_ORACLE)},
    "table": {"target.toml": _text(_BOARD, _TABLE_ORACLE)},
}
