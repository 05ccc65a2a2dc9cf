"""Inputs of a shape of their own: conversations, tables, pages of words."""

from __future__ import annotations

from collections.abc import Mapping

from backends.pipelines.inputs import Read, Value, either, fields, is_text, many, plain, quoted, said, text, wrong


def is_chat(value: Value) -> bool:
    """Whether it is a list whose first item is a message."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping) and "role" in value[0]


def is_chats(value: Value) -> bool:
    """Whether it is a list of conversations."""
    return isinstance(value, list) and bool(value) and all(is_chat(item) for item in value)


def chat(parts: Mapping[str, Read] | None = None) -> Read:
    """A conversation: messages with `role` and `content`. parts: kinds of content beside text, by the name of their `type`."""
    known: dict[str, Read] = {"text": fields({"type": said, "text": said})}
    for kind, read in (parts or {}).items():
        known[kind] = _media_part(kind, read)

    def part(value: Value, at: str) -> object:
        kind = value.get("type") if isinstance(value, Mapping) else None
        if not isinstance(kind, str) or kind not in known:
            raise wrong(at, f"must be an object whose `type` is one of {quoted(known)}")
        return known[kind](value, at)

    content = either(
        (is_text, said), (lambda value: isinstance(value, list), many(part)), words="a string or a list of parts"
    )
    message = fields({"role": text, "content": content}, {"name": said, "tool_calls": plain, "tool_call_id": said})
    return many(message)


def table(value: Value, at: str) -> object:
    """A table: its columns by name, each a list of as many strings."""
    if not isinstance(value, Mapping) or not value:
        raise wrong(at, "must be an object of columns")
    columns = {name: many(said)(column, f"{at}.{name[:100]}") for name, column in value.items()}
    if len({len(column) for column in columns.values() if isinstance(column, list)}) > 1:
        raise wrong(at, "has columns of different lengths")
    return columns


def word_boxes(value: Value, at: str) -> object:
    """The words of a page with their places: [word, [x0, y0, x1, y1]], from 0 to 1000."""
    words = many(plain)(value, at)
    assert isinstance(words, list)
    for number, item in enumerate(words):
        if not _is_word_box(item):
            raise wrong(f"{at}[{number}]", "must be [word, [x0, y0, x1, y1]] with numbers from 0 to 1000")
    return [(word, box) for word, box in words]


def message(value: Value, at: str) -> object:
    """What a user says, alone. Returns messages."""
    return [{"role": "user", "content": text(value, at)}]


def past(value: Value, at: str) -> object:
    """A conversation as the hub's API once took it: what was said before, and `text`. Returns messages."""
    known = fields({"text": text}, {"past_user_inputs": many(said, 0), "generated_responses": many(said, 0)})(value, at)
    assert isinstance(known, dict)
    asked, answered = known.get("past_user_inputs", []), known.get("generated_responses", [])
    if len(asked) != len(answered):
        raise wrong(f"{at}.past_user_inputs", "must be as many as `generated_responses`")
    messages = [
        {"role": role, "content": words}
        for pair in zip(asked, answered, strict=True)
        for role, words in zip(("user", "assistant"), pair, strict=True)
    ]
    return [*messages, {"role": "user", "content": known["text"]}]


def _media_part(kind: str, read: Read) -> Read:
    """{"type": kind, and the media under the name of its kind, or `url`, `base64` or `data`}."""
    names = (kind, "url", "base64", "data")

    def reader(value: Value, at: str) -> object:
        assert isinstance(value, Mapping)
        here = [name for name in value if name != "type"]
        if len(here) != 1 or here[0] not in names:
            raise wrong(at, f"must hold its {kind} under one of {quoted(names)}, and nothing else")
        return {"type": kind, kind: read(value[here[0]], f"{at}.{here[0]}")}

    return reader


def _is_word_box(item: object) -> bool:
    match item:
        case [str(), [*corners]]:
            return len(corners) == 4 and all(
                isinstance(corner, int | float) and not isinstance(corner, bool) and 0 <= corner <= 1000
                for corner in corners
            )
    return False
