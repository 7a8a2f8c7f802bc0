"""A process that judges cases: a line in, [kind, name, target, pictures], a line out, the row; both JSON."""

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
        kind, name, target, pictures = json.loads(line)
        row = judge(_cases(kind)[name](), target, pictures)
        print(json.dumps(asdict(row)), file=answers, flush=True)


if __name__ == "__main__":
    main()
