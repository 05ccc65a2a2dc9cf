"""The tasks that transformers 5 removed: shapes and figures as its version 4.57 had them."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backends.errors import Invalid
from backends.inprocess import turns
from backends.pipelines.question_answering import best_spans
from backends.types import Infer, Json, JsonObject
from tests.backends.pipelines import tiny
from tests.backends.pipelines.conftest import Directory, Run
from tests.backends.pipelines.tiny import NANO, TEXT

QA = tiny.bert("ForQuestionAnswering")
QUESTION: JsonObject = {"question": "Who bought it ?", "context": TEXT}


def ask(run: Run, inputs: Json = QUESTION, **params: Json) -> Json:
    return run(QA, Infer(task="question-answering", inputs=inputs, params=params))


# --------------------------------------------------------------------------- question answering


def test_an_answer_is_a_stretch_of_the_context(run: Run) -> None:
    answer = cast("JsonObject", ask(run))
    assert list(answer) == ["score", "start", "end", "answer"]
    start, end = cast("int", answer["start"]), cast("int", answer["end"])
    assert TEXT[start:end] == answer["answer"]
    assert 0 < cast("float", answer["score"]) <= 1


def test_scores_are_the_products_of_the_models_own(run: Run, directory: Directory) -> None:
    words = transformers.AutoTokenizer.from_pretrained(directory(QA))
    network = transformers.AutoModelForQuestionAnswering.from_pretrained(directory(QA))
    tokens = words(QUESTION["question"], TEXT, return_tensors="pt", return_token_type_ids=True)
    with torch.no_grad():
        scores = network(**tokens)
    allowed = np.array([of == 1 for of in tokens.sequence_ids()])
    allowed[0] = True
    start, end = (
        torch.softmax(torch.where(torch.tensor(allowed), side[0].double(), -torch.inf), -1).numpy()
        for side in (scores.start_logits, scores.end_logits)
    )
    allowed[0], start[0], end[0] = False, 0, 0
    likeliest = best_spans(start, end, allowed, count=1, longest=15)[0]
    answer = cast("JsonObject", ask(run, align_to_words=False))
    offsets = words(QUESTION["question"], TEXT, return_offsets_mapping=True)["offset_mapping"]
    assert (answer["start"], answer["end"]) == (offsets[likeliest[0]][0], offsets[likeliest[1]][1])
    assert answer["score"] == pytest.approx(likeliest[2], rel=1e-4)


def test_several_answers_come_best_first_and_once_each(run: Run) -> None:
    answers = cast("list[JsonObject]", ask(run, top_k=5))
    scores = [cast("float", answer["score"]) for answer in answers]
    assert scores == sorted(scores, reverse=True)
    assert len({str(answer["answer"]).lower() for answer in answers}) == len(answers) == 5


def test_long_contexts_are_read_in_windows(run: Run) -> None:
    context = "the box " * 100 + TEXT
    answers = cast(
        "list[JsonObject]", ask(run, {"question": "Who ?", "context": context}, top_k=400, max_seq_len=32, doc_stride=8)
    )
    assert any(cast("int", answer["end"]) > 800 for answer in answers)
    for answer in answers:
        assert context[cast("int", answer["start"]) : cast("int", answer["end"])] == answer["answer"]
    together = ask(
        run, {"question": "Who ?", "context": context}, top_k=400, max_seq_len=32, doc_stride=8, batch_size=4
    )
    assert [item["answer"] for item in cast("list[JsonObject]", together)] == [item["answer"] for item in answers]


def test_no_answer_may_be_the_likeliest(run: Run) -> None:
    answers = cast("list[JsonObject]", ask(run, top_k=400, max_answer_len=1, handle_impossible_answer=True))
    assert [(item["start"], item["end"]) for item in answers if item["answer"] == ""] == [(0, 0)]


def test_lists_are_answered_by_lists_but_for_one(run: Run) -> None:
    alone = ask(run)
    assert ask(run, [QUESTION]) == alone
    assert ask(run, [QUESTION, QUESTION]) == [alone, alone]


def test_a_stride_that_leaves_no_room_is_refused(run: Run) -> None:
    with pytest.raises(Invalid, match="doc_stride"):
        ask(run, max_seq_len=16, doc_stride=16)
    with pytest.raises(Invalid, match="doc_stride"):
        ask(run, {"question": "who bought it " * 30, "context": TEXT}, max_seq_len=32)
    ask(run, {"question": "who bought it " * 30, "context": TEXT}, max_seq_len=32, max_question_len=8)


@given(
    arrays(np.float64, 7, elements=st.floats(0, 1)),
    arrays(np.float64, 7, elements=st.floats(0, 1)),
    st.integers(1, 8),
    st.integers(1, 9),
)
def test_best_spans_are_those_of_a_full_search(start: np.ndarray, end: np.ndarray, longest: int, count: int) -> None:
    allowed = np.array([False, True, True, False, True, True, True])
    every = [
        start[first] * end[last]
        for first in range(7)
        for last in range(first, min(7, first + longest))
        if allowed[first] and allowed[last]
    ]
    found = best_spans(start * allowed, end * allowed, allowed, count=count, longest=longest)
    for first, last, score in found:
        assert 0 <= last - first < longest
        assert score == start[first] * end[last]
    best = sorted(every, reverse=True)[: len(found)]
    assert [score for *_, score in found if score > 0] == [score for score in best if score > 0]


# --------------------------------------------------------------------------- text to text


def test_a_text_and_a_list_of_texts(run: Run) -> None:
    alone = run(tiny.bart, Infer(task="summarization", inputs=TEXT))
    assert isinstance(alone, list)
    assert [list(item) for item in cast("list[JsonObject]", alone)] == [["summary_text"]]
    both = run(tiny.bart, Infer(task="summarization", inputs=[TEXT, TEXT], params={"batch_size": 2}))
    assert both == [alone[0], alone[0]]
    several = run(
        tiny.bart,
        Infer(
            task="text2text-generation",
            inputs=[TEXT],
            params={"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 5},
        ),
    )
    assert [[list(answer) for answer in text] for text in cast("list[list[JsonObject]]", several)] == [
        [["generated_text"], ["generated_text"]]
    ]


def test_the_checkpoints_own_settings_hold_and_the_calls_over_them(run: Run, directory: Directory) -> None:
    words = transformers.AutoTokenizer.from_pretrained(directory(tiny.t5))
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory(tiny.t5))

    def generated(prefix: str, **options: int) -> str:
        tokens = words(f"{prefix}emma", return_tensors="pt")
        tokens.pop("token_type_ids", None)
        return str(words.decode(network.generate(**tokens, num_beams=4, **options)[0], skip_special_tokens=True))

    def result(task: str, **params: Json) -> str:
        answer = cast("list[JsonObject]", run(tiny.t5, Infer(task=task, inputs="emma", params=params)))[0]
        return str(next(iter(answer.values())))

    assert result("summarization") == generated("summarize : ", max_length=11)
    assert result("summarization", max_length=6) == generated("summarize : ", max_length=6)
    assert result("summarization", max_new_tokens=4) == generated("summarize : ", max_new_tokens=4)
    assert result("summarization", generate_kwargs={"max_length": 5}) == generated("summarize : ", max_length=5)
    assert result("translation_en_to_fr") == generated("the a ", max_length=9)
    assert result("text2text-generation", max_new_tokens=7) == generated("", max_new_tokens=7)


def test_tokens_instead_of_text(run: Run) -> None:
    request = Infer(task="summarization", inputs=TEXT, params={"return_tensors": True, "max_length": 6})
    answer = cast("list[JsonObject]", run(tiny.bart, request))
    assert list(answer[0]) == ["summary_token_ids"]


# --------------------------------------------------------------------------- conversations


def test_a_conversation_goes_on(run: Run) -> None:
    params: dict[str, Json] = {"max_new_tokens": 20}
    messages: Json = [{"role": "user", "content": "Hello"}]
    answer = run(NANO / "chat", Infer(task="conversational", inputs=messages, params=params))
    assert answer == {
        "generated_text": "Hello! How can I help you?",
        "conversation": {"past_user_inputs": ["Hello"], "generated_responses": ["Hello! How can I help you?"]},
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hello! How can I help you?"},
        ],
    }
    both = run(NANO / "chat", Infer(task="conversational", inputs=[messages, messages], params=params))
    assert both == [answer, answer]
    once: Json = {"past_user_inputs": [], "generated_responses": [], "text": "Hello"}
    assert run(NANO / "chat", Infer(task="conversational", inputs=once, params=params)) == answer
    assert run(NANO / "chat", Infer(task="conversational", inputs="Hello", params=params)) == answer
    assert run(NANO / "chat", Infer(task="conversational", inputs=["Hello", "Hello"], params=params)) == [
        answer,
        answer,
    ]


def test_models_without_a_template_converse(run: Run) -> None:
    once: Json = {"past_user_inputs": ["a"], "generated_responses": ["b"], "text": "emma"}
    params: dict[str, Json] = {"max_new_tokens": 4, "min_length_for_response": 4}
    for make in (tiny.gpt2, tiny.bart):
        answer = cast("JsonObject", run(make, Infer(task="conversational", inputs=once, params=params)))
        assert cast("JsonObject", answer["conversation"])["past_user_inputs"] == ["a", "emma"]


def test_an_answer_of_no_said_length_has_the_room_that_there_is(run: Run) -> None:
    """The usual 256 tokens are more than these models can count to."""
    for make in (tiny.gpt2, tiny.bart):
        params: dict[str, Json] = {"min_length_for_response": 20}
        answer = cast("JsonObject", run(make, Infer(task="conversational", inputs="emma", params=params)))
        assert answer["generated_text"]


def test_an_answer_ends_where_the_model_would_speak_for_the_other(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Infer(task="conversational", inputs="emma", params={"max_new_tokens": 8, "min_length_for_response": 8})
    whole = str(cast("JsonObject", run(tiny.gpt2, request))["generated_text"])
    monkeypatch.setitem(turns.STOPS, "named", (whole[3:5],))
    assert cast("JsonObject", run(tiny.gpt2, request))["generated_text"] == whole[: whole.index(whole[3:5])]
