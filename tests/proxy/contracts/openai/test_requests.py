"""Bodies for engines of another dialect: what is wrong is named, with its limit, and found without reading all of it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from backends.types import Json, JsonObject
from proxy.contracts.openai.requests import ChatBody, CompletionBody, parse
from proxy.errors import ApiError, ErrorCode

SEEDS = "from -9223372036854775808 to 18446744073709551615"


def refusal(kind: type[ChatBody | CompletionBody], **fields: Json) -> ApiError:
    data: JsonObject = {"messages": [{"role": "user"}]} if kind is ChatBody else {"prompt": "a"}
    with pytest.raises(ApiError) as caught:
        parse(kind, {**data, **fields})
    return caught.value


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("stop", ["a"] * 17, "at most 16 items after validation, not 17"),
        ("stop", 5, "valid string"),
        ("stop", ["a", 1], "valid string"),
        ("seed", 1e30, SEEDS),
        ("seed", 2**64, SEEDS),
        ("seed", "7", SEEDS),
        ("seed", True, SEEDS),
        ("prompt", 1, "valid string"),
        ("prompt", ["a", 1], "valid string"),
        ("prompt", [[1], ["a"]], "valid integer"),
        ("logit_bias", {str(number): 0 for number in range(10_001)}, "10001 entries; at most 10000"),
    ],
)
def test_what_is_wrong_is_told_with_its_limit(field: str, value: Json, told: str) -> None:
    error = refusal(CompletionBody, **{field: value})

    assert (error.code, error.param) == (ErrorCode.INVALID, field)
    assert told in error.message


@pytest.mark.parametrize("seed", [0, -(2**63), 2**64 - 1])
def test_every_seed_of_64_bits_is_taken(seed: int) -> None:
    assert parse(CompletionBody, {"prompt": "a", "seed": seed}).request().sampling.seed == seed


@pytest.mark.parametrize("prompt", ["a", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_every_form_of_prompt_is_taken(prompt: Json) -> None:
    assert parse(CompletionBody, {"prompt": prompt}).prompt == prompt


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (CompletionBody, "prompt", [1.5] * 10_000),
        (CompletionBody, "prompt", [[1.5] * 10_000]),
        (CompletionBody, "stop", [1] * 10_000),
        (ChatBody, "messages", [{"role": "nobody"}] * 2000),
        (ChatBody, "messages", [{"role": "user"}] * 10_000),
        (ChatBody, "tools", [1] * 10_000),
        (ChatBody, "modalities", ["audio"] * 10_000),
    ],
)
def test_a_list_wrong_throughout_is_told_of_once(
    kind: type[ChatBody | CompletionBody], field: str, value: list[Json]
) -> None:
    error = refusal(kind, **{field: value})

    assert str(error.param).startswith(field)
    assert isinstance(error.__cause__, ValidationError)
    assert error.__cause__.error_count() < 10


def test_an_unknown_field_is_refused_by_name_before_any_other() -> None:
    fields: JsonObject = {"seed": "x", "foo": 1, **{f"more{number}": 1 for number in range(1000)}}
    error = refusal(ChatBody, **fields)

    assert (error.code, error.param) == (ErrorCode.UNSUPPORTED, "foo")
    assert error.__cause__ is None
