"""The faults: what is done, what is to happen, and what the tests have seen. docs/faults.md is made of this.

usage: python -m tests.faults.matrix > docs/faults.md
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

SEED = 20261121
TABLE = Path(__file__).with_name("matrix.toml")
PARTS = {"E": "Engines", "C": "Clients"}


class Row(NamedTuple):
    """One fault. seen: what its test's ledger says at the end, with the seed SEED."""

    name: str
    fault: str
    expected: str
    seen: str


def _rows() -> dict[str, Row]:
    return {name: Row(name, **row) for name, row in tomllib.loads(TABLE.read_text(encoding="utf-8")).items()}


ROWS = _rows()


def page() -> str:
    """docs/faults.md."""
    parts = [PREFACE]
    for letter, title in PARTS.items():
        rows = "".join(
            f"| {row.name} | {row.fault} | {row.expected} | {row.seen} |\n"
            for row in ROWS.values()
            if row.name.startswith(letter)
        )
        parts.append(f"## {title}\n\n| | fault | expected | seen |\n|---|---|---|---|\n{rows}")
    return "\n".join(parts)


PREFACE = f"""# Faults

What happens when engines and clients fail. Each line is a test in `tests/faults/`, named after it, which does the damage to real
sockets and holds what it saw to this table: `make test-faults` (a seed of its own: `FAULTS_SEED=7 make test-faults`; this page
was made with {SEED}).

Engines are scripted: what one says is a function of the seed and the request, so that a byte lost, doubled or out of order is
seen. Every request is entered in a ledger, and must have ended in one of these ways; none may be left:

| ending | |
|---|---|
| whole | the answer, byte for byte as the engine says it |
| status N | an error answer in the words of the dialect |
| told in the stream | whole events as far as they came, then an error event, then the end |
| cut off | a prefix of the answer whose framing says that there was more: for bodies that have no words for errors |
| client left | the client went away by itself |

No request is executed twice, and when a test ends nothing is in flight, and no task and no connection is left.

The same with real engines: `make test-engines` has two vLLM serve one model and kills one of them under twenty streams
(`tests/engines/test_vllm_of_two_dies.py`): the other's streams are whole, the dead one's end in an error event, and new requests
go on.
"""


if __name__ == "__main__":
    print(page(), end="")
