"""The contract as it was printed, taken apart: its clients, and an example for each section."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

# JSON, as the contract shows it.
Body: TypeAlias = dict[str, Any]

TEXT = (Path(__file__).parent / "document" / "model-registry.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Section:
    """One endpoint: its example call, the body of that call, and its answer; empty where none is shown."""

    title: str
    method: str
    path: str
    body: Body
    answer: Body


def blocks(text: str, language: str) -> list[str]:
    """The fenced code of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def client(language: str) -> str:
    """The printed client."""
    (code,) = blocks(TEXT.partition("## SDK Examples")[2].partition("## Troubleshooting")[0], language)
    return code


def sections() -> dict[str, Section]:
    """Number -> section, for 1.1 to 3.5."""
    reference = TEXT.partition("## API Endpoints Reference")[2].partition("## Supported Model Types")[0]
    parts = re.split(r"^#### (\d\.\d) ", reference, flags=re.MULTILINE)[1:]
    return {number: _section(part) for number, part in zip(parts[::2], parts[1::2], strict=True)}


def errors() -> dict[str, Body]:
    """Title -> body, for the example errors."""
    part = TEXT.partition("### Example Error Responses")[2].partition("## Rate Limiting")[0]
    return {
        title: json.loads(body) for title, body in re.findall(r"\*\*(.+?):\*\*\s+```json\n(.*?)```", part, re.DOTALL)
    }


def commands() -> list[str]:
    """Every curl command of the document."""
    code = "\n".join(blocks(TEXT, "bash")).replace("\\\n", " ")
    return re.findall(r"^curl (?:[^'\n]|'[^']*')*", code, re.MULTILINE)


def _section(part: str) -> Section:
    title = part.splitlines()[0]
    ((method, path),) = re.findall(r"\*\*(GET|POST|PUT|DELETE)\*\* `(.+?)`", part)
    command = blocks(part, "bash")[0]
    sent = re.search(r"-d '(.*?)'", command, re.DOTALL)
    told = part.partition("**Example Response:**")[2]
    answer = json.loads(blocks(told, "json")[0]) if told else {}
    return Section(title, method, path, json.loads(sent[1]) if sent else {}, answer)
