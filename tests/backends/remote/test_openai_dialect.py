"""OpenAI's dialect from the client's side: what is sent, and what is made of what comes back."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import BackendError, Broken, Invalid, Overloaded, TimedOut, Unavailable, Unsupported
from backends.remote.openai_dialect import ChunkDecoder, decode_chat, decode_completion, encode_chat, encode_complete
from backends.types import (
    Chat,
    Complete,
    Delta,
    Finish,
    Json,
    JsonObject,
    Sampling,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)

FIELDS = [
    "choices",
    "delta",
    "index",
    "logprobs",
    "content",
    "tool_calls",
    "function",
    "usage",
    "error",
    "finish_reason",
    "message",
    "top_logprobs",
    "tokens",
    "token_logprobs",
    "text",
    "token",
]
HELLO: JsonObject = {"role": "user", "content": "Hello"}


def chunk(*choices: JsonObject, usage: JsonObject | None = None) -> JsonObject:
    return {"object": "chat.completion.chunk", "choices": list(choices), "usage": usage}


def delta(index: int = 0, reason: str | None = None, **fields: Json) -> JsonObject:
    return {"index": index, "delta": fields, "finish_reason": reason}


class TestEncodeChat:
    def test_says_only_what_the_caller_said(self) -> None:
        assert encode_chat(Chat(messages=(HELLO,)), "m", stream=False) == {
            "model": "m",
            "messages": [HELLO],
            "stream": False,
        }

    def test_a_stream_asks_for_usage(self) -> None:
        body = encode_chat(Chat(messages=(HELLO,)), "m", stream=True)
        assert body["stream"] is True
        assert body["stream_options"] == {"include_usage": True}

    def test_carries_every_option_under_its_name_on_the_wire(self) -> None:
        sampling = Sampling(
            max_tokens=7, temperature=0.0, top_p=0.5, top_k=3, min_p=0.1, repetition_penalty=1.1, frequency_penalty=0.2,
            presence_penalty=-0.2, seed=0, stop=("a", "b"), n=2, logprobs=True, top_logprobs=4, logit_bias={"5": -1.0},
        )  # fmt: skip
        request = Chat(
            messages=(HELLO,),
            sampling=sampling,
            tools=({"type": "function"},),
            tool_choice="required",
            parallel_tool_calls=False,
            response_format={"type": "json_object"},
            template_args={"enable_thinking": False},
        )
        assert encode_chat(request, "m", stream=False) == {
            "model": "m", "messages": [HELLO], "stream": False, "max_tokens": 7, "temperature": 0.0, "top_p": 0.5, "top_k": 3,
            "min_p": 0.1, "repetition_penalty": 1.1, "frequency_penalty": 0.2, "presence_penalty": -0.2, "seed": 0,
            "stop": ["a", "b"], "n": 2, "logprobs": True, "top_logprobs": 4, "logit_bias": {"5": -1.0},
            "tools": [{"type": "function"}], "tool_choice": "required", "parallel_tool_calls": False,
            "response_format": {"type": "json_object"}, "chat_template_kwargs": {"enable_thinking": False},
        }  # fmt: skip

    def test_refuses_best_of_by_name(self) -> None:
        with pytest.raises(Unsupported) as refused:
            encode_chat(Chat(messages=(HELLO,), sampling=Sampling(best_of=2)), "m", stream=False)
        assert refused.value.param == "best_of"


class TestEncodeComplete:
    @pytest.mark.parametrize(
        ("prompts", "wire"),
        [(("a",), "a"), (("a", "b"), ["a", "b"]), (((1, 2),), [1, 2]), (((1,), (2,)), [[1], [2]])],
    )
    def test_prompt_keeps_the_simplest_of_its_four_shapes(
        self, prompts: tuple[str | tuple[int, ...], ...], wire: Json
    ) -> None:
        assert encode_complete(Complete(prompts=prompts), "m", stream=False)["prompt"] == wire

    def test_options_of_completions(self) -> None:
        sampling = Sampling(logprobs=True, top_logprobs=0, best_of=3)
        body = encode_complete(Complete(prompts=("a",), sampling=sampling, echo=True, suffix="z"), "m", stream=False)
        assert body == {
            "model": "m", "prompt": "a", "stream": False, "logprobs": 0, "echo": True, "suffix": "z", "best_of": 3,
        }  # fmt: skip


class TestChatChunks:
    def test_text_reasoning_and_refusal(self) -> None:
        decoder = ChunkDecoder("chat")
        assert decoder.feed(chunk(delta(role="assistant", content=""))) == []
        assert decoder.feed(chunk(delta(content="Hi"))) == [Delta(0, text="Hi")]
        assert decoder.feed(chunk(delta(refusal="No"))) == [Delta(0, text="No")]
        assert decoder.feed(chunk(delta(reasoning="hm"))) == [Delta(0, reasoning="hm")]
        assert decoder.feed(chunk(delta(reasoning_content="hm"))) == [Delta(0, reasoning="hm")]

    def test_choices_keep_their_numbers_and_usage_comes_last(self) -> None:
        counted: JsonObject = {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 1},
        }
        events = ChunkDecoder("chat").feed(chunk(delta(1, content="b"), delta(0, "length", content="a"), usage=counted))
        assert events == [Delta(1, text="b"), Delta(0, text="a"), Finish(0, "length"), Usage(3, 2, 1)]

    def test_a_tool_call_in_pieces(self) -> None:
        decoder = ChunkDecoder("chat")
        first: Json = [{"index": 1, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]
        second: Json = [{"index": 1, "function": {"arguments": "{}"}}]
        assert decoder.feed(chunk(delta(tool_calls=first))) == [Delta(0, tool_calls=(ToolCallDelta(1, "call_1", "f"),))]
        assert decoder.feed(chunk(delta(0, "tool_calls", tool_calls=second))) == [
            Delta(0, tool_calls=(ToolCallDelta(1, arguments="{}"),)),
            Finish(0, "tool_calls"),
        ]

    def test_logprobs(self) -> None:
        top: Json = [{"token": "a", "logprob": -0.1, "bytes": [97]}, {"token": "b", "logprob": -2}]
        choice = delta(content="a") | {"logprobs": {"content": [{"token": "a", "logprob": -0.1, "top_logprobs": top}]}}
        expected = TokenLogprob("a", -0.1, (("a", -0.1), ("b", -2.0)))
        assert ChunkDecoder("chat").feed(chunk(choice)) == [Delta(0, text="a", logprobs=(expected,))]

    @pytest.mark.parametrize("reason", ["abort", "error", 7])
    def test_an_unknown_finish_is_no_success(self, reason: Json) -> None:
        with pytest.raises(Broken, match="unknown reason"):
            ChunkDecoder("chat").feed(chunk({"index": 0, "delta": {}, "finish_reason": reason}))

    @pytest.mark.parametrize("garbage", [{}, {"choices": None}, {"choices": "x"}, {"hello": 1}])
    def test_garbage_is_broken(self, garbage: JsonObject) -> None:
        with pytest.raises(Broken, match="no choices"):
            ChunkDecoder("chat").feed(garbage)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
            max_leaves=20,
        )
    )
    def test_whatever_an_engine_sends_is_events_or_a_backend_error(self, value: Json) -> None:
        bodies: list[JsonObject] = [{"choices": [value]}, {"choices": [{"delta": value}]}]
        bodies += [value] if isinstance(value, dict) else []
        for body, decode in itertools.product(bodies, (ChunkDecoder("chat").feed, decode_chat, decode_completion)):
            try:
                decode(body)
            except BackendError as error:
                assert error.message


class TestCompletionChunks:
    def test_text_logprobs_and_finish(self) -> None:
        logprobs: JsonObject = {
            "tokens": ["a", "b"], "token_logprobs": [None, -0.5], "top_logprobs": [None, {"c": -1.0, "b": -0.5}],
            "text_offset": [0, 1],
        }  # fmt: skip
        choice: JsonObject = {"index": 2, "text": "ab", "logprobs": logprobs, "finish_reason": "stop"}
        assert ChunkDecoder("completion").feed({"choices": [choice]}) == [
            Delta(
                2, text="ab", logprobs=(TokenLogprob("a", None), TokenLogprob("b", -0.5, (("b", -0.5), ("c", -1.0))))
            ),
            Finish(2, "stop"),
        ]

    def test_without_top_logprobs(self) -> None:
        choice: JsonObject = {"index": 0, "text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [-1.5]}}
        assert ChunkDecoder("completion").feed({"choices": [choice]}) == [
            Delta(0, text="a", logprobs=(TokenLogprob("a", -1.5),))
        ]


class TestWholeAnswers:
    def test_chat_with_parallel_tool_calls(self) -> None:
        calls: Json = [
            {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ]
        body: JsonObject = {
            "choices": [
                {"index": 0, "message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"},
                {"index": 1, "message": {"content": "Hi"}, "finish_reason": "stop"},
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        }
        assert decode_chat(body) == [
            Delta(0, tool_calls=(ToolCallDelta(0, "call_a", "f", '{"x":1}'), ToolCallDelta(1, "call_b", "g", "{}"))),
            Finish(0, "tool_calls"),
            Delta(1, text="Hi"),
            Finish(1, "stop"),
            Usage(1, 2),
        ]

    def test_completion(self) -> None:
        body: JsonObject = {"choices": [{"index": 0, "text": "x", "finish_reason": "length"}], "usage": None}
        assert decode_completion(body) == [Delta(0, text="x"), Finish(0, "length")]

    def test_an_error_in_place_of_an_answer(self) -> None:
        with pytest.raises(Invalid):
            decode_chat({"error": {"message": "no", "code": 400}})


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            ({"message": "m", "type": "BadRequestError", "code": 400}, Invalid),
            ({"message": "m", "type": "invalid_request_error", "code": "context_length_exceeded"}, Invalid),
            ({"message": "m", "type": "NotFoundError", "code": 404}, Invalid),
            ({"message": "m", "type": "rate_limit_error"}, Overloaded),
            ({"message": "m", "code": 429}, Overloaded),
            ({"message": "m", "code": 503}, Unavailable),
            ({"message": "m", "code": 504}, TimedOut),
            ({"message": "Traceback: secret", "type": "InternalServerError", "code": 500}, Broken),
            ("some words", Broken),
        ],
    )
    def test_an_error_chunk_is_raised_as_what_it_is(self, error: Json, kind: type[BackendError]) -> None:
        with pytest.raises(kind) as raised:
            ChunkDecoder("chat").feed({"error": error})
        assert type(raised.value) is kind
        assert "secret" not in raised.value.message

    def test_a_complaint_about_the_request_keeps_its_words_and_param(self) -> None:
        with pytest.raises(Invalid, match="too long") as raised:
            ChunkDecoder("chat").feed({"error": {"message": "too long", "code": 400, "param": "messages"}})
        assert raised.value.param == "messages"
