"""What the double of TGI says: scripted words as tokens, cut where TGI cuts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from backends.types import Json, JsonObject
from tests.engines.tgi_validation import Generate

Script: TypeAlias = Callable[[str, int | None], Sequence[str]]
"""A prompt and a seed -> words."""


def heard(prompt: str, seed: int | None) -> list[str]:
    """The double's words unless told otherwise: those of the prompt's last line, and the seed if there is one."""
    words = re.findall(r"\s*\S+", prompt.rpartition("\n")[2].partition(": ")[2] or prompt)
    return [
        "I",
        " heard:",
        *(word if word[0].isspace() else f" {word}" for word in words),
        *([f" #{seed}"] if seed else []),
    ]


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token; finish: the reason, on the last one."""

    text: str
    number: int
    special: bool = False
    finish: str | None = None

    def wire(self) -> JsonObject:
        """As TGI shows it."""
        return {"id": 100 + self.number, "text": self.text, "logprob": -0.125 * self.number, "special": self.special}

    def tops(self, count: int) -> list[Json]:
        """It and the next likely ones, as many as that together."""
        other: list[Json] = [
            {"id": rank, "text": f"~{rank}", "logprob": -0.125 * self.number - rank, "special": False}
            for rank in range(1, count)
        ]
        return [self.wire(), *other] if count else []


def generated(script: Script, request: Generate) -> list[Token]:
    """The script's tokens until one of TGI's three ends: the limit, looked at first, the end token, a stop sequence."""
    tokens: list[Token] = []
    text = ""
    for number, word in enumerate([*script(request.inputs, request.seed), None], start=1):
        text += word or ""
        reason = "eos_token" if word is None else None
        if any(text.endswith(stop) for stop in request.stop):
            reason = reason or "stop_sequence"
        if number == request.max_new_tokens:
            reason = "length"
        tokens.append(Token(word or "</s>", number, special=word is None, finish=reason))
        if reason:
            break
    return tokens


def text_of(tokens: Sequence[Token]) -> str:
    """What they say."""
    return "".join(token.text for token in tokens if not token.special)
