"""What `POST /infer` takes, as JSON and as a form."""

from __future__ import annotations

import pytest

from proxy.contracts.hf_server.requests import InferBody, from_form
from proxy.errors import ApiError, ErrorCode
from proxy.http.multipart import Part
from proxy.tasks.parsing import parse

GOOD = {"task": "fill-mask", "model": "m", "inputs": "a"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"model": 7}, "`model`"),
        ({"task": None}, "`task`"),
        ({"parameters": {}}, "`parameters`"),
        ({"params": []}, "`params`"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, object], named: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse(InferBody, {**GOOD, **fields})
    assert (refused.value.code, named in refused.value.message) == (ErrorCode.INVALID, True)


@pytest.mark.parametrize("name", ["task", "inputs"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(ApiError, match=f"`{name}` is missing"):
        parse(InferBody, {field: value for field, value in GOOD.items() if field != name})


def test_a_form_has_the_bodys_fields_and_files() -> None:
    body, files = from_form(
        [
            Part("task", b"ner"),
            Part("model", b"org/m"),
            Part("params", b'{"stride": 2}'),
            Part("file", b"\xff1"),
            Part("file", b"2"),
        ]
    )
    assert body == InferBody(task="ner", model="org/m", inputs=None, params={"stride": 2})
    assert files == {"file": (b"\xff1", b"2")}


@pytest.mark.parametrize(
    ("sent", "inputs"), [(b"[1, 2]", [1, 2]), (b"just a text", "just a text"), (b'"quoted"', "quoted"), (b"", "")]
)
def test_inputs_of_a_form_are_json_or_a_text(sent: bytes, inputs: object) -> None:
    body, _ = from_form([Part("task", b"ner"), Part("inputs", sent)])
    assert body.inputs == inputs


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([Part("task", b"a"), Part("task", b"b"), Part("file", b"")], "`task` was sent more than once"),
        ([Part("task", b"a"), Part("params", b"{")], "Invalid `params`: it is no JSON"),
        ([Part("task", b"a"), Part("inputs", b"\xff")], "Invalid `inputs`: it is no text in UTF-8"),
        ([Part("task", b"a")], "`inputs` is missing"),
        ([Part("file", b"a")], "`task` is missing"),
    ],
)
def test_a_form_that_makes_no_body_is_refused(parts: list[Part], complaint: str) -> None:
    with pytest.raises(ApiError, match=complaint):
        from_form(parts)
