"""What `inputs` may be, task by task: read strictly, with media set apart as bytes still to be opened.

Pipelines of transformers take a string where media belong as an address or a path, and open it. Nothing that passes here can
be opened: where media belong there is a Media, whose source is decoded from base64 alone; where text belongs no media are read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from backends.errors import Invalid

MAX_ITEMS = 1024
MAX_DEPTH = 32
MAX_CHARACTERS = 1_000_000

Value: TypeAlias = "None | bool | int | float | str | bytes | Sequence[Value] | Mapping[str, Value]"
Kind: TypeAlias = Literal["image", "audio", "video"]
# A value and where it stands ("inputs[2].image") -> what the pipeline takes. Raises Invalid.
Read: TypeAlias = Callable[[Value, str], object]


@dataclass(frozen=True, slots=True)
class Media:
    """A file, not yet opened. source: its bytes, or base64 of them with or without `data:...,` before it; at: where it stood."""

    kind: Kind
    source: bytes | str
    at: str


@dataclass(frozen=True, slots=True)
class Wave:
    """Samples as numbers, not yet looked at. rate: how many a second."""

    samples: Sequence[Value]
    rate: int
    at: str


_BREAKS = {ord("\r"): None, ord("\n"): None}


def content(media: Media) -> bytes:
    """The file's bytes. Raises Invalid for what is no base64: an address or a path is never opened."""
    if isinstance(media.source, bytes):
        return media.source
    head, comma, tail = media.source.partition(",")
    if comma and not (head.startswith("data:") and head.endswith(";base64")):
        raise _not_base64(media)
    try:
        return base64.b64decode((tail if comma else head).translate(_BREAKS), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _not_base64(media) from error


def merged(inputs: Value, files: Mapping[str, Sequence[bytes]]) -> Value:
    """Inputs with the uploads in their places: `file` or `inputs` are the inputs, another name is that field of an object."""
    if not files:
        return inputs
    uploads: dict[str, Value] = {name: parts[0] if len(parts) == 1 else list(parts) for name, parts in files.items()}
    whole = uploads.keys() & {"file", "inputs"}
    if whole:
        if len(uploads) > 1 or inputs is not None:
            raise Invalid("Send either `file` or `inputs`, and nothing beside it but `params`.", param="inputs")
        return uploads[whole.pop()]
    if inputs is not None and not isinstance(inputs, Mapping):
        raise wrong("inputs", "must be an object for the uploads to be its fields")
    both = uploads.keys() & (inputs or {}).keys()
    if both:
        raise wrong(f"inputs.{min(both)}", "was sent twice, as an upload and in `inputs`")
    return {**(inputs or {}), **uploads}


def text(value: Value, at: str) -> object:
    """A string that is not empty."""
    if not isinstance(value, str):
        raise wrong(at, "must be a string")
    if not value:
        raise wrong(at, "is empty")
    return value


def image(value: Value, at: str) -> object:
    """An image."""
    return _media("image", value, at)


def video(value: Value, at: str) -> object:
    """A video."""
    return _media("video", value, at)


def audio(value: Value, at: str) -> object:
    """A sound: a file, or {"array" or "raw": numbers, "sampling_rate": of them a second}."""
    if not isinstance(value, Mapping):
        return _media("audio", value, at)
    samples, rate = value.get("array", value.get("raw")), value.get("sampling_rate")
    if len(value) != 2 or not isinstance(samples, list) or not isinstance(rate, int) or isinstance(rate, bool):
        raise wrong(at, 'must be a file or {"array": numbers, "sampling_rate": whole number}')
    return Wave(samples, rate, at)


def one_or_many(read: Read) -> Read:
    """One, or a list of them."""

    def reader(value: Value, at: str) -> object:
        return many(read)(value, at) if isinstance(value, list) else read(value, at)

    return reader


def many(read: Read, least: int = 1, most: int = MAX_ITEMS) -> Read:
    """A list."""

    def reader(value: Value, at: str) -> object:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise wrong(at, f"must be a list of {least if least == most else f'{least} to {most}'}")
        return [read(item, f"{at}[{number}]") for number, item in enumerate(value)]

    return reader


def fields(needed: Mapping[str, Read], also: Mapping[str, Read] | None = None) -> Read:
    """An object with these fields and no others. also: those that may be left out."""
    known = {**needed, **(also or {})}

    def reader(value: Value, at: str) -> object:
        if not isinstance(value, Mapping):
            raise wrong(at, f"must be an object with {quoted(needed)}")
        for name in value:
            if name not in known:
                raise wrong(f"{at}.{name[:100]}", f"is not supported; leave it out. Known: {quoted(known)}")
        for name in needed:
            if name not in value:
                raise wrong(f"{at}.{name}", "is missing")
        return {name: known[name](item, f"{at}.{name}") for name, item in value.items()}

    return reader


def either(*choices: tuple[Callable[[Value], bool], Read], words: str) -> Read:
    """The first reader whose condition holds. words: what is accepted, for who sent something else."""

    def reader(value: Value, at: str) -> object:
        for fits, read in choices:
            if fits(value):
                return read(value, at)
        raise wrong(at, f"must be {words}")

    return reader


def is_text(value: Value) -> bool:
    """Whether it is a string."""
    return isinstance(value, str)


def is_object(value: Value) -> bool:
    """Whether it is an object."""
    return isinstance(value, Mapping)


def said(value: Value, at: str) -> object:
    """A string, maybe empty."""
    if not isinstance(value, str):
        raise wrong(at, "must be a string")
    return value


def plain(value: Value, at: str) -> object:
    """Anything of JSON's that holds no upload."""
    match value:
        case bytes():
            raise wrong(at, "takes no upload")
        case list():
            return [plain(item, f"{at}[{number}]") for number, item in enumerate(value)]
        case Mapping():
            return {name: plain(item, f"{at}.{name[:100]}") for name, item in value.items()}
        case _:
            return value


def check_depth(value: object, at: str) -> None:
    """Raise Invalid for lists and objects that lie in one another deeper than anything sensible does."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for each in level if isinstance(each, list | Mapping) for item in _inside(each)]
        if not level:
            return
    raise wrong(at, f"is nested more than {MAX_DEPTH} levels deep")


def check_size(read: object) -> None:
    """Raise Invalid for more text than one request may hold."""
    characters = _characters(read)
    if characters > MAX_CHARACTERS:
        raise Invalid(
            f"`inputs` hold {characters} characters, and {MAX_CHARACTERS} are the most; send the rest in requests of their own.",
            param="inputs",
        )


def _characters(read: object) -> int:
    match read:
        case str():
            return len(read)
        case dict():
            return sum(_characters(item) for item in read.values())
        case list() | tuple():
            return sum(map(_characters, read))
        case _:
            return 0


def _media(kind: Kind, value: Value, at: str) -> Media:
    if not isinstance(value, str | bytes):
        raise wrong(at, f"must be {_article(kind)}: its bytes as base64, as a data URL or as an upload")
    return Media(kind, value, at)


def _inside(value: list[object] | Mapping[str, object]) -> Iterable[object]:
    return value.values() if isinstance(value, Mapping) else value


def _article(kind: Kind) -> str:
    return {"image": "an image", "audio": "a sound file", "video": "a video"}[kind]


def quoted(names: Mapping[str, Read] | Sequence[str]) -> str:
    """These names, for a message."""
    return ", ".join(f"`{name}`" for name in names)


def wrong(at: str, reason: str) -> Invalid:
    """The error for what stands at this place. reason: the rest of the sentence, without a full stop."""
    return Invalid(f"`{at}` {reason}.", param=at)


def _not_base64(media: Media) -> Invalid:
    return Invalid(
        f"`{media.at}` is no base64 and no data URL: send the file itself. Addresses and paths are not opened here.",
        param=media.at,
    )
