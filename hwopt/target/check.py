"""Everything that can be wrong with a target.toml, each with the line where it stands.

Loading a target stops at the first problem; `hwopt targets check` shows them all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice, pairwise
from math import prod
from pathlib import Path as FilePath
from typing import Any

from hwopt.errors import BadInput
from hwopt.oracles.options import ORACLE_FACTS, OracleFacts
from hwopt.target.keys import Problem, dotted, shape_problems, shown
from hwopt.target.toml_lines import line_of, lines_of, read_tables, read_text
from hwopt.wording import guess, unknown

SCHEMA_VERSION = 1
MOST_PROBLEMS = 100  # that are told of one file

Table = dict[str, Any]


def parse_target_toml(path: FilePath) -> Table:
    """The tables of a target.toml without a problem.

    Raises BadInput with the first problem and its line.
    """
    text = _read(path)
    table = read_tables(path, text)
    found = next(_problems(table, path.parent), None)
    if found is not None:
        raise BadInput(_lines(path, text, [found])[0])
    return table


def check_target_toml(path: FilePath) -> list[str]:
    """One line per problem of the file, the first MOST_PROBLEMS, in its order; empty where there is none.

    Raises BadInput where there is no file to read.
    """
    text = _read(path)
    try:
        table = read_tables(path, text)
    except BadInput as error:
        return [str(error)]
    return _lines(path, text, list(islice(_problems(table, path.parent), MOST_PROBLEMS)))


def _read(path: FilePath) -> str:
    if not os.path.lexists(path):
        raise BadInput(f"no target.toml in {path.parent}: a target is a folder that holds one")
    return read_text(path, "target")


def _lines(path: FilePath, text: str, found: list[Problem]) -> list[str]:
    lines = lines_of(text) if found else {}
    placed = [(line_of(lines, problem.path), problem.text) for problem in found]
    return [f"{path}:{line}: {sentence}" for line, sentence in sorted(placed, key=lambda item: item[0])]


def _problems(table: Table, folder: FilePath) -> Iterator[Problem]:
    version = table.get("schema_version")
    if isinstance(version, int) and version != SCHEMA_VERSION:
        yield Problem(("schema_version",), f"schema_version is {version}, this hwopt reads {SCHEMA_VERSION}")
        return
    shape = list(islice(shape_problems(table), MOST_PROBLEMS))
    yield from shape
    spoilt = {problem.path[0] for problem in shape if problem.path and problem.spoils}
    for needed, check in _CHECKS.items():
        if not spoilt.intersection(needed) and all(name in table for name in needed):
            yield from check(table, folder)


def _hardware(table: Table, folder: FilePath) -> Iterator[Problem]:
    hardware = table["hardware"]
    array, macs = hardware.get("array", {}), hardware["macs_per_cycle"]
    if array and macs % prod(array.values()):
        yield Problem(
            ("hardware", "array"),
            f"key 'hardware.array' unrolls {' x '.join(map(str, array.values()))} = {prod(array.values())} "
            f"MACs, which does not divide macs_per_cycle = {macs}",
        )
    rate = hardware.get("depthwise_macs_per_cycle", 1)
    if rate > macs:
        yield Problem(
            ("hardware", "depthwise_macs_per_cycle"),
            f"key 'hardware.depthwise_macs_per_cycle' is {rate}: more than macs_per_cycle = {macs}",
        )


def _arena(table: Table, folder: FilePath) -> Iterator[Problem]:
    names = [memory["name"] for memory in table["memory"]]
    arena = table["hardware"].get("arena_memory", names[0])
    if arena not in names:
        yield Problem(
            ("hardware", "arena_memory"), f"key 'hardware.arena_memory': {unknown('memory', arena, names)}"
        )


def _memories(table: Table, folder: FilePath) -> Iterator[Problem]:
    yield from _twice(table["memory"], "memory")
    for index, (inner, outer) in enumerate(pairwise(table["memory"]), 1):
        for key, wrong in (
            ("bytes", outer["bytes"] < inner["bytes"]),
            ("bytes_per_cycle", _faster(inner, outer)),
        ):
            if wrong:
                size = "smaller" if key == "bytes" else "faster"
                yield Problem(
                    ("memory", index, key),
                    f"key 'memory[{index}].{key}' is {outer[key]}: {size} than '{inner['name']}' inside it; "
                    "memories are listed innermost first",
                )


def _faster(inner: Mapping[str, Any], outer: Mapping[str, Any]) -> bool:
    return bool(outer["bytes_per_cycle"] > inner["bytes_per_cycle"])


def _engines(table: Table, folder: FilePath) -> Iterator[Problem]:
    yield from _twice(table["engine"], "engine")
    if table["engine"][0].get("host", False):
        yield Problem(
            ("engine", 0, "host"), "the first [[engine]] is the accelerator: the host stands after it"
        )


def _fusions(table: Table, folder: FilePath) -> Iterator[Problem]:
    run = sorted({op for engine in table["engine"] for op in engine["ops"]})
    for index, fusion in enumerate(table["fusion"]):
        for anchor in fusion["anchors"]:
            if anchor not in run:
                yield Problem(
                    ("fusion", index, "anchors"),
                    f"key 'fusion[{index}].anchors' names '{anchor}', which no engine runs: "
                    f"{guess(anchor, run)}add it to the ops of an [[engine]] or take it out here",
                )


def _twice(items: Iterable[Mapping[str, Any]], kind: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        if item["name"] in seen:
            yield Problem((kind, index, "name"), f"two {kind} tables are named {shown(item['name'])}")
        seen.add(item["name"])


def _oracle(table: Table, folder: FilePath) -> Iterator[Problem]:
    name, given = table["oracle"]["name"], table["oracle"].get("options", {})
    facts = ORACLE_FACTS.get(name)
    if facts is None:
        reason = unknown("oracle", name, sorted(ORACLE_FACTS))
        yield Problem(("oracle", "name"), f"key 'oracle.name': {reason}")
    elif facts.options is not None:
        yield from _option_problems(name, facts, given)


def _option_problems(oracle: str, facts: OracleFacts, given: Mapping[str, object]) -> Iterator[Problem]:
    kinds = facts.options or {}
    place = ("oracle", "options")
    for name, value in given.items():
        if name not in kinds:
            reason = unknown(f"option of {oracle}", name, kinds)
            yield Problem((*place, name), f"key '{dotted((*place, name))}': {reason}")
        elif not isinstance(value, kinds[name]) or (isinstance(value, bool) and bool not in kinds[name]):
            wanted = " or ".join(_WORDS[kind] for kind in kinds[name])
            yield Problem(
                (*place, name), f"key '{dotted((*place, name))}' is {shown(value)}: must be {wanted}"
            )
        elif reason := facts.out_of_bounds(name, value):
            yield Problem((*place, name), f"key '{dotted((*place, name))}' is {shown(value)}: {reason}")
    for name in facts.required:
        if name not in given:
            hint = f": {facts.hints[name]}" if name in facts.hints else ""
            says = f"key '{dotted((*place, name))}' is missing: the oracle {oracle} needs it{hint}"
            yield Problem(place, says)


def _cost_model(table: Table, folder: FilePath) -> Iterator[Problem]:
    name = table["cost_model"]["file"]
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        yield Problem(
            ("cost_model", "file"),
            f"key 'cost_model.file' is {shown(name)}: must be a file inside the target's folder",
        )


_WORDS: Mapping[type, str] = {
    str: "text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}

# By the tables that each one reads: all of them must be sound for it to say anything.
_CHECKS: Mapping[tuple[str, ...], Callable[[Table, FilePath], Iterator[Problem]]] = {
    ("hardware",): _hardware,
    ("hardware", "memory"): _arena,
    ("memory",): _memories,
    ("engine",): _engines,
    ("engine", "fusion"): _fusions,
    ("oracle",): _oracle,
    ("cost_model",): _cost_model,
}
