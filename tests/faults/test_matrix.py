"""The table of faults: a test for each line, and a page that tells what the table tells."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.matrix import ROWS, page

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "faults.md"


def test_each_line_has_its_test_and_each_test_its_line() -> None:
    found = [
        name.upper()
        for file in sorted(HERE.glob("test_*.py"))
        for name in re.findall(r"^async def test_([ec]\d\d)_", file.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert sorted(found) == sorted(ROWS)


def test_the_page_is_made_of_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.faults.matrix > docs/faults.md"
