"""The requests a backend takes and the events it yields: frozen values, free of HTTP and of any contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"
JsonObject: TypeAlias = "dict[str, Json]"

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]


# --------------------------------------------------------------------------- requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to choose tokens; None means that the caller did not say, and the engine's own default holds."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    best_of: int | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    logit_bias: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """Answer a conversation. messages: OpenAI-shaped objects, at least one, already checked for shape."""

    messages: tuple[JsonObject, ...]
    sampling: Sampling = field(default_factory=Sampling)
    tools: tuple[JsonObject, ...] = ()
    tool_choice: str | JsonObject | None = None
    parallel_tool_calls: bool | None = None
    response_format: JsonObject | None = None
    template_args: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """Continue each prompt (text, or token ids). Choice index = prompt number * n + sample number.

    grammar: what the text must be: a JSON schema, or a regular expression.
    """

    prompts: tuple[str | tuple[int, ...], ...]
    sampling: Sampling = field(default_factory=Sampling)
    echo: bool = False
    suffix: str | None = None
    grammar: JsonObject | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vad:
    """How to find speech before decoding it: probability from which it counts, and milliseconds around and between."""

    threshold: float | None = None
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diarize:
    """Say who speaks. known: up to four (name, sample of 2 to 10 seconds); others are called A, B, ..."""

    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    known: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcribe:
    """Turn speech into text. audio: the uploaded file's bytes, of any accepted container.

    task "translate" = into English; languages: candidates when `language` is not given; hotwords: words to expect;
    temperatures: tried in turn until a segment passes the thresholds, None = Whisper's own list; words: word times
    wanted; logprobs: of each token; vad: None = for audio longer than one window; align: word times by forced alignment;
    condition_on_previous_text: each window is told the text of the one before, None = no, so that they need not wait for
    each other. None anywhere else = Whisper's own default.
    """

    audio: bytes
    task: Literal["transcribe", "translate"] = "transcribe"
    language: str | None = None
    languages: tuple[str, ...] = ()
    prompt: str | None = None
    hotwords: tuple[str, ...] = ()
    temperatures: tuple[float, ...] | None = None
    beam_size: int | None = None
    best_of: int | None = None
    patience: float | None = None
    length_penalty: float | None = None
    compression_ratio_threshold: float | None = None
    logprob_threshold: float | None = None
    no_speech_threshold: float | None = None
    condition_on_previous_text: bool | None = None
    words: bool = False
    logprobs: bool = False
    vad: Vad | None = None
    align: bool = False
    diarize: Diarize | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Translate:
    """Translate each text. source and target: language codes as the caller wrote them; None = the model's only pair.

    max_input_length: tokens of each text, what is beyond is left out; max_new_tokens: of each sentence's translation;
    batch_size: most sentences in one call of the model, those of other requests among them.
    """

    texts: tuple[str, ...]
    source: str | None = None
    target: str | None = None
    beam_size: int | None = None
    length_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    max_input_length: int | None = None
    max_new_tokens: int | None = None
    early_stopping: bool | None = None
    batch_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Infer:
    """Run a Hugging Face task. inputs: as the task takes them (text, list, object), media in it as base64.

    params: keyword arguments of the task's pipeline, by the names that transformers gives them; files: uploads by field
    name, in order, `file` or `inputs` for what stands alone, another name for that field of an object.
    """

    task: str
    inputs: Json = None
    params: Mapping[str, Json] = field(default_factory=dict)
    files: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """A token of a text: its id, and the characters [start, stop) that it stands for, none for a special token."""

    id: int
    text: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A text as a model reads it. context: how many tokens the model can attend to, None = not known."""

    text: str
    pieces: tuple[Piece, ...]
    context: int | None = None


Request: TypeAlias = Chat | Complete | Transcribe | Translate | Infer
Task: TypeAlias = Literal["text", "transcription", "translation", "pipeline"]


# --------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token and its log-probability (None: the first of an echoed prompt, given nothing); top: likeliest ones, best first.

    id: in the model's vocabulary, None where the engine does not tell; two tokens are the same without it.
    """

    token: str
    logprob: float | None
    top: tuple[tuple[str, float], ...] = ()
    id: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of tool call number `index`; id and name come once, arguments in pieces of JSON text."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """More text (or reasoning, or a tool call) for choice `index`."""

    index: int
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    """Choice `index` is complete.

    stopped_by: the caller's stop sequence that ended it, which is no part of the text; None = none did, or the engine does
    not tell. Two ends are the same without it.
    """

    index: int
    reason: FinishReason
    stopped_by: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens counted by the engine; the last event of a text request."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Speech:
    """What is known of the audio before its first segment; duration in seconds."""

    language: str
    duration: float
    language_probability: float | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """A spoken word; times in seconds from the start of the file."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of speech in order of time; the figures are Whisper's own."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: tuple[Word, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Translated:
    """The translation of text number `index`; codes as the model knows them."""

    index: int
    text: str
    source: str | None
    target: str | None


@dataclass(frozen=True, slots=True)
class Inferred:
    """The whole result of a task, as JSON: it may be large, and was written off the event loop (orjson.Fragment takes it)."""

    json: bytes


Event: TypeAlias = Delta | Finish | Usage | Speech | Segment | Translated | Inferred
