from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import Invalid, Unsupported
from backends.inprocess.turns import Style
from backends.transformers.model import Model
from backends.transformers.prompts import (
    MOST_PROMPTS,
    chat_text,
    chat_tokens,
    completion_tokens,
    refuse_too_long,
    refuse_unsupported,
)
from backends.types import Chat, Complete, JsonObject, Sampling

HELLO: JsonObject = {"role": "user", "content": "hi"}
TOOL: JsonObject = {"type": "function", "function": {"name": "look", "parameters": {}}}


def chat(*messages: JsonObject, **fields: Any) -> Chat:
    return Chat(messages=messages or (HELLO,), **fields)


@dataclass(frozen=True)
class Refusal:
    request: Chat | Complete
    param: str


@pytest.mark.parametrize(
    "case",
    [
        Refusal(chat(tools=(TOOL,)), "tools"),
        Refusal(chat(tools=(TOOL,), tool_choice="auto"), "tools"),
        Refusal(chat(response_format={"type": []}), "response_format"),
        Refusal(chat(response_format={"type": "json_object"}), "response_format"),
        Refusal(chat(response_format={"type": "json_schema", "json_schema": {}}), "response_format"),
        Refusal(Complete(prompts=("a",), suffix="z"), "suffix"),
        Refusal(Complete(prompts=("a",), echo=True, sampling=Sampling(logprobs=True)), "echo"),
    ],
    ids=lambda case: case.param,
)
def test_what_cannot_be_honoured_is_refused_by_name(case: Refusal) -> None:
    with pytest.raises(Unsupported) as caught:
        refuse_unsupported(case.request)

    assert caught.value.param == case.param


def test_a_tool_choice_without_tools_is_wrong() -> None:
    with pytest.raises(Invalid) as caught:
        refuse_unsupported(chat(tool_choice="required"))

    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    "request_",
    [chat(response_format={"type": "text"}), chat(tools=(TOOL,), tool_choice="none"), chat(tool_choice="auto")],
)
def test_what_asks_for_nothing_more_is_taken(request_: Chat) -> None:
    refuse_unsupported(request_)


def with_template(model: Model, template: str | None) -> Model:
    tokenizer = copy.copy(model.tokenizer)
    tokenizer.chat_template = template
    return replace(model, tokenizer=tokenizer)


def written(model: Model, template: str, request: Chat) -> str:
    tokens = chat_tokens(chat_text(request, with_template(model, template)), model.tokenizer)
    return model.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def test_the_template_opens_the_assistant_s_turn(nano_model: Model) -> None:
    tokens = chat_tokens(chat_text(chat(), nano_model), nano_model.tokenizer)

    assert nano_model.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False) == (
        "<|bos|><|user|>hi<|end|><|assistant|>"
    )


TURNS: tuple[JsonObject, ...] = (
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": [{"type": "text", "text": "Who are you?"}]},
)


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("turns", "Be kind.  Hi.  Hello.  Who are you?"),
        ("ended", "Be kind.<|end|>Hi.<|end|>Hello.<|end|>Who are you?<|end|>"),
        ("named", "System:\nBe kind.\n\nUser:\nHi.\n\nAssistant:\nHello.\n\nUser:\nWho are you?\n\nAssistant:\n"),
    ],
)
def test_a_model_without_a_template_reads_plain_turns(nano_model: Model, style: Style, text: str) -> None:
    model = replace(with_template(nano_model, None), style=style)
    assert chat_text(chat(*TURNS), model) == text


def test_without_a_template_nothing_is_told_to_it(nano_model: Model) -> None:
    with pytest.raises(Unsupported) as caught:
        chat_text(chat(template_args={"mood": "calm"}), with_template(nano_model, None))

    assert caught.value.param == "chat_template_kwargs.mood"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ raise_exception('turns must alternate') }}", "refuses these messages: turns must alternate"),
        ("{{ 1 + 'turns must alternate' }}", "cannot make sense of these messages, tools or chat_template_kwargs"),
    ],
)
def test_what_the_template_refuses_is_the_caller_s_mistake(nano_model: Model, template: str, told: str) -> None:
    with pytest.raises(Invalid, match=f"chat template {told}") as caught:
        chat_text(chat(), with_template(nano_model, template))

    assert caught.value.param == "messages"


def test_the_template_gets_the_caller_s_arguments_and_tools(nano_model: Model) -> None:
    request = chat(template_args={"mood": "calm"}, tools=(TOOL,), tool_choice="none")

    assert written(nano_model, "{{ mood }} {{ tools[0].function.name }}", request) == "calm look"


@pytest.mark.parametrize(
    "name", ["chat_template", "tokenize", "tools", "conversation", "truncation", "messages", "conversations", "self"]
)
def test_arguments_that_are_not_the_template_s_are_refused(nano_model: Model, name: str) -> None:
    with pytest.raises(Unsupported) as caught:
        chat_text(chat(template_args={name: "x"}), nano_model)

    assert caught.value.param == f"chat_template_kwargs.{name}"


@pytest.mark.parametrize(("template", "role"), [("{{ messages[0].role }}", "system"), ("{# developer #}", "developer")])
def test_a_developer_is_the_system_where_the_template_knows_none(nano_model: Model, template: str, role: str) -> None:
    message: JsonObject = {"role": "developer", "content": "a"}

    assert written(nano_model, template + "{{ messages[0].role }}", chat(message)).endswith(role)


def test_a_completion_is_the_prompt_s_own_tokens(nano_model: Model) -> None:
    assert completion_tokens((5, 6), nano_model.tokenizer, 1024) == [5, 6]
    assert nano_model.decode(completion_tokens("hi there", nano_model.tokenizer, 1024)) == "hi there"


@pytest.mark.parametrize("prompt", ["", (), (1024,), (-1,)])
def test_no_tokens_and_unknown_tokens_are_refused(nano_model: Model, prompt: str | tuple[int, ...]) -> None:
    with pytest.raises(Invalid) as caught:
        completion_tokens(prompt, nano_model.tokenizer, 1024)

    assert caught.value.param == "prompt"


def test_half_a_surrogate_pair_is_refused(nano_model: Model) -> None:
    with pytest.raises(Invalid, match="surrogate") as told:
        chat_tokens("\ud800", nano_model.tokenizer)
    with pytest.raises(Invalid, match="surrogate") as continued:
        completion_tokens("\ud800", nano_model.tokenizer, 1024)

    assert (told.value.param, continued.value.param) == ("messages", "prompt")


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("a" * (2048 * 13 + 1), "26625 characters and the model's context is 2048 tokens, at most 26624 characters"),
        ((5,) * 2049, "2049 tokens and the model's context is 2048 tokens"),
    ],
    ids=["text", "tokens"],
)
def test_what_cannot_fit_is_refused_by_its_length_alone(
    nano_model: Model, prompt: str | tuple[int, ...], told: str
) -> None:
    refuse_too_long(prompt[:-1], nano_model, "prompt")
    with pytest.raises(Invalid, match=told) as caught:
        refuse_too_long(prompt, nano_model, "prompt")

    assert caught.value.param == "prompt"


@given(st.lists(st.integers(3, 1023), min_size=1, max_size=30))
def test_no_text_has_fewer_tokens_than_its_length_allows(nano_model: Model, tokens: list[int]) -> None:
    text = nano_model.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    assert len(text) <= nano_model.longest * len(chat_tokens(text, nano_model.tokenizer))


def test_more_messages_than_tokens_are_refused(nano_model: Model) -> None:
    with pytest.raises(Invalid, match="2049 messages and the model's context is 2048 tokens") as caught:
        chat_text(chat(*[HELLO] * 2049), nano_model)

    assert caught.value.param == "messages"


def test_more_prompts_than_one_request_may_have_are_refused() -> None:
    refuse_unsupported(Complete(prompts=("a",) * MOST_PROMPTS))
    with pytest.raises(Invalid, match="129 prompts, and this engine takes at most 128") as caught:
        refuse_unsupported(Complete(prompts=("a",) * (MOST_PROMPTS + 1)))

    assert caught.value.param == "prompt"
