"""A model whose encoder reads the prompt and whose decoder writes the answer: T5, BART, BlenderBot, Marian and their kin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from backends.errors import Invalid
from backends.transformers.model import Cache, Model
from backends.transformers.options import Options, room_apart


@dataclass(slots=True)
class Memory:
    """What the encoder made of the prompt, [rows, tokens, width], and what the decoder remembers; one row a sequence."""

    read: Tensor
    written: Cache

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the rows of these numbers, in this order; a row may come more than once."""
        self.read = self.read.index_select(0, beam_idx.to(self.read.device))
        self.written.reorder_cache(beam_idx)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderDecoder(Model):
    """context: tokens of a prompt. start: what an answer begins with, unsaid; span: tokens that an answer may have with
    those; never: ids that are no part of an answer.
    """

    start: tuple[int, ...]
    span: int
    never: tuple[int, ...]

    def forward(self, rows: Sequence[Sequence[int]], cache: Cache | None) -> tuple[Tensor, Cache]:
        """The prompt, whole, as the only row where there is no cache yet; then one more token in each row."""
        ids = torch.tensor(rows, device=self.device)
        memory = cache if isinstance(cache, Memory) else None
        read = self.network.get_encoder()(input_ids=ids).last_hidden_state if memory is None else memory.read
        output = self.network(
            encoder_outputs=BaseModelOutput(last_hidden_state=read),
            decoder_input_ids=torch.tensor([self.start], device=self.device) if memory is None else ids,
            use_cache=True,
            **{self.cache_name: None if memory is None else memory.written},
        )
        logits = output.logits[:, -1].float()
        logits[:, list(self.never)] = -torch.inf
        return logits, Memory(read, output[self.cache_name])

    def before(self, prompt: Sequence[int]) -> Sequence[int]:
        """An answer goes on from nothing of the prompt."""
        return self.start

    def room(self, options: Options, prompt: Sequence[int], *, param: str, least: int) -> int:
        """Prompt and answer take nothing of each other's."""
        if len(prompt) > self.context:
            raise Invalid(
                f"The prompt has {len(prompt)} tokens and this model reads at most {self.context}; shorten the prompt.",
                param=param,
            )
        return room_apart(options, most=self.span - len(self.start), least=least)
