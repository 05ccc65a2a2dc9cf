"""What a caller gets through the adapter: texts, several choices, stop sequences, tool calls, log-probabilities, usage."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from backends.errors import Invalid
from backends.tgi.backend import TgiBackend
from backends.types import Complete, JsonObject, Sampling, TokenLogprob, Transcribe, Usage
from tests.backends.tgi.answers import ask, chat
from tests.engines.tgi_double import TgiDouble

TOOLS: tuple[JsonObject] = (
    {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}},
)


class TestChat:
    async def test_text_finish_and_usage(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        tgi.comments = True
        answer = await ask(backend, chat())
        assert (answer.only.text, answer.only.finish) == ("I heard: hello you", "stop")
        assert answer.usage == Usage(3, 5)

    async def test_length(self, backend: TgiBackend) -> None:
        answer = await ask(backend, replace(chat(), sampling=Sampling(max_tokens=3)))
        assert (answer.only.text, answer.only.finish) == ("I heard: hello", "length")

    @pytest.mark.parametrize(
        ("stop", "text"), [(" you", "I heard: hello"), ("lo you", "I heard: hel"), ("ello you", "I heard: h")]
    )
    async def test_the_stop_sequence_is_not_shown(self, backend: TgiBackend, stop: str, text: str) -> None:
        answer = await ask(backend, replace(chat("hello you there"), sampling=Sampling(stop=(stop, "never"))))
        assert (answer.only.text, answer.only.finish) == (text, "stop")

    async def test_choices_have_their_own_seeds_and_the_prompt_counts_once(
        self, tgi: TgiDouble, backend: TgiBackend
    ) -> None:
        answer = await ask(backend, replace(chat("hi"), sampling=Sampling(n=3, seed=7)))
        assert {index: choice.text for index, choice in answer.choices.items()} == {
            0: "I heard: hi #7",
            1: "I heard: hi #8",
            2: "I heard: hi #9",
        }
        assert answer.usage == Usage(2, 15)
        assert len(tgi.requests) == 3

    async def test_logprobs(self, backend: TgiBackend) -> None:
        answer = await ask(backend, replace(chat("hi"), sampling=Sampling(logprobs=True, top_logprobs=2)))
        first = answer.only.logprobs[0]
        assert first == TokenLogprob("I", -0.125, (("I", -0.125), ("~1", -1.125)))

    async def test_a_tool_call_is_finished_once_under_an_id_of_our_own(
        self, tgi: TgiDouble, backend: TgiBackend
    ) -> None:
        tgi.call_tool("look_up", '{"word":"tea","count":2}')
        answer = await ask(backend, replace(chat(), tools=TOOLS))
        [(call_id, name, arguments)] = answer.only.calls.values()
        assert (len(call_id), call_id[:5]) == (37, "call_")
        assert (name, json.loads(arguments)) == ("look_up", {"word": "tea", "count": 2})
        assert (answer.only.text, answer.only.finish) == ("", "tool_calls")
        assert answer.usage is not None

    async def test_a_tool_call_cut_by_the_limit_is_said_to_be(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        tgi.call_tool("look_up", '{"word":"tea","count":2}')
        answer = await ask(backend, replace(chat(), tools=TOOLS, sampling=Sampling(max_tokens=2)))
        assert answer.only.finish == "length"

    async def test_a_limit_before_the_calls_name_leaves_usage_alone(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        tgi.replay([{"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}}])
        answer = await ask(backend, replace(chat(), tools=TOOLS, sampling=Sampling(max_tokens=2)))
        assert (answer.only.text, answer.only.finish, answer.usage) == ("", "length", Usage(4, 2))

    async def test_tools_that_are_not_needed(self, backend: TgiBackend) -> None:
        answer = await ask(backend, replace(chat(), tools=TOOLS, tool_choice="auto"))
        assert (answer.only.text, answer.only.finish, answer.only.calls) == ("I heard: hello you", "stop", {})


class TestComplete:
    async def test_prompts_times_n(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        answer = await ask(backend, Complete(prompts=("a b", "c"), sampling=Sampling(n=2, seed=1)))
        assert [answer.choices[index].text for index in range(4)] == [
            "I heard: a b #1",
            "I heard: a b #2",
            "I heard: c #1",
            "I heard: c #2",
        ]
        assert answer.usage == Usage(3, 22)
        assert {received.path for received in tgi.requests} == {"/generate_stream"}

    async def test_many_prompts_take_few_places_at_a_time(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        answer = await ask(backend, Complete(prompts=tuple(f"p{number}" for number in range(40))))
        assert [answer.choices[index].text for index in range(40)] == [f"I heard: p{number}" for number in range(40)]
        assert answer.usage == Usage(40, 160)
        assert tgi.most_running <= 8

    async def test_stop_and_length(self, backend: TgiBackend) -> None:
        stopped = await ask(backend, Complete(prompts=("a b c",), sampling=Sampling(stop=(" b",), logprobs=True)))
        assert (stopped.only.text, stopped.only.finish) == ("I heard: a", "stop")
        assert [token.token for token in stopped.only.logprobs] == ["I", " heard:", " a"]
        short = await ask(backend, Complete(prompts=("a b c",), sampling=Sampling(max_tokens=2)))
        assert (short.only.text, short.only.finish) == ("I heard:", "length")

    async def test_logprobs(self, backend: TgiBackend) -> None:
        answer = await ask(backend, Complete(prompts=("a",), sampling=Sampling(logprobs=True, top_logprobs=2)))
        assert answer.only.logprobs == [
            TokenLogprob("I", -0.125, (("I", -0.125), ("~1", -1.125))),
            TokenLogprob(" heard:", -0.25, ((" heard:", -0.25), ("~1", -1.25))),
            TokenLogprob(" a", -0.375, ((" a", -0.375), ("~1", -1.375))),
        ]

    async def test_echo(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        answer = await ask(backend, Complete(prompts=("a b",), echo=True))
        assert answer.only.text == "a bI heard: a b"
        assert answer.only.logprobs == []
        assert answer.usage == Usage(2, 5)

    async def test_echo_with_logprobs(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        answer = await ask(
            backend, Complete(prompts=("a b",), echo=True, sampling=Sampling(logprobs=True, max_tokens=1))
        )
        assert answer.only.text == "a bI"
        assert [(token.token, token.logprob) for token in answer.only.logprobs] == [
            ("<s>", None),
            ("a", -0.5),
            (" b", -1.0),
            ("I", -0.125),
        ]
        assert answer.usage == Usage(3, 1)
        assert tgi.requests[0].path == "/generate"

    async def test_best_of_answers_the_likeliest_and_counts_all(self, tgi: TgiDouble, backend: TgiBackend) -> None:
        # The double's tokens are less likely the later they come: the shortest text is the likeliest.
        tgi.script = lambda prompt, seed: ["x"] * (10 - (seed or 0))
        answer = await ask(backend, Complete(prompts=("a",), sampling=Sampling(n=2, best_of=4, seed=1)))
        assert {index: choice.text for index, choice in answer.choices.items()} == {0: "x" * 6, 1: "x" * 7}
        assert all(choice.logprobs == [] for choice in answer.choices.values())
        assert answer.usage == Usage(1, 10 + 9 + 8 + 7)


async def test_other_work_is_refused(backend: TgiBackend) -> None:
    with pytest.raises(Invalid, match="text only"):
        await ask(backend, Transcribe(audio=b""))
