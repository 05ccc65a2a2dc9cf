"""Extractive question answering, which transformers 5 removed: which stretch of a context answers a question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from transformers.pipelines.base import ChunkPipeline

Scores = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

LENGTH = 384
STRIDE = 128
NEVER = -10_000.0


class Example(TypedDict):
    """What is asked of what."""

    question: str
    context: str


class Window(TypedDict):
    """A part of a context behind the question, by token; start, end: logits [1, tokens].

    offsets: characters of the whole context; words: numbers of the words; context: whether the token is of the context;
    nothing: [1, tokens], whether it is the one that stands for no answer.
    """

    example: Example
    offsets: Sequence[tuple[int, int]]
    words: Sequence[int | None]
    context: Sequence[bool]
    nothing: torch.Tensor
    start: torch.Tensor
    end: torch.Tensor


@dataclass(frozen=True, slots=True)
class Answer:
    """Characters start to end of the context."""

    score: float
    start: int
    end: int


class QuestionAnswering(ChunkPipeline):  # type: ignore[misc]  # the library has no types
    """`{"score", "start", "end", "answer"}` for {"question", "context"}; several in a list for top_k > 1."""

    _load_tokenizer = True
    _load_processor = _load_image_processor = _load_video_processor = _load_feature_extractor = False

    def __call__(self, inputs: Example | list[Example], **params: object) -> object:
        """See the class. A list is answered by a list, unless it is of one."""
        results = super().__call__(inputs, **params)
        return results[0] if isinstance(inputs, list) and len(inputs) == 1 else results

    def _sanitize_parameters(self, **params: object) -> tuple[dict[str, object], dict[str, object], dict[str, object]]:
        reading = {
            name: value for name, value in params.items() if name in {"max_seq_len", "max_question_len", "doc_stride"}
        }
        return reading, {}, {name: value for name, value in params.items() if name not in reading}

    def preprocess(
        self, example: Example, max_seq_len: int = LENGTH, max_question_len: int = 64, doc_stride: int | None = None
    ) -> Iterator[dict[str, object]]:
        """The windows of a context. Raises ValueError where stride and length leave no room for it."""
        if not self.tokenizer.is_fast:
            raise ValueError("this model's tokenizer does not tell where in the text its tokens are")
        length = min(max_seq_len, self.tokenizer.model_max_length)
        question, tokens = self._shortened(example["question"], max_question_len)
        room = length - tokens - self.tokenizer.num_special_tokens_to_add(pair=True)
        stride = doc_stride if doc_stride is not None else min(length // 2, STRIDE, max(room - 1, 0))
        if stride >= room:
            raise ValueError(f"doc_stride ({stride}) must be less than max_seq_len leaves beside the question ({room})")
        first = self.tokenizer.padding_side == "right"
        windows = self.tokenizer(
            *((question, example["context"]) if first else (example["context"], question)),
            truncation="only_second" if first else "only_first",
            max_length=length,
            stride=stride,
            padding=True,
            return_overflowing_tokens=True,
            return_token_type_ids=True,
            return_offsets_mapping=True,
        )
        names = [name for name in self.tokenizer.model_input_names if name in windows]
        for number, encoding in enumerate(windows.encodings):
            yield {
                **{name: torch.tensor([windows[name][number]]) for name in names},
                "example": example,
                "offsets": encoding.offsets,
                "words": encoding.word_ids,
                "context": [of == int(first) for of in encoding.sequence_ids],
                "is_last": number == len(windows.encodings) - 1,
            }

    def _shortened(self, question: str, most: int) -> tuple[str, int]:
        """The question as far as it may be long, and how many tokens it has."""
        tokens = self.tokenizer(
            question, add_special_tokens=False, truncation=True, max_length=most, return_offsets_mapping=True
        )
        return question[: max(end for _, end in tokens["offset_mapping"])], len(tokens["input_ids"])

    def _forward(self, window: dict[str, object]) -> dict[str, object]:
        tokens = {name: window.pop(name) for name in self.tokenizer.model_input_names if name in window}
        scores = self.model(**tokens)
        nothing = torch.as_tensor(tokens["input_ids"]) == self.tokenizer.cls_token_id
        return {**window, "start": scores["start_logits"], "end": scores["end_logits"], "nothing": nothing}

    def postprocess(
        self,
        windows: Sequence[Window],
        top_k: int = 1,
        max_answer_len: int = 15,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> object:
        """The best answers over all windows, best first; equal ones count together."""
        text = windows[0]["example"]["context"]
        found: dict[str, Answer] = {}
        unanswered = 1.0
        for window in windows:
            context, nothing = np.array(window["context"]), window["nothing"][0].numpy()
            start, end = (_shares(side, context | nothing) for side in (window["start"], window["end"]))
            unanswered = min(unanswered, float(start[0] * end[0]))
            start[nothing] = end[nothing] = 0.0
            # Several stretches may come to the same words.
            candidates = 2 * top_k + 10 if align_to_words else top_k
            for first, last, score in best_spans(start, end, context, count=candidates, longest=max_answer_len):
                answer = _in_text(window, first, last, score, align_to_words)
                words = text[answer.start : answer.end].lower()
                known = found.setdefault(words, replace(answer, score=0.0))
                found[words] = replace(known, score=known.score + score)
        answers = [*found.values(), *([Answer(unanswered, 0, 0)] if handle_impossible_answer else [])]
        best = sorted(answers, key=lambda answer: answer.score, reverse=True)[:top_k]
        told = [
            {"score": each.score, "start": each.start, "end": each.end, "answer": text[each.start : each.end]}
            for each in best
        ]
        return told[0] if len(told) == 1 else told


def best_spans(start: Scores, end: Scores, allowed: Mask, *, count: int, longest: int) -> list[tuple[int, int, float]]:
    """(first token, last token, score) of the likeliest stretches of allowed tokens, best first; score: start times end.

    >>> best_spans(np.array([0.1, 0.9]), np.array([0.2, 0.8]), np.array([True, True]), count=1, longest=2)[0][:2]
    (1, 1)
    """
    scores = np.tril(np.triu(np.outer(start, end)), longest - 1)
    likeliest = np.argsort(-scores.ravel(), kind="stable")[:count]
    spans = zip(*np.unravel_index(likeliest, scores.shape), strict=True)
    return [
        (int(first), int(last), float(scores[first, last]))
        for first, last in spans
        if first <= last < first + longest and allowed[first] and allowed[last]
    ]


def _shares(logits: torch.Tensor, allowed: Mask) -> Scores:
    """What each token has of the probability, nothing for those that are not allowed."""
    powers: Scores = np.where(allowed, logits[0].double().numpy(), NEVER)
    powers = np.exp(powers - powers.max())
    return powers / np.sum(powers)


def _in_text(window: Window, first: int, last: int, score: float, align_to_words: bool) -> Answer:
    """Tokens first to last as characters; as whole words, where the tokenizer knows words."""
    offsets, words, context = window["offsets"], window["words"], window["context"]
    if align_to_words and words[first] is not None and words[last] is not None:
        first = min(at for at, word in enumerate(words) if context[at] and word == words[first])
        last = max(at for at, word in enumerate(words) if context[at] and word == words[last])
    return Answer(score, offsets[first][0], offsets[last][1])
