"""Every recorded reply of a real TGI, read over a socket: its text, tool calls, finish reasons and usage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, cast

import pytest

from backends.errors import Broken
from backends.remote.openai_dialect import decode_completion
from backends.tgi.backend import TgiBackend
from backends.tgi.chat import normalised
from backends.types import Complete, Event, FinishReason, Json, JsonObject, Sampling, Usage
from tests.backends.tgi.answers import Answer, ask, chat, collected
from tests.engines.tgi_double import TgiDouble

RECORDED: Final = Path(__file__).parent / "recorded"

WEATHER: Final = {"location": "Brooklyn, NY", "format": "fahrenheit"}
AI: Final = "I'm an artificial intelligence model known as a large language model (LLM) or conversational AI"
SEA: Final = "Once upon a time, in a vibrant ocean filled with coral reefs and schools of shimmering fish,"
TEMPERATURES: Final = '{ "unit": "fahrenheit", "temperature": [ 72, 79, 88 ] }'

# name -> (how the text begins and ends, finish reason, usage)
TEXTS: Final[dict[str, tuple[str, str, FinishReason, Usage | None]]] = {
    "test_chat_llama--test_flash_llama_simple": ("As of your last question,", " 73°F or 23°C", "length", Usage(61, 100)),
    "test_completion_prompts--test_chat_hfhub_nousage": ("OK!", "OK!", "stop", None),
    "test_completion_prompts--test_chat_hfhub_usage": ("OK!", "OK!", "stop", Usage(39, 3)),
    "test_completion_prompts--test_chat_openai_nousage": ("OK!", "OK!", "stop", None),
    "test_completion_prompts--test_chat_openai_usage": ("OK!", "OK!", "stop", Usage(39, 3)),
    "test_completion_prompts--test_flash_llama_completion_stream_usage": (
        "**Deep Learning: An Overview**\n", "=\n\n", "length", Usage(40, 10),
    ),
    "test_continue_final_message--test_llama_completion_single_prompt": ("Both an elephant", "\n\n1", "length", Usage(49, 30)),
    "test_continue_final_message--test_llama_completion_single_prompt_continue": (
        " the royal mouse?", "and 1.3 pounds", "length", Usage(73, 30),
    ),
    "test_grammar_response_format_llama--test_grammar_response_format_llama_json": (
        TEMPERATURES, TEMPERATURES, "stop", Usage(136, 29),
    ),
    "test_grammar_response_format_llama--test_grammar_response_format_llama_json.1": (
        TEMPERATURES, TEMPERATURES, "stop", Usage(135, 29),
    ),
    "test_grammar_response_format_llama--test_grammar_response_format_llama_json.2": (
        TEMPERATURES, TEMPERATURES, "stop", Usage(135, 29),
    ),
    "test_json_schema_constrain--test_json_schema_basic": ('{"firstName":"David"', ',"numCats":2}', "stop", Usage(32, 35)),
    "test_json_schema_constrain--test_json_schema_complex": ('{"name":"John Smith"', 'puzzles"]}', "stop", Usage(37, 44)),
    "test_json_schema_constrain--test_json_schema_stream": ('{"firstName":"David"', '"numCats":2}', "stop", None),
    "test_tools_llama--test_flash_llama_grammar_tools_insufficient_information_nostream": (AI, AI, "stop", Usage(53, 12)),
    "test_tools_llama--test_flash_llama_grammar_tools_insufficient_information_stream": (AI, AI, "length", None),
    "test_tools_llama--test_flash_llama_grammar_tools_sea_creatures_stream_auto": (SEA, SEA, "length", None),
    "test_tools_llama--test_flash_llama_grammar_tools_sea_creatures_stream_none": (SEA, "secrets of the deep", "length", None),
    "test_tools_llama--test_flash_llama_tool_reply_response": ("I can't access", "and forecast.", "stop", Usage(109, 83)),
}  # fmt: skip

CALLS: Final[dict[str, Usage | None]] = {
    "test_tools_llama--test_flash_llama_grammar_tools_auto_nostream": Usage(501, 29),
    "test_tools_llama--test_flash_llama_grammar_tools_choice_nostream": Usage(286, 29),
    "test_tools_llama--test_flash_llama_grammar_tools_nostream": Usage(501, 29),
    "test_tools_llama--test_flash_llama_grammar_tools_choice_stream": None,
    "test_tools_llama--test_flash_llama_grammar_tools_openai": None,
}

EMPTY: Final = (
    "test_tools_llama--test_flash_llama_grammar_tools_sea_creatures_stream_function_object",
    "test_tools_llama--test_flash_llama_grammar_tools_sea_creatures_stream_required",
)

# name -> (text as the caller gets it, finish reason, usage); one recording is a list of four replies.
NATIVE: Final[dict[str, tuple[str, FinishReason, Usage]]] = {
    "test_flash_grammar_llama--test_flash_llama_grammar": ("\n\nI hope this helps! Let me know", "length", Usage(0, 10)),
    "test_flash_grammar_llama--test_flash_llama_grammar_json": (
        '{"firstName":"David","hobby":"Trees","lastName":"Holtz","numCats":2}', "stop", Usage(0, 30),
    ),
    # Its own stop sequence, "test", is not shown; the prompt that return_full_text put before it neither.
    "test_flash_llama--test_flash_llama_all_params": (" failed: Error in ", "stop", Usage(0, 5)),
    "test_flash_llama--test_flash_llama_load": (" for /api/v1/projects/1", "length", Usage(0, 10)),
    "test_flash_llama--test_flash_llama_simple": (" for /api/v1/projects/1", "length", Usage(0, 10)),
}  # fmt: skip

PROMPTS: Final = (
    " A Beginner’s Guide\nDeep learning is a subset",
    " This is a question that has puzzled many people for",
    " Paris\nWhat is the capital of France?\nThe",
    'usculas_minusculas(s):\n    """\n',
)
COMPLETIONS: Final[dict[str, tuple[tuple[str, ...], Usage]]] = {
    "test_completion_prompts--test_flash_llama_completion_single_prompt": (PROMPTS[:1], Usage(6, 10)),
    "test_completion_prompts--test_flash_llama_completion_many_prompts": (PROMPTS, Usage(22, 40)),
    "test_completion_prompts--test_flash_llama_completion_many_prompts_stream": (PROMPTS, Usage(22, 40)),
}


def recording(name: str) -> Json:
    return cast("Json", json.loads((RECORDED / f"{name}.json").read_text("utf-8")))


def test_none_is_left_out() -> None:
    assert {*TEXTS, *CALLS, *EMPTY, *NATIVE, *COMPLETIONS} == {path.stem for path in RECORDED.glob("*.json")}


@pytest.mark.parametrize("name", TEXTS)
async def test_chat(tgi: TgiDouble, backend: TgiBackend, name: str) -> None:
    begin, end, reason, usage = TEXTS[name]
    tgi.replay(recording(name))
    answer = await ask(backend, chat())
    assert answer.only.text.startswith(begin)
    assert answer.only.text.endswith(end)
    assert (answer.only.finish, answer.usage, answer.only.calls) == (reason, usage, {})


@pytest.mark.parametrize("name", CALLS)
async def test_tool_calls(tgi: TgiDouble, backend: TgiBackend, name: str) -> None:
    tgi.replay(recording(name))
    answer = await ask(backend, chat())
    [(call_id, function, arguments)] = answer.only.calls.values()
    assert call_id.startswith("call_")
    assert (function, json.loads(arguments)) == ("get_current_weather", WEATHER)
    assert (answer.only.text, answer.only.finish, answer.usage) == ("", "tool_calls", CALLS[name])


@pytest.mark.parametrize("name", EMPTY)
async def test_a_stream_of_nothing_is_no_answer(tgi: TgiDouble, backend: TgiBackend, name: str) -> None:
    tgi.replay(recording(name))
    with pytest.raises(Broken, match="before it was complete"):
        await ask(backend, chat())


@pytest.mark.parametrize("name", NATIVE)
async def test_generate(tgi: TgiDouble, backend: TgiBackend, name: str) -> None:
    text, reason, usage = NATIVE[name]
    reply = recording(name)
    replies = cast("list[JsonObject]", reply if isinstance(reply, list) else [reply])
    for each in replies:
        tgi.replay(each)
        answer = await ask(
            backend, Complete(prompts=("Test request",), sampling=Sampling(logprobs=True, stop=("test",)))
        )
        assert (answer.only.text, answer.only.finish, answer.usage) == (text, reason, usage)
        assert "".join(token.token for token in answer.only.logprobs).startswith(text)
        assert all(token.logprob is not None and token.logprob <= 0 for token in answer.only.logprobs)


@pytest.mark.parametrize("name", COMPLETIONS)
def test_completions_of_the_openai_route(name: str) -> None:
    texts, usage = COMPLETIONS[name]
    reply = recording(name)
    chunks = cast("list[JsonObject]", reply if isinstance(reply, list) else [reply])
    events = [event for chunk in chunks for event in decode_completion(normalised(chunk))]
    answer = with_summed_usage(events)
    assert tuple(answer.choices[index].text for index in sorted(answer.choices)) == texts
    assert {choice.finish for choice in answer.choices.values()} == {"length"}
    assert answer.usage == usage


def with_summed_usage(events: list[Event]) -> Answer:
    """A stream counts each prompt on its own."""
    counts = [event for event in events if isinstance(event, Usage)]
    total = Usage(sum(count.prompt_tokens for count in counts), sum(count.completion_tokens for count in counts))
    return collected([*(event for event in events if not isinstance(event, Usage)), total])
