"""Padding said once, and in numbers.

Conv auto_pad=SAME_UPPER     --> Conv pads=[...]   (explicit_padding)
Pad (zeros) -> Conv          --> Conv pads=[...]   (fold_pad)
"""

from __future__ import annotations

from math import ceil

import onnx_ir as ir

from hwopt.canonical.common import Fold, View, bypass, required, why_not_alone
from hwopt.canonical.constants import constant_value
from hwopt.edit import set_attribute
from hwopt.nodes import attr_float, attr_int, attr_ints, attr_string, constant, is_op

EXPLICIT, PAD = "explicit_padding", "fold_pad"
_WINDOWED = ("Conv", "MaxPool", "AveragePool")


def find_padding_folds(view: View) -> None:
    """Adds a fold or a reason for every auto_pad, and for every Pad in front of a convolution."""
    for node in view.model.graph:
        if is_op(node, *_WINDOWED) and attr_string(node, "auto_pad", "NOTSET") != "NOTSET":
            pads = _explicit(node, view)
            if isinstance(pads, str):
                view.skip(EXPLICIT, node, pads)
            else:
                view.fold(EXPLICIT, [], [node], pads)
        elif is_op(node, "Pad") and node not in view.taken:
            _find_pad(node, view)


def _explicit(node: ir.Node, view: View) -> tuple[int, ...] | str:
    """The pads that auto_pad stands for, or the reason why they are not the same for every input."""
    kernel = _kernel(node)
    if kernel is None:
        return "its kernel is unknown"
    if attr_string(node, "auto_pad", "NOTSET") == "VALID":
        return (0,) * (2 * len(kernel))
    if attr_int(node, "ceil_mode", 0):
        return "auto_pad together with ceil_mode"
    strides = attr_ints(node, "strides", (1,) * len(kernel))
    dilations = attr_ints(node, "dilations", (1,) * len(kernel))
    dims = view.dims(node.inputs[0])
    sizes = dims[2:] if dims is not None else (None,) * len(kernel)
    if not len(sizes) == len(kernel) == len(strides) == len(dilations):
        return f"a kernel of {len(kernel)} axes does not fit its input, steps or dilations"
    totals = [_total(*axis) for axis in zip(sizes, kernel, strides, dilations, strict=True)]
    known = [total for total in totals if total is not None]
    if len(known) != len(totals):
        return "its padding depends on the size of the input"
    upper = attr_string(node, "auto_pad", "NOTSET") == "SAME_UPPER"
    smaller, larger = [total // 2 for total in known], [total - total // 2 for total in known]
    return tuple([*smaller, *larger] if upper else [*larger, *smaller])


def _kernel(node: ir.Node) -> tuple[int, ...] | None:
    if "kernel_shape" in node.attributes:
        return attr_ints(node, "kernel_shape", ())
    weight = constant(node.inputs[1]) if is_op(node, "Conv") else None
    return None if weight is None else tuple(int(size) for size in weight.shape.numpy())[2:]


def _total(size: int | None, kernel: int, stride: int, dilation: int) -> int | None:
    """Rows of padding so that the output has ceil(size / stride) rows; None where that is not known."""
    extent = (kernel - 1) * dilation + 1
    if stride == 1:
        return extent - 1
    if size is None:
        return 0 if extent == 1 else None
    return max((ceil(size / stride) - 1) * stride + extent - size, 0)


def _find_pad(node: ir.Node, view: View) -> None:
    readers = [use.node for use in node.outputs[0].uses()]
    if not any(is_op(reader, "Conv") and reader.inputs[0] is node.outputs[0] for reader in readers):
        return
    pads = _added(node, view.opset)
    reason = pads if isinstance(pads, str) else why_not_alone(node.outputs[0])
    if not reason and attr_string(readers[0], "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        reason = "the convolution pads by auto_pad"
    if isinstance(reason, str) and reason:
        view.skip(PAD, node, reason)
    else:
        view.fold(PAD, [node], [readers[0]])


def _added(node: ir.Node, opset: int) -> tuple[int, ...] | str:
    """What a Pad adds around the pixels (begins, then ends), or why a convolution cannot do the same."""
    if attr_string(node, "mode", "constant") != "constant":
        return f"it pads by {attr_string(node, 'mode', 'constant')}"
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        return "it names its axes"
    amounts = _amounts(node, opset)
    if amounts is None:
        return "its amounts are not constant"
    if _fill(node, opset) != 0:
        return "it does not pad with zeros"
    rank = len(amounts) // 2
    if any(amounts[axis] or amounts[axis + rank] for axis in (0, 1)) or min(amounts) < 0:
        return "it pads the batch or the channels, or crops"
    return (*amounts[2:rank], *amounts[rank + 2 :])


def _amounts(node: ir.Node, opset: int) -> tuple[int, ...] | None:
    if "pads" in node.attributes:
        return attr_ints(node, "pads", ())
    array = constant_value(node.inputs[1], opset) if len(node.inputs) > 1 else None
    return None if array is None else tuple(int(amount) for amount in array.reshape(-1))


def _fill(node: ir.Node, opset: int) -> float | None:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return attr_float(node, "value", 0.0)
    array = constant_value(node.inputs[2], opset)
    return None if array is None or array.size != 1 else float(array.reshape(()))


# --- applying ----------------------------------------------------------------------------


def apply_explicit(model: ir.Model, fold: Fold) -> None:
    """nodes: the operator; numbers: its pads, begins then ends."""
    del model
    node = fold.nodes[0]
    if node.attributes.pop("auto_pad", None) is not None:  # else fold_pad was here before
        set_attribute(node, "pads", fold.numbers)


def apply_pad(model: ir.Model, fold: Fold) -> None:
    """nodes: the convolution, then the Pad before it."""
    conv, pad = fold.nodes
    added = required(_added(pad, model.opset_imports.get("", 1)), PAD, pad)
    source = required(pad.inputs[0] if conv.inputs[0] is pad.outputs[0] else None, PAD, pad)
    own = attr_ints(conv, "pads", (0,) * len(added))
    bypass(model.graph, [pad], pad.outputs[0], source)
    conv.attributes.pop("auto_pad", None)
    set_attribute(conv, "pads", [a + b for a, b in zip(own, added, strict=True)])
