"""One answer in the making: each row of logits becomes a token, its text, and sooner or later an end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from torch import Tensor

from backends.transformers.detokenize import Detokenizer
from backends.transformers.logprobs import token_logprob
from backends.transformers.sampling import Sampler
from backends.transformers.stopping import StopStrings
from backends.types import Delta, Event, Finish, FinishReason, TokenLogprob


class Choice:
    """Choice number `index` of a request. ends: ids of the tokens that end an answer; budget: tokens it may have.

    top_logprobs: None = no logprobs. A token's logprob goes out with the first of its text, so that the logprobs a
    caller gets are those of the text it gets: no end token, nothing of a stop string.
    """

    def __init__(
        self,
        index: int,
        *,
        sampler: Sampler,
        detokenizer: Detokenizer,
        stops: StopStrings,
        ends: Collection[int],
        budget: int,
        top_logprobs: int | None,
        spell: Callable[[int], str],
    ) -> None:
        self._index = index
        self.last = -1
        self.done = False
        self._sampler = sampler
        self._detokenizer = detokenizer
        self._stops = stops
        self._ends = ends
        self._left = budget
        self._top = top_logprobs
        self._spell = spell
        self._decoded = self._given = 0
        self._waiting: deque[tuple[int, TokenLogprob]] = deque()

    def advance(self, logits: Tensor) -> list[Event]:
        """Take the next token from its logits, float32 [vocabulary]. Raises Broken when they are no numbers."""
        token = self.last = self._sampler.pick(logits)
        self._left -= 1
        if token in self._ends:
            return self._finish("stop")
        if self._top is not None:
            self._waiting.append((self._decoded, token_logprob(logits, token, self._top, self._spell)))
        text = self._let(self._detokenizer.push(token))
        if self._stops.hit:
            return [*self._delta(text), self._end("stop")]
        if self._left == 0:
            return self._finish("length", text)
        return self._delta(text)

    def _let(self, piece: str) -> str:
        self._decoded += len(piece)
        return self._stops.push(piece)

    def _finish(self, reason: FinishReason, text: str = "") -> list[Event]:
        """The end without a stop string in sight: all that waited goes out (where it does not complete one after all)."""
        text += self._let(self._detokenizer.flush())
        if self._stops.hit:
            return [*self._delta(text), self._end("stop")]
        return [*self._delta(text + self._stops.flush(), everything=True), self._end(reason)]

    def _end(self, reason: FinishReason) -> Finish:
        self.done = True
        return Finish(self._index, reason, self._stops.matched)

    def _delta(self, text: str, *, everything: bool = False) -> list[Event]:
        self._given += len(text)
        logprobs = []
        while self._waiting and (everything or self._waiting[0][0] < self._given):
            logprobs.append(self._waiting.popleft()[1])
        return [Delta(self._index, text, logprobs=tuple(logprobs))] if text or logprobs else []
