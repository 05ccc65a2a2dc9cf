"""Conversations, which transformers 4.42 removed: the next message of one, from any model that generates text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from transformers import GenerationConfig
from transformers.pipelines import Pipeline
from transformers.utils.chat_template_utils import Chat

from backends.inprocess.turns import STOPS, style_of, write


class Message(TypedDict):
    """One message."""

    role: str
    content: str


class Answered(TypedDict):
    """The tokens of an answer, [1, tokens], and what came before it."""

    answer: torch.Tensor
    messages: Sequence[Message]


class Conversational(Pipeline):  # type: ignore[misc]  # the library has no types
    """{"generated_text", "conversation": {"past_user_inputs", "generated_responses"}, "messages"} for a list of messages.

    The first two are what the hub's API answered; messages are the conversation with the answer at its end.
    """

    _pipeline_calls_generate = True
    _load_tokenizer = True
    _load_processor = _load_image_processor = _load_video_processor = _load_feature_extractor = False
    _default_generation_config = GenerationConfig(max_new_tokens=256)

    def _sanitize_parameters(self, **params: object) -> tuple[dict[str, object], dict[str, object], dict[str, object]]:
        generation = {name: value for name, value in params.items() if name != "clean_up_tokenization_spaces"}
        if "min_length_for_response" in generation:
            generation["min_new_tokens"] = generation.pop("min_length_for_response")
        after = {
            name: value
            for name, value in params.items()
            if name not in generation and name != "min_length_for_response"
        }
        return {}, generation, after

    def preprocess(self, chat: Chat) -> dict[str, object]:
        """Tokens of the conversation: by the model's template, or in plain turns."""
        if self.tokenizer.chat_template is not None:
            tokens = self.tokenizer.apply_chat_template(
                chat.messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )
        else:
            turns = [(message["role"], message["content"]) for message in chat.messages]
            text = write(turns, style_of(self.model.config), self.tokenizer.eos_token or "\n")
            tokens = self.tokenizer(text, return_tensors="pt")
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"], "messages": chat.messages}

    def _forward(self, inputs: dict[str, object], **generation: object) -> Answered:
        tokens = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
        repeated = 0 if self.model.config.is_encoder_decoder else tokens["input_ids"].shape[1]
        settled = self._prepare_generate_kwargs(generation)
        if "max_new_tokens" in settled.keys() - generation.keys():  # the usual ones, where nobody says
            settled["max_new_tokens"] = min(settled["max_new_tokens"], self._room(repeated))
        answers = self.model.generate(**tokens, **settled)
        return {"answer": answers[:1, repeated:], "messages": inputs["messages"]}  # type: ignore[typeddict-item]

    def _room(self, before: int) -> int:
        """How many tokens the model can count to after those before."""
        places = getattr(self.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        return max((places or 1 << 30) - before - 1, 1)

    def postprocess(self, output: Answered, *, clean_up_tokenization_spaces: bool = False) -> dict[str, object]:
        """See the class."""
        said = self.tokenizer.decode(
            output["answer"][0], skip_special_tokens=True, clean_up_tokenization_spaces=clean_up_tokenization_spaces
        )
        if self.tokenizer.chat_template is None:
            for stop in STOPS[style_of(self.model.config)]:
                said = said.partition(stop)[0]
        messages = [*output["messages"], Message(role="assistant", content=said)]
        return {
            "generated_text": said,
            "conversation": {
                "past_user_inputs": _by("user", messages),
                "generated_responses": _by("assistant", messages),
            },
            "messages": messages,
        }


def _by(role: str, messages: Sequence[Message]) -> list[str]:
    return [message["content"] for message in messages if message["role"] == role]
