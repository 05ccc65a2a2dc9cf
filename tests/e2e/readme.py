"""What the README tells a newcomer to type, and what it says comes back."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PORT = "8080"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str = "") -> list[str]:
    """The README's code blocks of a language ("" = none named)."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [body.strip() for kind, body in _BLOCK.findall(text) if kind == language]


def curl_lines() -> list[tuple[str, str]]:
    """Each curl line and the answer printed under it."""
    plain = blocks()
    return [(line, plain[at + 1]) for at, line in enumerate(plain) if line.startswith("curl")]


def at_port(text: str, port: int) -> str:
    """The same for a server on another port."""
    return text.replace(f"127.0.0.1:{PORT}", f"127.0.0.1:{port}")
