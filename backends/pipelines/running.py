"""One loaded pipeline: a request's inputs through it, one call at a time, until the answer or until nobody waits for it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping

import torch
from transformers import PreTrainedModel
from transformers.pipelines import Pipeline

from backends.errors import BackendError, Broken, Invalid, Unavailable
from backends.inprocess.audio import SAMPLE_RATE
from backends.inprocess.batch import out_of_memory
from backends.inprocess.checkpoints import computing_in_turns
from backends.pipelines.media import Opener
from backends.pipelines.probing import probe
from backends.pipelines.results import to_json
from backends.pipelines.tasks import Asked
from backends.types import Infer

RETRY_SHORT_MEMORY = 5.0
UNKNOWN_LENGTH = 16_384
"""Tokens that a network reads at once where its config does not tell."""
_DEVICE = re.compile(r"CUDA|cuDNN|CUBLAS|cuBLAS|NCCL")
_LENGTHS = frozenset({"max_new_tokens", "max_length", "min_new_tokens", "min_length", "min_length_for_response"})
_TOKEN_PARAMS = (
    "bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id", "eos_token_id",
    "pad_token_id", "decoder_start_token_id",
)  # fmt: skip


class _Left(BaseException):
    """Nobody waits for the answer any more; no library catches it on its way out."""


class Running:
    """A pipeline with what it needs to run a request. Blocking, and for one thread at a time."""

    def __init__(self, label: str, pipeline: Pipeline, *, max_audio_seconds: float) -> None:
        self._label = label
        self._pipeline = pipeline
        self._max_audio_seconds = max_audio_seconds
        self._left = threading.Event()
        self._give_way: Callable[[], None] = lambda: None
        pipeline.model.register_forward_pre_hook(self._look_up)
        # An index beyond its table ends a CUDA context for everybody; asked here, it is a wrong request.
        for part in pipeline.model.modules():
            if isinstance(part, torch.nn.Embedding):
                part.register_forward_pre_hook(_check_index, with_kwargs=True)
        _refuse_longer(pipeline.model)

    def run(self, asked: Asked, left: threading.Event) -> bytes:
        """The result as JSON. left: set when nobody waits any more, which ends the work at the next pass of the model.

        Raises Invalid (what the pipeline or the model refuses), MediaRefused, Unavailable (memory), Broken (the device, a result).
        """
        self._left = left
        self._check_tokens(asked.params)
        opener = Opener(rate=self._rate(), max_audio_seconds=self._max_audio_seconds, stopped=left.is_set)
        inputs = opener.opened(asked.inputs)
        try:
            with computing_in_turns() as self._give_way:
                result = self._pipeline(inputs, **asked.params)
        except _Left:
            return b"null"
        except BackendError:
            raise
        except BaseException as error:  # tokenizers panic with exceptions that are no Exception
            raise self._told(error, asked) from error
        try:
            return to_json(result)
        except TypeError as error:
            raise Broken(f"{self._label} made a result that JSON cannot hold.") from error
        except MemoryError as error:
            raise self._told(error, asked) from error

    def probe(self, task: str) -> Infer | None:
        """A tiny request, if there is one for the task."""
        return probe(task, self._pipeline)

    def _rate(self) -> int:
        return int(getattr(self._pipeline.feature_extractor, "sampling_rate", None) or SAMPLE_RATE)

    def _look_up(self, *_: object) -> None:
        """Between two passes of the model: end when nobody waits any more, and let loads lay out their networks."""
        if self._left.is_set():
            raise _Left
        self._give_way()

    def _check_tokens(self, params: Mapping[str, object], within: str = "params") -> None:
        """Raise Invalid for token ids that the model does not have."""
        size = getattr(self._pipeline.model.config.get_text_config(decoder=True), "vocab_size", None)
        for name, value in params.items():
            if isinstance(value, Mapping):
                self._check_tokens(value, f"{within}.{name}")
            elif name in _TOKEN_PARAMS and size and (highest := max(_numbers(value), default=0)) >= size:
                raise Invalid(
                    f"`{within}.{name}` has {highest}, and this model's tokens end at {size - 1}.",
                    param=f"{within}.{name}",
                )

    def _told(self, error: BaseException, asked: Asked) -> BackendError:
        """The error in the caller's words: what they can wait for, that the device failed, or what they can change.

        What a library trips over is what was sent, in a combination that its own checks do not know.
        """
        task, words = asked.task.name, str(error)
        if isinstance(error, Exception) and (out_of_memory(error) or "can't allocate memory" in words):
            return Unavailable(
                f"{self._label} has too little memory left for this; send less at once, try again later, or unload other models.",
                retry_after=RETRY_SHORT_MEMORY,
            )
        if isinstance(error, RuntimeError) and _DEVICE.search(words):
            return Broken(f"{self._label} failed on these inputs for `{task}`; the server's log has the cause.")
        if isinstance(error, IndexError | RuntimeError) and (limit := self._exceeded(asked.inputs)):
            return Invalid(
                f"`inputs` hold a text of more tokens than the {limit} that {self._label} reads at once; shorten it, or have it "
                "cut where the task's params know how (truncation).",
                param="inputs",
            )
        if isinstance(error, IndexError):
            fewer = "ask for fewer tokens" if _asks_length(asked.params) else "say how many tokens the answer may have"
            return Invalid(
                f"What `inputs` and the answer to them come to is longer than {self._label} can be: {fewer} (max_new_tokens), "
                "or send less text.",
                param="inputs",
            )
        return Invalid(f"{self._label} refuses these inputs or params for `{task}`{_reason(error)}.", param="inputs")

    def _exceeded(self, inputs: object) -> int | None:
        """How many tokens the model reads at once, when a text among the inputs has more."""
        tokenizer, config = self._pipeline.tokenizer, self._pipeline.model.config.get_text_config()
        told = getattr(config, "max_position_embeddings", None)
        limit = min(told or 1 << 30, getattr(tokenizer, "model_max_length", 1 << 30))
        if tokenizer is None or limit >= 1 << 30:
            return None
        try:
            longest = max((len(tokenizer(text, verbose=False)["input_ids"]) for text in _texts(inputs)), default=0)
        except BaseException:  # it is asked because something failed, and may be what did
            return None
        return limit if longest > limit else None


def _asks_length(params: Mapping[str, object]) -> bool:
    """Whether they say how long an answer is to be."""
    within = params.get("generate_kwargs")
    return bool(_LENGTHS & params.keys()) or (isinstance(within, Mapping) and _asks_length(within))


def _refuse_longer(network: PreTrainedModel) -> None:
    """Have a text of more tokens than the network was made for end in an IndexError, not in hours of one pass.

    Networks that compute where a token stands have no table that would tell; all others wait for such a pass to end.
    """
    config = network.config.get_text_config()
    words, most = (
        getattr(config, "vocab_size", None),
        getattr(config, "max_position_embeddings", None) or UNKNOWN_LENGTH,
    )

    def check(_: torch.nn.Module, given: tuple[object, ...]) -> None:
        if given and isinstance(given[0], torch.Tensor) and given[0].ndim and given[0].shape[-1] > most:
            raise IndexError("a text has more tokens than the network was made for")

    for part in network.modules():
        if isinstance(part, torch.nn.Embedding) and part.num_embeddings == words:
            part.register_forward_pre_hook(check)


def _check_index(table: torch.nn.Embedding, given: tuple[object, ...], named: Mapping[str, object]) -> None:
    """Raise IndexError for an index beyond the table, before CUDA sees it.

    Tables of places that count for themselves (BART's, OPT's, Whisper's) are given places, or else something as long as the
    text; some have an offset before the first.
    """
    first, places = (given[0] if given else None), named.get("position_ids")
    room = table.num_embeddings - getattr(table, "offset", 0)
    if type(table).forward is torch.nn.Embedding.forward:
        highest = _highest(first)
    elif places is not None:
        highest = _highest(places)
    else:
        highest = first.shape[1] - 1 if isinstance(first, torch.Tensor) and first.ndim > 1 else -1
    if highest >= room:
        raise IndexError("an index is beyond its table")


def _highest(indices: object) -> int:
    return int(indices.max()) if isinstance(indices, torch.Tensor) and indices.numel() else -1


def _reason(error: BaseException) -> str:
    """The library's own first sentence, where it is short and can hold nothing of this machine."""
    words = re.split(r"(?<=[.!?])\s", " ".join(str(error).split()), maxsplit=1)[0]
    return f": {words.rstrip('.!')}" if 0 < len(words) <= 300 and "/" not in words and "\\" not in words else ""


def _numbers(value: object) -> Iterable[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)


def _texts(inputs: object) -> Iterable[str]:
    if isinstance(inputs, str):
        yield inputs
    elif isinstance(inputs, dict):
        for item in inputs.values():
            yield from _texts(item)
    elif isinstance(inputs, list):
        for item in inputs:
            yield from _texts(item)
