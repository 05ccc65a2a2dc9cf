"""A causal LM in memory: how it is loaded, its forward pass, its tokens."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor
from transformers.cache_utils import DynamicCache, LinearAttentionCacheLayerMixin

from backends.errors import Unavailable
from backends.types import Json, JsonObject

UNKNOWN_CONTEXT = 4096
STRETCH = 512
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens")
_CACHES = ("past_key_values", "cache_params")


class Cache(Protocol):
    """What a model remembers of the tokens it has read: keys and values, or a recurrent state; one row a sequence."""

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the rows of these numbers, in this order; a row may come more than once."""


class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer."""

    chat_template: str | dict[str, str] | None

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Text to token ids."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        """Token ids to text."""

    def get_chat_template(self, *, tools: Sequence[JsonObject] | None) -> str:
        """The Jinja text in force with these tools."""

    def apply_chat_template(
        self, conversation: Sequence[JsonObject], tools: Sequence[JsonObject] | None, *, tokenize: bool, **args: Json
    ) -> str:
        """A conversation as the model was trained to read it."""


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model, shared by all its requests; only one thread at a time may use it.

    context: tokens it can attend to; vocabulary: number of token ids; ends: ids that end an answer; defaults: the
    sampling options of its generation_config; anchor: the tokens of an ordinary word; cache_name: under which name its forward pass
    takes and gives the cache; last_only: its arguments to compute no logits but the last; stretch: how many tokens of a
    prompt it reads in one pass, so that a long prompt does not hold up everybody else's next token.
    """

    network: torch.nn.Module
    tokenizer: Tokenizer
    device: str
    context: int
    vocabulary: int
    ends: frozenset[int]
    defaults: Mapping[str, float]
    anchor: tuple[int, ...]
    cache_name: str
    last_only: Mapping[str, int]
    stretch: int

    def forward(self, rows: Sequence[Sequence[int]], cache: Cache | None) -> tuple[Tensor, Cache]:
        """Read one more stretch of tokens in each row: (logits after it, float32 [rows, vocabulary]; the cache)."""
        ids = torch.tensor(rows, device=self.device)
        output = self.network(input_ids=ids, use_cache=True, **{self.cache_name: cache}, **self.last_only)
        return output.logits[:, -1].float(), output[self.cache_name]

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


def load(directory: Path, *, device: str, compute_type: str) -> Model:
    """Load the safetensors weights and the tokenizer of a Hugging Face directory; no code of its own is run.

    device: auto, cpu, cuda or cuda:N; compute_type: default (as stored; float32 where the CPU would compute in
    float16), float32, float16 or bfloat16. Raises Unavailable with the way out.
    """
    place = choose_device(device)
    transformers.logging.disable_progress_bar()
    try:
        network, tokenizer = _read(directory, compute_type, place)
        return wrap(network.to(place).eval(), tokenizer, place)
    except torch.OutOfMemoryError as error:
        raise Unavailable(
            f"{directory} does not fit into the memory of {place}; unload other models or use a smaller compute_type."
        ) from error
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise Unavailable(
            f"{directory} does not load as a causal language model ({str(error).strip().partition(chr(10))[0]}); it needs "
            "config.json, *.safetensors and a tokenizer, of an architecture that this version of transformers knows."
        ) from error


def wrap(network: torch.nn.Module, tokenizer: Tokenizer, device: str) -> Model:
    """The model of a network already on its device. Raises Unavailable where it keeps no cache that can be stepped."""
    takes = inspect.signature(network.forward).parameters
    cache_name = next((name for name in _CACHES if name in takes), None)
    if cache_name is None:
        raise Unavailable(
            f"{type(network).__name__} has no cache to generate token by token with; serve it with another engine."
        )
    config = network.config.get_text_config(decoder=True)
    context = getattr(config, "max_position_embeddings", None) or UNKNOWN_CONTEXT
    return Model(
        network=network,
        tokenizer=tokenizer,
        device=device,
        context=context,
        vocabulary=config.vocab_size,
        ends=_ends(network.generation_config.eos_token_id, tokenizer),
        defaults=_defaults(network.generation_config),
        anchor=tuple(tokenizer.encode("a", add_special_tokens=False)),
        cache_name=cache_name,
        last_only={"logits_to_keep": 1} if "logits_to_keep" in takes else {},
        stretch=context if _recurrent(config) else STRETCH,
    )


def choose_device(wish: str) -> str:
    """The device for a wish of auto, cpu, cuda or cuda:N. Raises Unavailable when it is not there."""
    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = wish.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise Unavailable(f"device is {wish!r} and this machine has no usable CUDA device; set device to cpu or auto.")
    if kind == "cuda" and (number or "0").isdigit() and int(number or "0") < torch.cuda.device_count():
        return wish
    if wish == "cpu":
        return wish
    raise Unavailable(f"device {wish!r} is not there; set it to auto, cpu or cuda.")


def _read(directory: Path, compute_type: str, device: str) -> tuple[torch.nn.Module, Tokenizer]:
    config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    network = transformers.AutoModelForCausalLM.from_pretrained(
        directory,
        config=config,
        dtype=_dtype(compute_type, config, device),
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    return network, transformers.AutoTokenizer.from_pretrained(
        directory, local_files_only=True, trust_remote_code=False
    )


def _dtype(compute_type: str, config: transformers.PretrainedConfig, device: str) -> torch.dtype:
    if compute_type in _DTYPES:
        return _DTYPES[compute_type]
    if compute_type != "default":
        raise Unavailable(f"compute_type {compute_type!r} is none of default, {', '.join(_DTYPES)}.")
    stored = config.get_text_config(decoder=True).dtype or torch.float32
    return torch.float32 if device == "cpu" and stored == torch.float16 else stored


def _defaults(generation: transformers.GenerationConfig) -> dict[str, float]:
    """What the model's authors advise, without what the library would fill in."""
    advised = generation.to_diff_dict()
    return {name: advised[name] for name in _DEFAULTS if advised.get(name) is not None}


def _recurrent(config: transformers.PretrainedConfig) -> bool:
    """Whether any layer keeps a recurrent state: not all of these can take up a prompt where they left off."""
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in DynamicCache(config=config).layers)


def _ends(eos: int | list[int] | None, tokenizer: Tokenizer) -> frozenset[int]:
    named = eos if isinstance(eos, list) else [eos]
    return frozenset(token for token in (*named, getattr(tokenizer, "eos_token_id", None)) if token is not None)
