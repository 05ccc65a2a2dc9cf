"""Reading figures from Prometheus' text format: those that are asked for by name, and no others."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from backends.base import Timeouts
from backends.errors import Broken
from backends.remote.client import RemoteClient

PATH = "/metrics"
SOON = Timeouts(connect=2.0, first_byte=3.0, idle=3.0)
MAX_TEXT = 4 * 1024 * 1024

_LONGEST = 100  # a value and its time, in characters
_LABEL = re.compile(rb'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_LABELS = re.compile(rb'\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\}')


async def metrics_text(client: RemoteClient) -> bytes:
    """What the engine tells at /metrics. Raises BackendError: nothing within seconds, or more than 4 MiB."""
    async with client.request("GET", PATH, timeouts=SOON) as response:
        return await response.read(MAX_TEXT)


def samples(text: bytes, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
    """The labels and values of a metric, in order; values that are no numbers are left out.

    >>> list(samples(b'# TYPE up gauge\\nup{job="a"} 1.0\\nups 2\\n', "up"))
    [({'job': 'a'}, 1.0)]
    """
    sought, at = name.encode(), 0
    while (at := text.find(sought, at)) >= 0:
        start, at = at, at + len(sought)
        if start and text[start - 1 : start] != b"\n":
            continue
        labels = _LABELS.match(text, at)
        end = labels.end() if labels else at
        if text[end : end + 1] not in (b" ", b"\t"):
            continue
        value = _number(text[end : end + _LONGEST].partition(b"\n")[0])
        if value is not None:
            yield _read(labels[0]) if labels else {}, value


def total(text: bytes, *names: str) -> float | None:
    """The sum of a metric over its label sets, under the first of these names that is there; None when none is."""
    for name in names:
        values = [value for _, value in samples(text, name)]
        if values:
            return sum(values)
    return None


def told(figure: float | None, engine: str) -> float:
    """The figure. Raises Broken when it is not there."""
    if figure is None:
        raise Broken(f"Engine {engine!r} does not tell at {PATH} how many requests it has.")
    return max(0.0, figure)


def _read(labels: bytes) -> dict[str, str]:
    return {name.decode(): value.decode("utf-8", "replace") for name, value in _LABEL.findall(labels)}


def _number(text: bytes) -> float | None:
    try:
        value = float(text.split()[0])
    except (ValueError, IndexError):
        return None
    return value if math.isfinite(value) else None
