"""Summarization, translation and text2text-generation, which transformers 5 removed: encoder-decoder models, text to text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from transformers import BatchEncoding, GenerationConfig
from transformers.pipelines import Pipeline

# Keyword arguments of a pipeline's three steps: preprocess, _forward, postprocess.
Steps: TypeAlias = tuple[dict[str, object], dict[str, object], dict[str, object]]

_DEFAULTS = GenerationConfig(max_new_tokens=256, num_beams=4)


class Text2Text(Pipeline):  # type: ignore[misc]  # the library has no types
    """`[{"generated_text"}]` for a text, one such object each for a list of them; lists of several when several are asked for.

    The checkpoint's own settings for the task (its `task_specific_params`) hold: a prefix before the text, beams, lengths.
    """

    answer = "generated"
    _pipeline_calls_generate = True
    _load_tokenizer = True
    _load_processor = _load_image_processor = _load_video_processor = _load_feature_extractor = False
    _default_generation_config = _DEFAULTS

    def __call__(self, inputs: str | list[str], **params: object) -> object:
        """See the class."""
        results = super().__call__(inputs, **params)
        if isinstance(inputs, list) and all(len(result) == 1 for result in results):
            return [result[0] for result in results]
        return results

    def _sanitize_parameters(self, **params: object) -> Steps:
        before = _only(params, "truncation")
        after = _only(params, "clean_up_tokenization_spaces", "return_text", "return_tensors")
        generation = {name: value for name, value in params.items() if name not in {*before, *after, "generate_kwargs"}}
        more = params.get("generate_kwargs")
        return before, self._settled({**generation, **(more if isinstance(more, dict) else {})}, self.task), after

    def preprocess(self, text: str, truncation: object = False) -> BatchEncoding:
        """Tokens of a text, behind the words with which the checkpoint wants its task asked for."""
        prefix = self._told(self.task).get("prefix") or getattr(self.model.config, "prefix", None) or ""
        return self._tokens(f"{prefix}{text}", truncation)

    def _tokens(self, text: str, truncation: object) -> BatchEncoding:
        tokens = self.tokenizer(text, truncation=truncation, return_tensors="pt")
        tokens.pop("token_type_ids", None)
        return tokens

    def _told(self, task: str) -> Mapping[str, object]:
        """What the checkpoint says of a task."""
        tasks = getattr(self.model.config, "task_specific_params", None)
        told = tasks.get(task) if isinstance(tasks, dict) else None
        return told if isinstance(told, dict) else {}

    def _settled(self, generation: dict[str, object], task: str) -> dict[str, object]:
        """What the call says, over what the checkpoint says for the task; of two lengths the call's own holds."""
        said = {name: value for name, value in self._told(task).items() if hasattr(_DEFAULTS, name)}
        if "max_new_tokens" in generation:
            said.pop("max_length", None)
        return {**said, **generation}

    def _forward(self, tokens: Mapping[str, torch.Tensor], **generation: object) -> dict[str, torch.Tensor]:
        answers = self.model.generate(**tokens, **self._prepare_generate_kwargs(generation))
        texts = len(tokens["input_ids"])
        return {"answers": answers.reshape(texts, len(answers) // texts, -1)}

    def postprocess(
        self,
        output: Mapping[str, torch.Tensor],
        *,
        return_text: bool = True,
        return_tensors: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> list[dict[str, object]]:
        """One object for each answer to one text."""
        answers = output["answers"][0]
        if return_tensors or not return_text:
            return [{f"{self.answer}_token_ids": answer} for answer in answers]
        texts = self.tokenizer.batch_decode(
            answers, skip_special_tokens=True, clean_up_tokenization_spaces=clean_up_tokenization_spaces
        )
        return [{f"{self.answer}_text": text} for text in texts]


class Summarization(Text2Text):
    """`[{"summary_text"}]`."""

    answer = "summary"


class Translation(Text2Text):
    """`[{"translation_text"}]`. Models of many languages are told `src_lang` and `tgt_lang`, in their own codes."""

    answer = "translation"

    def _sanitize_parameters(self, **params: object) -> Steps:
        pair = _only(params, "src_lang", "tgt_lang")
        before, generation, after = super()._sanitize_parameters(
            **{name: value for name, value in params.items() if name not in pair}
        )
        return {**before, **pair}, self._settled(generation, _asked(pair.get("src_lang"), pair.get("tgt_lang"))), after

    def preprocess(
        self, text: str, truncation: object = False, src_lang: str | None = None, tgt_lang: str | None = None
    ) -> BatchEncoding:
        """Tokens of a text, told its languages as the model wants them. Raises ValueError for one that has to be told them."""
        told = getattr(self.tokenizer, "_build_translation_inputs", None)
        if told is None:
            return self._tokens(f"{self._told(_asked(src_lang, tgt_lang)).get('prefix', '')}{text}", truncation)
        source, target = src_lang or self.tokenizer.src_lang, tgt_lang or self.tokenizer.tgt_lang
        if not target:
            raise ValueError("this model translates between many languages: tgt_lang is needed")
        return told(text, return_tensors="pt", truncation=truncation, src_lang=source, tgt_lang=target)


def _asked(source: object, target: object) -> str:
    """The task under whose name a checkpoint such as T5's speaks of a pair of languages."""
    return f"translation_{source}_to_{target}"


def _only(params: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: params[name] for name in names if name in params}
