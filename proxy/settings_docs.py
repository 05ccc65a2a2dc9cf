"""The settings class, written out for people: `.env.example` and the README's table. Tests hold both to it."""

from __future__ import annotations

import inspect
import re

from pydantic.fields import FieldInfo

from proxy.settings import Settings, variables

_GROUP = re.compile(r"^    # (?P<title>.+)$|^    (?P<field>\w+): ", re.MULTILINE)


def groups() -> dict[str, list[str]]:
    """Group title -> field names, in the order in which the class lists them under its comments."""
    found: dict[str, list[str]] = {}
    title = ""
    for match in _GROUP.finditer(inspect.getsource(Settings)):
        if match["title"]:
            title = match["title"]
        elif match["field"] in Settings.model_fields:
            found.setdefault(title, []).append(match["field"])
    return found


def env_example() -> str:
    """`.env.example`: every variable, commented out, with its sentence and its default."""
    lines = ["# Every setting with its default. Copy to .env and uncomment what you change."]
    for title, names in groups().items():
        lines += ["", f"# --- {title} ---"]
        for name in names:
            field = Settings.model_fields[name]
            lines += ["", f"# {field.description}", f"# {variables()[name]}={_default(field)}"]
    return "\n".join(lines) + "\n"


def markdown_table() -> str:
    """The README's table."""
    lines = ["| variable | default | what |", "|---|---|---|"]
    for names in groups().values():
        for name in names:
            field = Settings.model_fields[name]
            default = _default(field)
            lines.append(f"| `{variables()[name]}` | {f'`{default}`' if default else ''} | {field.description} |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "~/.local/share/switchboard"
    value = field.default
    if value is None or value == {}:
        return ""
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
