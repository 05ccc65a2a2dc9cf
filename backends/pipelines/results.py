"""What pipelines return, as JSON: tensors and arrays as lists, images as base64 of PNG, what is no number as null."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Set
from enum import Enum

import numpy as np
import orjson
import torch

from backends.errors import Invalid
from backends.types import Json

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


MAX_NUMBERS = 32_000_000


def to_json(result: object) -> bytes:
    """The result as JSON. Raises TypeError for what JSON cannot hold, Invalid for more numbers than one answer may have.

    NaN and infinities are null; characters that no text has (lone surrogates) are U+FFFD; bytes are base64.
    """
    if (numbers := _numbers(result)) > MAX_NUMBERS:
        raise Invalid(
            f"The result has {numbers} numbers, and {MAX_NUMBERS} are the most; send less at once.", param="inputs"
        )
    try:
        return orjson.dumps(result, default=_simpler, option=_OPTIONS)
    except TypeError:  # whole numbers beyond 64 bits, lone surrogates, depth: all of which JSON can hold
        return json.dumps(_plain(result), allow_nan=False, ensure_ascii=False).encode()


def _numbers(value: object) -> int:
    """How many numbers the tensors and arrays in it hold."""
    match value:
        case torch.Tensor():
            return int(value.numel())
        case np.ndarray():
            return value.size
        case dict():
            return sum(map(_numbers, value.values()))
        case list() | tuple():
            return sum(map(_numbers, value))
        case _:
            return 0


def _simpler(value: object) -> object:
    """One step towards what JSON holds."""
    if isinstance(value, torch.Tensor):
        dense = value.detach().to_dense() if value.is_sparse else value.detach()
        return _array((dense.float() if dense.dtype == torch.bfloat16 else dense).cpu().numpy())
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set | tuple):
        return list(value)
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if _is_image(value):
        return _png(value)
    if isinstance(messages := getattr(value, "messages", None), list):  # transformers' Chat
        return messages
    raise TypeError(f"{type(value).__name__} is nothing that JSON holds")


def _array(array: np.ndarray) -> object:
    if array.dtype.kind not in "biuf":
        raise TypeError(f"an array of {array.dtype} is nothing that JSON holds")
    native = array.dtype.itemsize <= 8 and array.ndim and array.dtype.isnative
    return np.ascontiguousarray(array) if native else array.tolist()


def _plain(value: object) -> Json:
    match value:
        case None | bool():
            return value
        case Enum():
            return _plain(value.value)
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else None
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {_key(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case np.ndarray():
            return _plain(value.tolist())
        case _:
            return _plain(_simpler(value))


def _key(key: object) -> str:
    match _plain(key):
        case str(name):
            return name
        case None | bool() | int() | float() as name:
            return json.dumps(name)
        case _:
            raise TypeError("a key of an object is no text")


def _is_image(value: object) -> bool:
    return type(value).__module__.startswith("PIL.")


def _png(image: object) -> str:
    from PIL.Image import Image  # noqa: PLC0415  # not everywhere installed

    assert isinstance(image, Image)
    file = io.BytesIO()
    (image if image.mode in {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"} else image.convert("RGB")).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
