"""Translations by transformers' parameters."""

from __future__ import annotations

import pytest

from backends.types import Infer, Json, Translate, Translated
from proxy.errors import ApiError, ErrorCode
from proxy.tasks.translation import result, translation


def read(task: str = "translation", inputs: Json = "a", params: dict[str, Json] | None = None) -> Translate:
    return translation(Infer(task=task, inputs=inputs, params=params or {}), Translate(texts=()))


def refusal(inputs: Json = "a", params: dict[str, Json] | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(inputs=inputs, params=params)
    assert caught.value.code is ErrorCode.INVALID
    return caught.value


def test_a_string_and_a_list_of_strings() -> None:
    assert read() == Translate(texts=("a",))
    assert read(inputs=["a", "b"], params=None) == Translate(texts=("a", "b"))
    assert read(inputs=[], params={}) == Translate(texts=())


def test_every_parameter_is_passed_on() -> None:
    params: dict[str, Json] = {
        "src_lang": "en", "tgt_lang": "fr", "num_beams": 3, "length_penalty": 2, "no_repeat_ngram_size": 4,
        "early_stopping": False, "max_new_tokens": 5, "max_length": 99, "truncation": False,
    }  # fmt: skip
    assert read(params=params) == Translate(
        texts=("a",), source="en", target="fr", beam_size=3, length_penalty=2.0, no_repeat_ngram_size=4,
        early_stopping=False, max_new_tokens=5,
    )  # fmt: skip


def test_max_length_counts_the_first_token() -> None:
    assert read(params={"max_length": 20}).max_new_tokens == 19
    assert read(params={}).max_new_tokens is None


def test_the_task_may_name_the_languages() -> None:
    named = read(task="translation_en_to_zh_Hant")
    assert (named.source, named.target) == ("en", "zh_Hant")
    told = read(task="translation_en_to_fr", params={"tgt_lang": "de"})
    assert (told.source, told.target) == (None, "de")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"inputs": {"text": "a"}}, "`inputs`"),
        ({"inputs": ["a", 1]}, "`inputs`"),
        ({"inputs": None}, "`inputs`"),
        ({"params": {"temperature": 1}}, "`params.temperature`"),
        ({"params": {"num_beams": 0}}, "`params.num_beams`"),
        ({"params": {"num_beams": "3"}}, "`params.num_beams`"),
        ({"params": {"num_beams": True}}, "`params.num_beams`"),
        ({"params": {"early_stopping": "never"}}, "`params.early_stopping`"),
        ({"params": {"max_length": 1}}, "`params.max_length`"),
        ({"params": {"truncation": True}}, "`params.truncation`"),
        ({"params": {"src_lang": 3}}, "`params.src_lang`"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Json], named: str) -> None:
    assert named in refusal(**fields).message  # type: ignore[arg-type]


def test_of_many_unknown_fields_the_first_is_named() -> None:
    assert "`params.z`" in refusal(params={"z": 1, **{f"a{number}": 1 for number in range(1000)}}).message


def test_a_translation_takes_no_files() -> None:
    with pytest.raises(ApiError, match="`inputs`"):
        translation(Infer(task="translation", files={"file": (b"x",)}), Translate(texts=()))


def test_results_are_in_the_order_of_the_texts() -> None:
    events = [Translated(1, "b", None, None), Translated(0, "a", None, None)]
    assert result(events) == [{"translation_text": "a"}, {"translation_text": "b"}]
