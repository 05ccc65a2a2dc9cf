"""The token loop: one prompt, its answers stepped together, one forward pass at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from backends.inprocess.checkpoints import computing
from backends.transformers.choice import Choice
from backends.transformers.model import Cache, Model
from backends.types import Event


class Generation:
    """The answers to one prompt. The prompt is read once, in the model's stretches; then every pass through the
    model gives each unfinished answer one more token. All rows have the same length, so none is padded.

    Between two passes nothing runs: a generation that is no longer stepped is over. `tokens` counts the answers' tokens.
    """

    def __init__(self, model: Model, prompt: Sequence[int], choices: Sequence[Choice]) -> None:
        self._model = model
        self._prompt = list(prompt)
        self._choices = list(choices)
        self.tokens = 0
        self._cache: Cache | None = None

    @property
    def done(self) -> bool:
        """Whether every answer has come to its end."""
        return not self._choices

    def step(self) -> list[Event]:
        """One pass through the model, and what it brought; blocks for its time. Raises Broken."""
        with computing(), torch.inference_mode():
            stretch = self._prompt[: self._model.stretch]
            rows = [stretch] if stretch else [[choice.last] for choice in self._choices]
            logits, self._cache = self._model.forward(rows, self._cache)
            if stretch:
                del self._prompt[: len(stretch)]
                if self._prompt:
                    return []
                logits = logits.expand(len(self._choices), -1)
                self._keep([0] * len(self._choices), of=1)
            return self._advance(logits)

    def _advance(self, logits: Tensor) -> list[Event]:
        """Give each answer its next token. logits: one row an answer."""
        events = [event for choice, row in zip(self._choices, logits, strict=True) for event in choice.advance(row)]
        self.tokens += len(self._choices)
        going = [row for row, choice in enumerate(self._choices) if not choice.done]
        self._keep(going, of=len(self._choices))
        self._choices = [self._choices[row] for row in going]
        return events

    def _keep(self, rows: list[int], *, of: int) -> None:
        """Make the cache hold these of its rows."""
        if not rows:
            self._cache = None
        elif rows != list(range(of)) and self._cache is not None:
            self._cache.reorder_cache(torch.tensor(rows))
