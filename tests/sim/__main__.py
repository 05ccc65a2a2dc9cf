"""`make sim`: every policy on every trace; with the name of a file, the tables are written into it between their marks."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.sim.tables import render, written
from tests.sim.traces import traces


def main() -> None:
    """Print the tables, or write them."""
    text = render(traces())
    if len(sys.argv) == 1:
        print(text)
        return
    path = Path(sys.argv[1])
    path.write_text(written(path.read_text(encoding="utf-8"), text), encoding="utf-8")


main()
