"""What a written model must share with the one it was made from, whatever was rewritten in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import Message  # type: ignore[import-untyped]

from tests.strange.exotic.models import Exotic

_TOLERANCE = 3e-4  # of an output's largest magnitude; what float32 loses in a net of these sizes
_OWN = ("", "ai.onnx")
_OWN_KEYS = "pkg.hwopt"


def broken(before: Exotic, after: bytes) -> list[str]:
    """In words: what is not as it was; empty where all is."""
    proto = onnx.ModelProto.FromString(after)
    found = [*_interface(before.proto, proto), *_kept(before.proto, proto)]
    return found + (_outputs(before, after) if before.runs else [])


def _interface(one: onnx.ModelProto, two: onnx.ModelProto) -> list[str]:
    """Inputs and outputs to the byte, opsets, metadata.

    IR version 3 must list weights as inputs; what is rewritten is of a later version, and does not.
    """
    raised = one.ir_version < 4 <= two.ir_version
    weights = {tensor.name for tensor in one.graph.initializer} if raised else set()
    inputs = [info for info in one.graph.input if info.name not in weights]
    opsets = [sorted((entry.domain, entry.version) for entry in p.opset_import) for p in (one, two)]
    pairs = {
        "inputs": (_texts(inputs), _texts(two.graph.input)),
        "outputs": (_texts(one.graph.output), _texts(two.graph.output)),
        "opsets": (opsets[0], opsets[1]),
        "metadata": (sorted(_texts(one.metadata_props)), sorted(_texts(two.metadata_props))),
    }
    return [f"{what} differ" for what, (first, second) in pairs.items() if first != second]


def _kept(one: onnx.ModelProto, two: onnx.ModelProto) -> list[str]:
    """What nobody rewrites: functions, operators of other domains, what is told of the model."""
    pairs = {
        "functions": tuple([_text(f) for f in _plain(p).functions] for p in (one, two)),
        "operators of others": (_foreign(one.graph), _foreign(two.graph)),
        "who made it": tuple(
            (p.producer_name, p.producer_version, p.domain, p.model_version, p.doc_string) for p in (one, two)
        ),
        "the graph's notes": tuple((p.graph.name, p.graph.doc_string) for p in (one, two)),
        "training": (_texts(one.training_info), _texts(two.training_info)),
    }
    found = [f"{what} differ" for what, (first, second) in pairs.items() if first != second]
    return found + _untouched(one, two) + _annotations(one, two)


def _annotations(one: onnx.ModelProto, two: onnx.ModelProto) -> list[str]:
    """Quantisation parameters of every tensor that is still there."""
    left = {name for node in two.graph.node for name in node.output} | {i.name for i in two.graph.input}
    kept = {_text(annotation) for annotation in two.graph.quantization_annotation}
    lost = [a.tensor_name for a in one.graph.quantization_annotation if _text(a) not in kept]
    return [f"the annotation of {name} is lost" for name in lost if name in left]


def _untouched(one: onnx.ModelProto, two: onnx.ModelProto) -> list[str]:
    """Nodes that are there under the same outputs, with the same inputs and attributes, keep their words."""
    before = {tuple(node.output): node for node in one.graph.node}
    found = []
    for node in two.graph.node:
        old = before.get(tuple(node.output))
        if old is None or (old.op_type, old.input) != (node.op_type, node.input):
            continue
        if (old.name, old.doc_string) != (node.name, node.doc_string):
            found.append(f"{node.op_type} {list(node.output)} lost its name or note")
        missing = {(e.key, e.value) for e in old.metadata_props} - {
            (e.key, e.value) for e in node.metadata_props
        }
        if missing:
            found.append(f"{node.op_type} {list(node.output)} lost {missing}")
    return found


def _foreign(graph: onnx.GraphProto) -> list[bytes]:
    """Nodes of other domains, those in nested graphs included, but for notes of where they come from."""
    found = []
    for node in graph.node:
        if node.domain not in _OWN:
            plain = onnx.NodeProto()
            plain.CopyFrom(node)
            kept = [entry for entry in plain.metadata_props if not entry.key.startswith(_OWN_KEYS)]
            del plain.metadata_props[:]
            plain.metadata_props.extend(kept)
            found.append(_text(plain))
        for attribute in node.attribute:
            found += _foreign(attribute.g) if attribute.HasField("g") else []
    return found


def _plain(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Without domains that are set to the empty text, which is what they are anyhow."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for function in copy.functions:
        for node in function.node:
            if not node.domain:
                node.ClearField("domain")
    return copy


def _text(message: Message) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


def _texts(messages: Sequence[Message]) -> list[bytes]:
    return [_text(message) for message in messages]


def _outputs(before: Exotic, after: bytes) -> list[str]:
    """Where ONNX Runtime gives something else for one of the inputs."""
    one, two = session(before.proto.SerializeToString()), session(after)
    for fed in before.feeds():
        for info, expected, actual in zip(
            one.get_outputs(), one.run(None, fed), two.run(None, fed), strict=True
        ):
            if not _same(expected, actual):
                return [f"output {info.name} differs"]
    return []


def session(data: bytes) -> ort.InferenceSession:
    """ONNX Runtime on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(data, options, ["CPUExecutionProvider"])


def _same(one: object, two: object) -> bool:
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(_same(a, b) for a, b in zip(one, two, strict=True))
    first, second = np.asarray(one), np.asarray(two)
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if not np.issubdtype(first.dtype, np.floating):
        return bool(np.array_equal(first, second))
    first, second = first.astype(np.float64), second.astype(np.float64)
    largest = float(np.abs(first).max(initial=0.0)) or 1.0
    return bool(np.abs(first - second).max(initial=0.0) <= _TOLERANCE * largest)
