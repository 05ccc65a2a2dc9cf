"""A tiny request for a pipeline: to warm it up, and to see whether it works."""

from __future__ import annotations

from transformers.pipelines import Pipeline

from backends.types import Infer, Json, JsonObject

_ONE_TOKEN: JsonObject = {"max_new_tokens": 1}
_LABELS: JsonObject = {"candidate_labels": ["a"]}
_SILENCE: Json = {"array": [0.0] * 16_000, "sampling_rate": 16_000}
# 32 x 32 grey pixels, as PNG.
_GREY = "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAAAAABWESUoAAAAGElEQVR42mNsYMAPmBhGFYwqGFUwQhUAAJe+AMD8WknZAAAAAElFTkSuQmCC"

_REQUESTS: dict[str, tuple[Json, JsonObject]] = {
    "text-classification": ("a", {}),
    "token-classification": ("a", {}),
    "feature-extraction": ("a", {}),
    "zero-shot-classification": ("a", _LABELS),
    "question-answering": ({"question": "a", "context": "a"}, {}),
    "text-generation": ("a", _ONE_TOKEN),
    "text2text-generation": ("a", _ONE_TOKEN),
    "summarization": ("a", _ONE_TOKEN),
    "conversational": ([{"role": "user", "content": "a"}], _ONE_TOKEN),
    "automatic-speech-recognition": (_SILENCE, {}),
    "audio-classification": (_SILENCE, {}),
    "zero-shot-audio-classification": (_SILENCE, _LABELS),
    "image-classification": (_GREY, {}),
    "image-feature-extraction": (_GREY, {}),
    "image-segmentation": (_GREY, {}),
    "object-detection": (_GREY, {}),
    "depth-estimation": (_GREY, {}),
    "zero-shot-image-classification": (_GREY, _LABELS),
}


def probe(task: str, pipeline: Pipeline) -> Infer | None:
    """The request for a task; None for those of which nothing small is sure to be right."""
    if task == "fill-mask":
        return Infer(task=task, inputs=f"a {pipeline.tokenizer.mask_token}")
    known = _REQUESTS.get(task)
    return Infer(task=task, inputs=known[0], params=known[1]) if known else None
