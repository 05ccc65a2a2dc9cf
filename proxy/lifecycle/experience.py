"""What past loads taught: how long a model takes to load and how much memory it holds, kept in a small file."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

MOST = 500
WEIGHT = 0.5
"""Of the latest load in what is expected of the next one."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a load is expected to take. None = not known yet."""

    seconds: float | None = None
    memory_mb: float | None = None


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    seconds: float | None = Field(None, ge=0)
    memory_mb: float | None = Field(None, ge=0)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    loads: dict[str, _Entry] = {}


class Experience:
    """Costs by the name of what was loaded, the most recent ones. Plain: reading and writing are for a thread."""

    def __init__(self) -> None:
        self._costs: dict[str, Cost] = {}

    def expected(self, name: str) -> Cost:
        """What is known of a load of this name."""
        return self._costs.get(name, Cost())

    def learn(self, name: str, cost: Cost) -> None:
        """A load cost so much; None = not measured this time."""
        before = self._costs.pop(name, Cost())
        self._costs[name] = Cost(_blend(before.seconds, cost.seconds), cost.memory_mb or before.memory_mb)
        while len(self._costs) > MOST:
            del self._costs[next(iter(self._costs))]

    def dump(self) -> bytes:
        """All of it."""
        return orjson.dumps({"loads": {name: asdict(cost) for name, cost in self._costs.items()}})

    def restore(self, data: bytes) -> None:
        """Take over what dump() gave. Raises ValueError for anything else."""
        try:
            file = _File.model_validate_json(data)
        except ValidationError as error:
            raise ValueError("it is not what was written") from error
        # What was learned since the start is newer.
        old = {name: Cost(entry.seconds, entry.memory_mb) for name, entry in file.loads.items()}
        self._costs = {**old, **self._costs}


def read(path: Path) -> bytes | None:
    """The file's bytes; None where there is none. Blocks."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write(path: Path, data: bytes) -> None:
    """Replace the file whole: who reads it sees the old or the new. Blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    partial.replace(path)


def _blend(before: float | None, latest: float | None) -> float | None:
    if before is None or latest is None:
        return before if latest is None else latest
    return WEIGHT * latest + (1 - WEIGHT) * before
