"""Which operators the shipped targets price, and why not the others: the table of docs/operators.md.

    python -m bench.operators > docs/operators.md

Each row is one operator inside a small network (tests/operators.py), cut as every model is.
"""

from __future__ import annotations

from hwopt.partition import Partition, partition
from hwopt.registry import all_targets
from hwopt.target import Target
from tests.operators import CASES, model, shapes

INTRODUCTION = """# Operators

What each shipped target says of each operator. **priced**: its cost model has a price for it (with
the kinds of operator groups that it is cut into). A number refers to the reasons below: the operator
has no price there, a report lists it under `unpriced` with that reason, and it counts as work that is
left to the host; it is never counted as zero. Shapes and attributes decide too: the rows are examples
of either side. For the Ethos-U targets the limits are those of the Vela compiler, checked against it
by `tests/oracles/test_coverage.py`; an operator that Vela runs inside its neighbours (a concat, most
slices) is priced at what that costs, which may be nothing.

Lowered to what the hardware has: LayerNormalization and InstanceNormalization to means, products and
a reciprocal root; BatchNormalization that stands alone to a product and a sum; Gelu, SiLU and hard
swish written out to one look-up (SiLU: a look-up and a product); channel shuffles to one transposition;
the mean over channels to that of a matrix's rows; a bias behind a MatMul to a bias.

Regenerate with `python -m bench.operators > docs/operators.md`.
"""


def _reasons(found: Partition) -> list[str]:
    return list(dict.fromkeys(group.reason for group in found.unpriced))


def _general(reason: str, target: Target) -> str:
    """The reason without names of values and of the target."""
    return reason.replace(target.name, "the target")


def _cell(name: str, target: Target, numbers: dict[str, int]) -> str:
    found = partition(model(name), shapes(name), target)
    reasons = [_general(reason, target) for reason in _reasons(found)]
    if not reasons:
        kinds = dict.fromkeys(group.kind for group in found.subgraphs)
        return f"priced ({', '.join(kinds)})"
    return "unpriced: " + ", ".join(str(numbers.setdefault(reason, len(numbers) + 1)) for reason in reasons)


def main() -> None:
    """Prints the page."""
    targets, numbers = all_targets(), dict[str, int]()
    print(INTRODUCTION)
    print("| operator | " + " | ".join(target.name for target in targets) + " |")
    print("|---" * (len(targets) + 1) + "|")
    for name in CASES:
        print(f"| {name} | " + " | ".join(_cell(name, target, numbers) for target in targets) + " |")
    print("\nReasons:\n")
    for reason, number in numbers.items():
        print(f"{number}. {reason}")


if __name__ == "__main__":
    main()
