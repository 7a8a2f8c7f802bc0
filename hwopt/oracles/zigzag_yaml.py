"""Yaml files read together with the line on which every key and item stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwopt.errors import BadInput
from hwopt.files.untrusted import read_bytes
from hwopt.wording import said

Keys = tuple[str | int, ...]
LARGEST_FILE = 1_000_000  # bytes
_MOST_NODES = 100_000


@dataclass(frozen=True)
class Source:
    """A description and where it was read: `data` is what the file holds, `lines` says where.

    name: of the file, as messages call it. text: the file as it is, "" for what was generated.
    """

    name: str
    data: Any
    lines: Mapping[Keys, int]
    text: str = ""

    def refuse(self, keys: Keys, says: str) -> BadInput:
        """The error for what stands under these keys: one line with file and line."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        line = self.lines.get(keys)
        return BadInput(f"{self.name}{'' if line is None else f':{line}'}: {says}")


def read_yaml(path: Path, twice: bool = False) -> Source:
    """The file's data with lines counted from 1.

    twice: a key may be given twice, as in some of ZigZag's own files: yaml keeps the last one
    without a word. Raises BadInput where it is no yaml, and where a key is given twice otherwise.
    """
    import yaml  # type: ignore[import-untyped]  # comes with zigzag-dse, not with hwopt

    data = read_bytes(path, "yaml file", LARGEST_FILE)
    try:
        text = data.decode("utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if not _few(root):
            raise BadInput(f"{path}: its aliases unfold to more than {_MOST_NODES} values")
        loaded = yaml.safe_load(text)
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not valid yaml: it is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        at = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise BadInput(f"{path}{at}: not valid yaml: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise BadInput(f"{path}: not valid yaml: {said(error)}") from None
    source = Source(str(path), loaded, {}, text)
    lines: dict[Keys, int] = {}
    for keys, line in _lines(root, ()):
        if keys in lines and not twice:
            raise BadInput(f"{path}:{line}: '{keys[-1]}' is given twice, first on line {lines[keys]}")
        lines[keys] = line
    return Source(source.name, loaded, lines, text)


def _few(root: Any) -> bool:
    """Whether it has at most so many values with every alias written out: a few can stand for billions."""
    left, waiting = _MOST_NODES, [root]
    while waiting and left >= 0:
        node = waiting.pop()
        left -= 1
        if getattr(node, "id", "") == "mapping":
            waiting += [item for pair in node.value for item in pair]
        elif getattr(node, "id", "") == "sequence":
            waiting += node.value
    return left >= 0


def _lines(node: Any, keys: Keys) -> Iterator[tuple[Keys, int]]:
    """Every path into the document with its line; what an alias repeats is left out."""
    children: list[tuple[str | int, Any, Any]] = []
    if getattr(node, "id", "") == "mapping":
        children = [(str(key.value), key, value) for key, value in node.value]
    elif getattr(node, "id", "") == "sequence":
        children = [(index, item, item) for index, item in enumerate(node.value)]
    for key, at, value in children:
        path = (*keys, key)
        yield path, at.start_mark.line + 1
        if value.start_mark.index > node.start_mark.index:  # an alias points backwards: no endless walk
            yield from _lines(value, path)
