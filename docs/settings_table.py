"""Write the settings table into a Markdown file, between its two marks."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from proxy.settings_docs import markdown_table

BEGIN, END = "<!-- settings:begin -->\n", "<!-- settings:end -->\n"


def main() -> None:
    """Rewrite the file named on the command line."""
    path = Path(sys.argv[1])
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(before + BEGIN + markdown_table() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
