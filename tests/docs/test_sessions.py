"""The page on sessions: every field of a configuration, with the default that it has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pydantic import BaseModel

from proxy.sessions.config import ModelConfig, said_at, whole
from tests.proxy.sessions.world import LAPTOP, chosen

PAGE = Path(__file__).parents[2] / "docs" / "sessions.md"
ROW = re.compile(r"^\| `(?P<path>(?:asr|mt)\.[a-z_.]+)` \| (?P<default>[^|]+) \|", re.MULTILINE)


def fields(group: type[BaseModel], within: str = "") -> list[str]:
    """The paths of all that is no group."""
    found = []
    for name, field in group.model_fields.items():
        below = field.annotation
        if isinstance(below, type) and issubclass(below, BaseModel):
            found += fields(below, f"{within}{name}.")
        else:
            found.append(f"{within}{name}")
    return found


def test_the_page_lists_every_field_with_its_default() -> None:
    listed = {row["path"]: row["default"] for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}
    assert list(listed) == fields(ModelConfig)
    config = chosen().config({}, LAPTOP)
    shown = whole(config, {}).as_json()
    for path, default in listed.items():
        value = said_at(shown, path)
        if default.startswith("absent"):
            assert value is None, path
        elif default.startswith("`"):
            assert default.strip("`") in (json.dumps(value), value), path
        elif default.startswith("empty"):
            assert value == "", path
        else:
            assert re.match("as the model's engine|the door's model", default), path
