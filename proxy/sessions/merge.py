"""JSON Merge Patch (RFC 7396): how a change is laid over what a session says."""

from __future__ import annotations

from collections.abc import Mapping

from backends.types import Json, JsonObject


def merged(document: Mapping[str, Json], patch: Mapping[str, Json]) -> JsonObject:
    """The document with the patch laid over it, group by group; null takes a member away. Neither is changed.

    >>> merged({"asr": {"task": "translate", "language": "de"}}, {"asr": {"language": None}})
    {'asr': {'task': 'translate'}}
    """
    result = dict(document)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            below = result.get(name)
            result[name] = merged(below if isinstance(below, dict) else {}, value)
        else:
            result[name] = value
    return result
