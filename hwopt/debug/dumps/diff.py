"""What a step did to a model, told from two looks at it: nodes and tensors that came, went or changed.

A look holds names and digests only, so that many models can be compared and none is kept.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from hwopt.nodes import constant, label
from hwopt.provenance import SERIAL, Form, gone_of, rewrites_of, sources_of
from hwopt.shapes import StaticInfo, static_shapes


@dataclass(frozen=True)
class Seen:
    """A node as it was: its label, its sources, and a digest of how it is written and what made it so."""

    name: str
    sources: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Look:
    """Nodes of the main graph by what tells them apart, and tensors with what they are, by name."""

    nodes: Mapping[str, Seen]
    tensors: Mapping[str, str]
    heirs: Mapping[str, tuple[str, ...]]  # label of a node of the input -> the nodes that stand for it
    gone: Mapping[str, str]

    @classmethod
    def of(cls, model: ir.Model) -> Look:
        """A look at a model of this run; one that was read anew from a file is told apart by labels."""
        nodes: dict[str, Seen] = {}
        heirs: dict[str, list[str]] = defaultdict(list)
        for node in model.graph:
            key = _key(node)
            name, sources = label(node), sources_of(node)
            nodes[key if key not in nodes else f"{key} {name}"] = Seen(name, sources, _digest(node))
            for source in sources:
                heirs[source].append(name)
        return cls(nodes, _tensors(model), {s: tuple(h) for s, h in heirs.items()}, gone_of(model))


@dataclass(frozen=True)
class Removed:
    """A node that went. into: the nodes that stand for it now; where: what became of it where none does."""

    name: str
    into: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class Changes:
    """What came, went and changed between two looks, by name. tensors_changed: with what they are now."""

    nodes_added: tuple[str, ...]
    nodes_removed: tuple[Removed, ...]
    nodes_edited: tuple[str, ...]
    tensors_added: Mapping[str, str]
    tensors_removed: tuple[str, ...]
    tensors_changed: Mapping[str, str]

    @property
    def nothing(self) -> bool:
        """Whether the two looks are of the same graph."""
        return not (
            self.nodes_added or self.nodes_removed or self.nodes_edited
            or self.tensors_added or self.tensors_removed or self.tensors_changed
        )  # fmt: skip


def changes(before: Look, after: Look) -> Changes:
    """What happened between two looks."""
    if _by_label(before) != _by_label(after):
        before, after = _named(before), _named(after)
    was, now = before.nodes, after.nodes
    return Changes(
        nodes_added=tuple(now[key].name for key in now if key not in was),
        nodes_removed=tuple(_removed(was[key], after) for key in was if key not in now),
        nodes_edited=tuple(now[k].name for k in now if k in was and was[k].digest != now[k].digest),
        tensors_added={n: what for n, what in after.tensors.items() if n not in before.tensors},
        tensors_removed=tuple(n for n in before.tensors if n not in after.tensors),
        tensors_changed={
            n: what for n, what in after.tensors.items() if before.tensors.get(n, what) != what
        },
    )  # fmt: skip


def _removed(node: Seen, after: Look) -> Removed:
    into = [heir for source in node.sources for heir in after.heirs.get(source, ())]
    where = "" if into else next((after.gone[s] for s in node.sources if s in after.gone), "")
    return Removed(node.name, tuple(dict.fromkeys(into)), where)


def _key(node: ir.Node) -> str:
    serial = node.meta.get(SERIAL)
    return f"#{serial}" if serial is not None else label(node)


def _by_label(look: Look) -> bool:
    """Whether none of its nodes knows which node of the input it was."""
    return not any(key.startswith("#") for key in look.nodes)


def _named(look: Look) -> Look:
    return Look({seen.name: seen for seen in look.nodes.values()}, look.tensors, look.heirs, look.gone)


def _digest(node: ir.Node) -> str:
    form = Form.of(node)
    attributes = sorted(_attribute(attribute) for attribute in form.attributes)
    text = repr(
        (form.kind, form.reads, form.gives, attributes, form.nested, form.channels, rewrites_of(node))
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _attribute(attribute: ir.Attr) -> str:
    kind = attribute.type
    if attribute.is_ref() or kind in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        return f"{attribute.name}: {kind}"
    if kind == ir.AttributeType.TENSOR:
        return f"{attribute.name}: {attribute.value.dtype}{list(attribute.value.shape)}"
    return f"{attribute.name}: {attribute.value}"


def _tensors(model: ir.Model) -> dict[str, str]:
    """What every tensor of the main graph is, such as "float32[8,3,3,3] constant"; "?" for what varies."""
    inferred = _inferred(model)
    found: dict[str, str] = {}
    for value in (*model.graph.initializers.values(), *(v for node in model.graph for v in node.outputs)):
        tensor, info = constant(value), inferred.get(value.name or "")
        if value.name and tensor is not None:
            found[value.name] = f"{_text(tensor.dtype, tensor.shape)} constant"
        elif value.name:
            found[value.name] = (
                _text(value.dtype, value.shape) if info is None else _text(info.dtype, info.dims)
            )
    return found


def _inferred(model: ir.Model) -> Mapping[str, StaticInfo]:
    try:
        return static_shapes(model)
    except Exception:  # a model that a pass left in pieces
        return {}


def _text(dtype: ir.DataType | None, dims: Iterable[object] | None) -> str:
    sizes = "..." if dims is None else ",".join(str(dim) if isinstance(dim, int) else "?" for dim in dims)
    return f"{'?' if dtype is None else dtype.name.lower()}[{sizes}]"
