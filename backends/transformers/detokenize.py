"""Token ids to text, piece by piece, so that the pieces together are exactly the text of all tokens at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

CONTEXT = 6
UNDECODABLE = "\ufffd"


class Detokenizer:
    """The text of an answer's tokens as they come.

    decode: ids to text, special tokens left out, undecodable bytes as U+FFFD. context: the tokens before the answer;
    some tokenizers spell a token by what stands before it (a space or none), so each piece is read off a decoded
    window that starts at an earlier border. A piece never ends inside a character: bytes of an incomplete one wait.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], context: Sequence[int]) -> None:
        self._decode = decode
        self._window = list(context[-CONTEXT:])
        self._border = len(self._window)
        self._given = len(decode(self._window))

    def push(self, token: int) -> str:
        """The text that this token settles; "" for special tokens and for parts of a character."""
        self._window.append(token)
        text = self._decode(self._window)
        settled = text.rstrip(UNDECODABLE)
        piece = settled[self._given :]
        self._given += len(piece)
        if piece and settled == text:
            del self._window[: self._border]
            self._border = len(self._window)
            self._given = len(self._decode(self._window))
        return piece

    def flush(self) -> str:
        """What the last tokens leave: bytes that never became a character, as U+FFFD."""
        piece = self._decode(self._window)[self._given :]
        self._given += len(piece)
        return piece
