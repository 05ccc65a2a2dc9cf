"""A language model from its files: device, precision, and the facts that the token loop needs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import torch
import transformers
from safetensors import SafetensorError
from transformers.cache_utils import DynamicCache, LinearAttentionCacheLayerMixin

from backends.errors import OutOfMemory, Unavailable, Unsupported
from backends.inprocess.checkpoints import reading
from backends.inprocess.placement import choose_device, choose_dtype
from backends.inprocess.turns import Style, style_of
from backends.transformers.encoder_decoder import EncoderDecoder
from backends.transformers.model import Model, Tokenizer

UNKNOWN_CONTEXT = 4096
STRETCH = 512
_DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens")
_NO_WRITERS = ("ForMaskedLM", "Classification", "ForQuestionAnswering", "ForMultipleChoice")
_CACHES = ("past_key_values", "cache_params")


class Facts(TypedDict):
    """What is told of every model in the same way; see Model."""

    network: torch.nn.Module
    tokenizer: Tokenizer
    device: str
    vocabulary: int
    longest: int
    ends: frozenset[int]
    defaults: Mapping[str, float]
    anchor: tuple[int, ...]
    cache_name: str
    last_only: Mapping[str, int]
    style: Style


def load(directory: Path, *, device: str, compute_type: str) -> Model:
    """Load the safetensors weights and the tokenizer of a Hugging Face directory; no code of its own is run.

    device: auto, cpu, cuda or cuda:N; compute_type: default (as stored; float32 where the CPU would compute in
    float16), float32, float16 or bfloat16. Raises Unsupported for a model that writes no text, Unavailable with the way out.
    """
    place = choose_device(device)
    try:
        with reading():
            network, tokenizer = _read(directory, compute_type, place)
        return wrap(network.to(place).eval(), tokenizer, place)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"The model does not fit into the memory of {place}; unload other models or use a smaller compute_type."
        ) from error
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise Unavailable(
            "The model does not load as a language model: it needs config.json, *.safetensors and a tokenizer, of "
            "an architecture that this version of transformers knows. The server's log has the cause."
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
    facts: Facts = {
        "network": network,
        "tokenizer": tokenizer,
        "device": device,
        "vocabulary": config.vocab_size,
        "longest": max(map(len, tokenizer.get_vocab())),
        "ends": _ends(network.generation_config.eos_token_id, tokenizer),
        "defaults": _defaults(network.generation_config),
        "anchor": tuple(tokenizer.encode("a", add_special_tokens=False)),
        "cache_name": cache_name,
        "last_only": {"logits_to_keep": 1} if "logits_to_keep" in takes else {},
        "style": style_of(network.config),
    }
    if network.config.is_encoder_decoder:
        return _encoder_decoder(facts, network.config, network.generation_config)
    context = _positions(config, "max_position_embeddings")
    return Model(**facts, context=context, stretch=context if _recurrent(config) else STRETCH)


def _read(directory: Path, compute_type: str, device: str) -> tuple[torch.nn.Module, Tokenizer]:
    config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    kind = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    if type(config) not in kind._model_mapping or any(
        name.endswith(_NO_WRITERS) for name in config.architectures or ()
    ):
        raise Unsupported(f"The model ({config.model_type}) writes no text: it is of another kind.", param="model")
    network = kind.from_pretrained(
        directory,
        config=config,
        dtype=choose_dtype(compute_type, config, device),
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    return network, transformers.AutoTokenizer.from_pretrained(
        directory, local_files_only=True, trust_remote_code=False
    )


def _encoder_decoder(
    facts: Facts, config: transformers.PretrainedConfig, generation: transformers.GenerationConfig
) -> EncoderDecoder:
    known = (
        generation.decoder_start_token_id,
        getattr(config, "decoder_start_token_id", None),
        generation.bos_token_id,
    )
    first = next((token for token in known if isinstance(token, int)), 0)
    forced = generation.forced_bos_token_id
    reads = _positions(config, "max_encoder_position_embeddings", "max_position_embeddings")
    return EncoderDecoder(
        **facts,
        context=reads,
        stretch=reads,
        start=(first,) if forced is None else (first, forced),
        span=_positions(config, "max_decoder_position_embeddings", "max_position_embeddings"),
        never=tuple(words[0] for words in generation.bad_words_ids or () if len(words) == 1),
    )


def _positions(config: transformers.PretrainedConfig, *names: str) -> int:
    """The first of these that the config tells."""
    return next((told for name in names if (told := getattr(config, name, None))), UNKNOWN_CONTEXT)


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
