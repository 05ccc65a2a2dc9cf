"""Each difference between OpenAI's API and TGI's, as a request meets it: translated, dropped when neutral, refused by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.errors import Invalid, Unsupported
from backends.tgi.backend import TgiBackend
from backends.tgi.chat import encode_chat
from backends.tgi.completion import encode_generation, path_of
from backends.types import Chat, Complete, Json, JsonObject, Sampling
from tests.backends.tgi.answers import ask, chat, user
from tests.engines.tgi_double import TgiDouble

SCHEMA: JsonObject = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL: JsonObject = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
ONE = Complete(prompts=("hello",))


def chat_with(**options: object) -> Chat:
    return replace(chat(), sampling=replace(Sampling(), **options))  # type: ignore[arg-type]


def complete_with(**options: object) -> Complete:
    return replace(ONE, sampling=replace(Sampling(), **options))  # type: ignore[arg-type]


def native(request: Complete) -> JsonObject:
    parameters = encode_generation(request, "hello", 0)["parameters"]
    assert isinstance(parameters, dict)
    return parameters


class TestBothRoutesTakeWhatTgiTakes:
    """What is sent is really accepted: the double is as strict as TGI."""

    @pytest.mark.parametrize(
        "sampling",
        [
            Sampling(),
            Sampling(
                temperature=1.0, top_p=1, frequency_penalty=0, presence_penalty=0, min_p=0, top_k=0, logit_bias={}
            ),
            Sampling(temperature=0, top_p=0.5, top_k=-1, repetition_penalty=1.0),
            Sampling(
                temperature=0.7, top_p=0.9, frequency_penalty=-1.5, repetition_penalty=1.2, seed=2**64 - 1, max_tokens=9
            ),
            Sampling(stop=("a", "b", "c", "d"), logprobs=True, top_logprobs=5),
        ],
    )
    async def test_accepted(self, backend: TgiBackend, sampling: Sampling) -> None:
        assert (await ask(backend, replace(chat(), sampling=sampling))).only.text.startswith("I heard:")
        assert (await ask(backend, replace(ONE, sampling=sampling))).only.text.startswith("I heard:")


class TestChatBody:
    def test_plain(self) -> None:
        assert encode_chat(chat(), 0) == {
            "model": "tgi",
            "messages": [user("hello you")],
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    @pytest.mark.parametrize(
        ("options", "wire"),
        [
            ({"top_p": 1.0}, {}),
            ({"top_p": 0.5}, {"top_p": 0.5}),
            ({"temperature": 0.0, "top_p": 0.5}, {"temperature": 0.0}),
            ({"presence_penalty": 0.0}, {}),
            ({"frequency_penalty": 0.0}, {}),
            ({"frequency_penalty": -1.0}, {"frequency_penalty": -1.0}),
            ({"repetition_penalty": 1.0}, {}),
            ({"repetition_penalty": 1.5}, {"presence_penalty": -0.5}),
            ({"stop": ("x",)}, {"stop": ["x"]}),
            ({"max_tokens": 3}, {"max_tokens": 3}),
            ({"seed": 7}, {"seed": 9}),
            ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
            ({"logprobs": True}, {"logprobs": True}),
            ({"n": 5}, {}),
        ],
    )
    def test_sampling(self, options: dict[str, object], wire: JsonObject) -> None:
        assert encode_chat(chat_with(**options), 2) == encode_chat(chat(), 0) | wire

    @pytest.mark.parametrize(
        ("messages", "wire"),
        [
            ([{"role": "developer", "content": "x"}], [{"role": "system", "content": "x"}]),
            ([{"role": "user", "content": "x", "name": "Ann"}], [{"role": "user", "name": "Ann", "content": "x"}]),
            ([{"role": "assistant", "content": None}], [{"role": "assistant", "content": ""}]),
            ([{"role": "tool", "content": "7", "tool_call_id": "call_1"}], [{"role": "tool", "content": "7"}]),
            (
                [{"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}],
                [{"role": "assistant", "tool_calls": [{"id": "c"}]}],
            ),
            (
                [{"role": "assistant", "content": "Let me look.", "tool_calls": [{"id": "c"}]}],
                [{"role": "assistant", "content": "Let me look."}, {"role": "assistant", "tool_calls": [{"id": "c"}]}],
            ),
            (
                [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "see"},
                            {"type": "image_url", "image_url": {"url": "u", "detail": "high"}},
                        ],
                    }
                ],
                [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "u"}}],
                    }
                ],
            ),
        ],
    )
    def test_messages(self, messages: list[JsonObject], wire: Json) -> None:
        assert encode_chat(Chat(messages=tuple(messages)), 0)["messages"] == wire

    def test_tools(self) -> None:
        bare: JsonObject = {"type": "function", "function": {"name": "g"}}
        body = encode_chat(replace(chat(), tools=(TOOL, bare), tool_choice="required"), 0)
        assert body["tool_choice"] == "required"
        assert body["tools"] == [
            TOOL,
            {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}},
        ]

    def test_tools_that_may_not_be_called_are_not_sent_and_leave_room_for_a_format(self) -> None:
        wanted: JsonObject = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}
        body = encode_chat(replace(chat(), tools=(TOOL,), tool_choice="none", response_format=wanted), 0)
        assert "tools" not in body
        assert body["response_format"] == {"type": "json_schema", "value": {"name": "a", "schema": SCHEMA}}

    @pytest.mark.parametrize(
        ("wanted", "wire"),
        [
            ({"type": "text"}, None),
            (
                {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
                {"type": "json_schema", "value": {"schema": SCHEMA}},
            ),
            ({"type": "json_object", "value": SCHEMA}, {"type": "json", "value": SCHEMA}),
            ({"type": "regex", "value": "a+"}, {"type": "regex", "value": "a+"}),
        ],
    )
    async def test_response_format(self, backend: TgiBackend, wanted: JsonObject, wire: Json) -> None:
        request = replace(chat(), response_format=wanted)
        assert encode_chat(request, 0).get("response_format") == wire
        assert (await ask(backend, request)).only.finish == "stop"


def parted(part: Json) -> Chat:
    return Chat(messages=(user("a"), {"role": "user", "content": [{"type": "text", "text": "b"}, part]}))


REFUSED_CHATS: list[tuple[Chat, type[Invalid], str]] = [
    (chat_with(presence_penalty=0.5), Unsupported, "presence_penalty"),
    (chat_with(logit_bias={"5": 1.0}), Unsupported, "logit_bias"),
    (chat_with(min_p=0.1), Unsupported, "min_p"),
    (chat_with(top_k=5), Unsupported, "top_k"),
    (chat_with(best_of=2), Unsupported, "best_of"),
    (chat_with(stop=tuple("abcde")), Invalid, "stop"),
    (chat_with(stop=("",)), Invalid, "stop"),
    (chat_with(seed=-1), Invalid, "seed"),
    (chat_with(seed=2**64), Invalid, "seed"),
    (replace(chat(), template_args={"enable_thinking": True}), Unsupported, "chat_template_kwargs"),
    (replace(chat(), response_format={"type": "json_object"}), Unsupported, "response_format"),
    (replace(chat(), response_format={"type": "grammar"}), Unsupported, "response_format.type"),
    (replace(chat(), response_format={"type": "json_schema"}), Invalid, "response_format.json_schema"),
    (
        replace(chat(), response_format={"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}),
        Invalid,
        "response_format.json_schema.schema",
    ),
    (
        replace(chat(), tools=(TOOL,), response_format={"type": "json_object", "value": SCHEMA}),
        Unsupported,
        "response_format",
    ),
    (replace(chat(), tools=({"type": "custom", "custom": {"name": "c"}},)), Unsupported, "tools.0.type"),
    (replace(chat(), tools=(TOOL,), tool_choice={"type": "allowed_tools"}), Unsupported, "tool_choice.type"),
    (parted({"type": "input_audio", "input_audio": {}}), Unsupported, "messages.1.content.1.type"),
    (
        parted({"type": "image_url", "image_url": {"url": "u", "detail": "low"}}),
        Unsupported,
        "messages.1.content.1.image_url.detail",
    ),
    (parted({"type": "image_url"}), Invalid, "messages.1.content.1.image_url"),
    (parted("text"), Invalid, "messages.1.content.1.type"),
    (Chat(messages=({"role": "assistant", "function_call": {"name": "f"}},)), Unsupported, "messages.0.function_call"),
]

REFUSED_COMPLETIONS: list[tuple[Complete, type[Invalid], str]] = [
    (complete_with(presence_penalty=0.5), Unsupported, "presence_penalty"),
    (complete_with(logit_bias={"5": 1.0}), Unsupported, "logit_bias"),
    (complete_with(min_p=0.1), Unsupported, "min_p"),
    (complete_with(seed=-1), Invalid, "seed"),
    (complete_with(n=3, best_of=2), Invalid, "best_of"),
    (complete_with(temperature=-1), Invalid, "temperature"),
    (complete_with(top_p=0.0), Invalid, "top_p"),
    (Complete(prompts=((1, 2),)), Unsupported, "prompt"),
    (Complete(prompts=("",)), Invalid, "prompt"),
    (Complete(prompts=("a",), suffix="z"), Unsupported, "suffix"),
]


class TestRefusals:
    @pytest.mark.parametrize(("request_", "kind", "param"), [*REFUSED_CHATS, *REFUSED_COMPLETIONS])
    async def test_refused_by_name_and_never_sent(
        self, tgi: TgiDouble, backend: TgiBackend, request_: Chat | Complete, kind: type[Invalid], param: str
    ) -> None:
        with pytest.raises(kind) as refused:
            await ask(backend, request_)
        assert (type(refused.value), refused.value.param) == (kind, param)
        assert tgi.requests == []


class TestNativeBody:
    def test_says_only_what_the_caller_said(self) -> None:
        assert encode_generation(ONE, "hello", 0) == {
            "inputs": "hello",
            "parameters": {"do_sample": True, "details": True, "decoder_input_details": False},
        }

    @pytest.mark.parametrize(
        ("options", "wire"),
        [
            ({"temperature": 0.0, "top_p": 0.5, "top_k": 5}, {"do_sample": False}),
            ({"temperature": 0.5, "top_p": 0.5, "top_k": 5}, {"temperature": 0.5, "top_p": 0.5, "top_k": 5}),
            ({"top_p": 1.0, "top_k": -1}, {}),
            ({"frequency_penalty": 0.0}, {}),
            ({"frequency_penalty": -0.5}, {"frequency_penalty": -0.5}),
            ({"repetition_penalty": 1.25}, {"repetition_penalty": 1.25}),
            ({"max_tokens": 3, "seed": 7, "stop": ("x",)}, {"max_new_tokens": 3, "seed": 7, "stop": ["x"]}),
            ({"logprobs": True, "top_logprobs": 3}, {"top_n_tokens": 3}),
            ({"logprobs": True}, {}),
        ],
    )
    def test_sampling(self, options: dict[str, object], wire: JsonObject) -> None:
        assert native(complete_with(**options)) == native(ONE) | wire

    def test_the_prompts_own_logprobs_are_not_streamed(self) -> None:
        echoed = replace(complete_with(logprobs=True), echo=True)
        assert (path_of(echoed), native(echoed)["decoder_input_details"]) == ("/generate", True)
        assert path_of(replace(ONE, echo=True)) == "/generate_stream"
