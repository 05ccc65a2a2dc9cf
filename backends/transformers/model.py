"""A language model in memory: its forward pass and its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict

import torch
from torch import Tensor

from backends.inprocess.turns import Style
from backends.transformers.options import Options, room
from backends.types import Json, JsonObject


class Cache(Protocol):
    """What a model remembers of the tokens it has read: keys and values, or a recurrent state; one row a sequence."""

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the rows of these numbers, in this order; a row may come more than once."""


class Encoded(TypedDict):
    """Token ids, and of each the characters [start, stop)."""

    input_ids: list[int]
    offset_mapping: list[tuple[int, int]]


class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer."""

    chat_template: str | dict[str, str] | None
    eos_token: str | None
    is_fast: bool

    def __call__(self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool, verbose: bool) -> Encoded:
        """Text to token ids and their places in it, which only fast tokenizers know."""

    def encode(self, text: str, *, add_special_tokens: bool, verbose: bool = True) -> list[int]:
        """Text to token ids. verbose: log when they are many."""

    def get_vocab(self) -> Mapping[str, int]:
        """Every token as the vocabulary spells it, in no fewer characters than it stands for, and its id."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        """Token ids to text."""

    def get_chat_template(self, *, tools: Sequence[JsonObject] | None) -> str:
        """The Jinja text in force with these tools."""

    def apply_chat_template(
        self, conversation: Sequence[JsonObject], tools: Sequence[JsonObject] | None, *, tokenize: bool, **args: Json
    ) -> str:
        """A conversation as the model was trained to read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A loaded model, shared by all its requests; only one thread at a time may run its network.

    context: tokens it can attend to; vocabulary: number of token ids; longest: characters of its longest token; ends:
    ids that end an answer; defaults: the sampling options of its generation_config; anchor: the tokens of an ordinary
    word; cache_name: under which name its forward pass takes and gives the cache; last_only: its arguments to compute
    no logits but the last; stretch: how many tokens of a prompt it reads in one pass, so that a long prompt does not
    hold up everybody else's next token; style: how conversations are written where the tokenizer has no template.
    """

    network: torch.nn.Module
    tokenizer: Tokenizer
    device: str
    context: int
    vocabulary: int
    longest: int
    ends: frozenset[int]
    defaults: Mapping[str, float]
    anchor: tuple[int, ...]
    cache_name: str
    last_only: Mapping[str, int]
    stretch: int
    style: Style

    def forward(self, rows: Sequence[Sequence[int]], cache: Cache | None) -> tuple[Tensor, Cache]:
        """Read one more stretch of tokens in each row: (logits after it, float32 [rows, vocabulary]; the cache)."""
        ids = torch.tensor(rows, device=self.device)
        output = self.network(input_ids=ids, use_cache=True, **{self.cache_name: cache}, **self.last_only)
        return output.logits[:, -1].float(), output[self.cache_name]

    def before(self, prompt: Sequence[int]) -> Sequence[int]:
        """The tokens that an answer to the prompt goes on from."""
        return prompt

    def room(self, options: Options, prompt: Sequence[int], *, param: str, least: int) -> int:
        """How many tokens an answer to the prompt may have. Raises Invalid, naming max_tokens or param."""
        return room(options, prompt=len(prompt), context=self.context, param=param, least=least)

    def decode(self, tokens: Sequence[int]) -> str:
        """Their text, without special tokens, spelled as it is."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def spell(self, token: int) -> str:
        """One token's text as it reads after another word, special tokens by name."""
        alone, both = (
            self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            for ids in (self.anchor, (*self.anchor, token))
        )
        return both.removeprefix(alone)
