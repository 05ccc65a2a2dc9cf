"""Error messages point at the right line."""

from __future__ import annotations

import pytest

from proxy.registry.toml_lines import Location, line_of

TEXT = """\
# engines
[[engines]]
name = "a"
url = "http://a"

[engines.timeouts]
connect = 1

[[engines]]
"name" = "b"
timeouts.idle = 3
urls = [
  "http://b",
]

[defaults]
text = "x"
"""


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (("engines", 0), 2),
        (("engines", 0, "url"), 4),
        (("engines", 0, "timeouts", "connect"), 7),
        (("engines", 0, "timeouts", "idle"), 6),
        (("engines", 1, "name"), 10),
        (("engines", 1, "timeouts", "idle"), 11),
        (("engines", 1, "urls", 0), 12),
        (("engines", 1, "kind"), 9),
        (("defaults", "text"), 17),
        (("nowhere",), 1),
        ((), 1),
    ],
)
def test_line_of(where: Location, line: int) -> None:
    assert line_of(TEXT, where) == line
