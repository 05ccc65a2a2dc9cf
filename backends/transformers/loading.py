"""A causal LM from its files: device, precision, and the facts that the token loop needs."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from transformers.cache_utils import DynamicCache, LinearAttentionCacheLayerMixin

from backends.errors import OutOfMemory, Unavailable
from backends.inprocess.checkpoints import reading
from backends.inprocess.placement import choose_device, choose_dtype
from backends.transformers.model import Model, Tokenizer

UNKNOWN_CONTEXT = 4096
STRETCH = 512
_DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens")
_CACHES = ("past_key_values", "cache_params")


def load(directory: Path, *, device: str, compute_type: str) -> Model:
    """Load the safetensors weights and the tokenizer of a Hugging Face directory; no code of its own is run.

    device: auto, cpu, cuda or cuda:N; compute_type: default (as stored; float32 where the CPU would compute in
    float16), float32, float16 or bfloat16. Raises Unavailable with the way out.
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
            "The model does not load as a causal language model: it needs config.json, *.safetensors and a tokenizer, of "
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
    context = getattr(config, "max_position_embeddings", None) or UNKNOWN_CONTEXT
    return Model(
        network=network,
        tokenizer=tokenizer,
        device=device,
        context=context,
        vocabulary=config.vocab_size,
        longest=max(map(len, tokenizer.get_vocab())),
        ends=_ends(network.generation_config.eos_token_id, tokenizer),
        defaults=_defaults(network.generation_config),
        anchor=tuple(tokenizer.encode("a", add_special_tokens=False)),
        cache_name=cache_name,
        last_only={"logits_to_keep": 1} if "logits_to_keep" in takes else {},
        stretch=context if _recurrent(config) else STRETCH,
    )


def _read(directory: Path, compute_type: str, device: str) -> tuple[torch.nn.Module, Tokenizer]:
    config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    network = transformers.AutoModelForCausalLM.from_pretrained(
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
