"""An answer's text and its tokens brought together: TGI shows each token with its text, engines may tell one before the other."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from backends.types import Delta, Finish, JsonObject, TokenLogprob

UNKNOWN = -1
"""The id of a token whose engine does not tell it: TGI's clients want a number, and no token has this one."""


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token, as TGI shows it. logprob None = not told."""

    text: str
    id: int = UNKNOWN
    logprob: float | None = None
    special: bool = False
    top: tuple[tuple[str, float], ...] = ()

    def json(self) -> JsonObject:
        """TGI's Token."""
        return {"id": self.id, "text": self.text, "logprob": self.logprob, "special": self.special}

    def tops(self) -> list[JsonObject]:
        """TGI's list of the likeliest tokens in this place."""
        return [Token(text, self.id if text == self.text else UNKNOWN, logprob).json() for text, logprob in self.top]


class Aligned:
    """The tokens of one answer, each as soon as its text is there; the texts of all, joined, are the answer's text.

    Where tokens do not make up the text (parts of a character), the last of them carries all of it. Text that no token was
    told for is a token of its own, without an id.
    """

    def __init__(self) -> None:
        self._told: deque[TokenLogprob] = deque()
        self._text = ""

    def feed(self, delta: Delta) -> list[Token]:
        """The tokens that this piece completes."""
        self._told += delta.logprobs
        self._text += delta.text
        return self._matched()

    def finish(self, finish: Finish) -> list[Token]:
        """The last tokens, and what TGI shows of an end and engines leave out: the stop sequence, or the end token."""
        self._text += finish.stopped_by or ""
        tokens = self._matched()
        if finish.reason == "length" or finish.stopped_by is not None:
            return tokens + self._rest()
        if not self._text and self._told:
            end = self._told.pop()
            return [*tokens, *self._rest(), _token(end, end.token, special=True)]
        return [*tokens, *self._rest(), Token("", special=True)]

    def _matched(self) -> list[Token]:
        tokens = []
        while self._told and self._text.startswith(self._told[0].token):
            told = self._told.popleft()
            self._text = self._text[len(told.token) :]
            tokens.append(_token(told, told.token))
        waits = bool(self._told) and self._told[0].token.startswith(self._text)
        return tokens if waits else tokens + self._rest()

    def _rest(self) -> list[Token]:
        """All that is left, as far as it goes."""
        told, text = [*self._told], self._text
        self._told.clear()
        self._text = ""
        if not told:
            return [Token(text)] if text else []
        return [*(_token(token, "") for token in told[:-1]), _token(told[-1], text)]


def _token(told: TokenLogprob, text: str, *, special: bool = False) -> Token:
    return Token(text, UNKNOWN if told.id is None else told.id, told.logprob, special, told.top)
