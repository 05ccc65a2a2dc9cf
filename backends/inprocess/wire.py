"""Our own values as bytes between a worker process and the proxy: JSON for shapes, raw bytes for audio, nothing that runs."""

from __future__ import annotations

import inspect
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TypeAlias, cast

from backends import base, errors, types
from backends.errors import BackendError
from backends.types import Json

# A number for each exchange, what the message means in it, and what it carries (towards the worker: packed by itself).
Message: TypeAlias = tuple[int, str, object]

CLASSES = {
    name: kind
    for module in (base, types)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and is_dataclass(kind)
}
ERRORS = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, BackendError)
}
COUNTS = struct.Struct(">QI")


def pack(value: object) -> bytes:
    """value as bytes. Raises TypeError for anything but plain values, our dataclasses and our errors."""
    blobs: list[bytes] = []
    text = json.dumps(_flat(value, blobs)).encode()
    lengths = struct.pack(f">{len(blobs)}Q", *map(len, blobs))
    return b"".join([COUNTS.pack(len(text), len(blobs)), lengths, text, *blobs])


def unpack(data: bytes) -> object:
    """The value that pack made data of."""
    size, count = COUNTS.unpack_from(data)
    lengths = struct.unpack_from(f">{count}Q", data, COUNTS.size)
    start = COUNTS.size + 8 * count
    text = data[start : start + size]
    blobs = []
    at = start + size
    for length in lengths:
        blobs.append(data[at : at + length])
        at += length
    return _full(json.loads(text), blobs)


def _flat(value: object, blobs: list[bytes]) -> Json:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        blobs.append(value)
        return {"bytes": len(blobs) - 1}
    if isinstance(value, list):
        return [_flat(item, blobs) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_flat(item, blobs) for item in value]}
    if isinstance(value, Mapping):
        return {"map": [[_flat(key, blobs), _flat(item, blobs)] for key, item in value.items()]}
    if isinstance(value, Path):
        return {"path": str(value)}
    name, attributes = _shape(type(value))
    return {name: {attribute: _flat(getattr(value, attribute), blobs) for attribute in attributes}}


def _shape(kind: type) -> tuple[str, list[str]]:
    """Name and attributes of one of our dataclasses or errors; an error of a backend's own goes as the word it is a kind of."""
    for name in (each.__name__ for each in kind.__mro__):
        if CLASSES.get(name) is kind:
            return name, [field.name for field in fields(CLASSES[name])]
        if name in ERRORS and issubclass(kind, ERRORS[name]):
            return name, list(inspect.signature(ERRORS[name]).parameters)
    raise TypeError(f"{kind} does not go between processes")


def _full(flat: Json, blobs: list[bytes]) -> object:
    if isinstance(flat, list):
        return [_full(item, blobs) for item in flat]
    if not isinstance(flat, dict):
        return flat
    ((kind, inside),) = flat.items()
    if kind == "bytes":
        return blobs[cast("int", inside)]
    if kind == "path":
        return Path(cast("str", inside))
    if kind == "tuple":
        return tuple(_full(item, blobs) for item in cast("list[Json]", inside))
    if kind == "map":
        return {_full(key, blobs): _full(item, blobs) for key, item in cast("list[tuple[Json, Json]]", inside)}
    arguments = {name: _full(item, blobs) for name, item in cast("dict[str, Json]", inside).items()}
    make = cast("Callable[..., object]", CLASSES.get(kind) or ERRORS[kind])
    return make(**arguments)
