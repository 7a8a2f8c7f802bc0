"""A process that judges cases: a line of JSON in, [kind, name, target], a line of JSON out, the row."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from functools import cache

from bench.strange_cases import Open, cases
from bench.strange_run import judge


@cache
def _cases(kind: str) -> dict[str, Open]:
    return dict(cases(kind))


def main() -> None:
    """Answers until the input ends. What native code prints goes where errors go."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        kind, name, target = json.loads(line)
        print(json.dumps(asdict(judge(_cases(kind)[name](), target))), file=answers, flush=True)


if __name__ == "__main__":
    main()
