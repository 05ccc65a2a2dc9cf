"""Conversations for models that come without a chat template, as models of their kind were trained to read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol, TypeAlias

Style: TypeAlias = Literal["turns", "ended", "named"]

_NAMES = {"assistant": "Assistant", "user": "User", "system": "System", "developer": "System"}
# What a model writes where it goes on with the part of the other side.
STOPS: Mapping[Style, tuple[str, ...]] = {"turns": (), "ended": (), "named": ("\n\nUser:", "\nUser:")}


class Config(Protocol):
    """What is used of a model's config."""

    is_encoder_decoder: bool
    task_specific_params: object


def style_of(config: Config) -> Style:
    """turns: side by side, as BlenderBot's (encoder-decoder models); ended: each ended by the end of text, as DialoGPT's
    (models whose config speaks of conversations); named: each under the name of who speaks, which any other model can go on with.
    """
    if config.is_encoder_decoder:
        return "turns"
    told = getattr(config, "task_specific_params", None)
    return "ended" if isinstance(told, dict) and "conversational" in told else "named"


def write(messages: Iterable[tuple[str, str]], style: Style, end: str) -> str:
    r"""The conversation up to where the assistant speaks. messages: role and text; end: the model's end of text.

    >>> write([("user", "Hi."), ("assistant", "Hello."), ("user", "Who?")], "named", "")
    'User:\nHi.\n\nAssistant:\nHello.\n\nUser:\nWho?\n\nAssistant:\n'
    """
    match style:
        case "turns":
            return "  ".join(text for _, text in messages)
        case "ended":
            return "".join(f"{text}{end}" for _, text in messages)
        case "named":
            told = "".join(f"{_NAMES.get(role, role.title())}:\n{text}\n\n" for role, text in messages)
            return f"{told}Assistant:\n"
