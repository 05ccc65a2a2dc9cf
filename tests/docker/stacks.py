"""Reads the compose files as `docker compose` does, as far as the tests need it: variables filled in, services by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import yaml

import backends

ROOT = Path(backends.__file__).parents[1]
STACKS = sorted((ROOT / "compose").glob("*.yaml"))
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<sign>[-?])(?P<rest>[^}]*))?\}")

Yaml: TypeAlias = "dict[str, Yaml] | list[Yaml] | str | int | float | bool | None"
Table: TypeAlias = "dict[str, Yaml]"


class MissingVariable(Exception):
    """A variable that the file demands (`${NAME:?why}`) is not set; the message is the file's."""


def filled(text: str, variables: Mapping[str, str]) -> str:
    """The text with `${NAME}`, `${NAME:-default}` and `${NAME:?message}` replaced. Raises MissingVariable."""

    def value(match: re.Match[str]) -> str:
        found = variables.get(match["name"], "")
        if not found and match["sign"] == "?":
            raise MissingVariable(f"{match['name']}: {match['rest']}")
        return found or (match["rest"] if match["sign"] == "-" else "")

    return VARIABLE.sub(value, text)


def table(value: Yaml) -> Table:
    """A mapping of the file; nothing counts as an empty one."""
    assert value is None or isinstance(value, dict), value
    return value or {}


def strings(value: Yaml) -> list[str]:
    """A list of strings; nothing counts as an empty one."""
    assert value is None or isinstance(value, list), value
    return [cast("str", item) for item in value or []]


@dataclass(frozen=True)
class Service:
    """One service of a stack."""

    stack: Path
    name: str
    table: Table

    @property
    def dockerfile(self) -> Path | None:
        """The Dockerfile that its image is built from, if it is built here."""
        build = self.table.get("build")
        if isinstance(build, str):
            return (self.stack.parent / build / "Dockerfile").resolve()
        if isinstance(build, dict):
            return (self.stack.parent / str(build["context"]) / str(build["dockerfile"])).resolve()
        return None

    @property
    def is_proxy(self) -> bool:
        """Whether it is this project's proxy."""
        return self.dockerfile == ROOT / "docker" / "proxy" / "Dockerfile"

    @property
    def environment(self) -> dict[str, str]:
        """What the stack itself sets; variables that are only passed on are left out."""
        return {name: str(value) for name, value in table(self.table.get("environment")).items() if value is not None}

    def host_path(self, path: str) -> Path:
        """Where a path inside the container lies in the repository."""
        mounts = [mount.split(":") for mount in strings(self.table.get("volumes"))]
        for source, target, *_ in mounts:
            if source.startswith(".") and path.startswith(target):
                return (self.stack.parent / source).resolve() / path[len(target) :].lstrip("/")
        return ROOT / path.removeprefix("/app/")


def document(stack: Path, variables: Mapping[str, str]) -> Table:
    """A stack with its variables filled in. Raises MissingVariable."""
    return table(yaml.safe_load(filled(stack.read_text(encoding="utf-8"), variables)))


def services(stack: Path, variables: Mapping[str, str]) -> list[Service]:
    """The services of a stack, those of profiles included."""
    return [Service(stack, name, table(item)) for name, item in table(document(stack, variables)["services"]).items()]
