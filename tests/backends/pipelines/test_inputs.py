"""What inputs may be. Nothing that gets through names anything to be opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import BackendError, Invalid
from backends.pipelines import inputs
from backends.pipelines.inputs import Media, Wave
from backends.pipelines.tasks import ALIASES, TASKS, check, missing
from backends.types import Infer, Json
from tests.backends.pipelines.files import b64

HOSTILE = [
    "/etc/passwd",
    "file:///etc/passwd",
    "http://169.254.169.254/latest",
    "https://example.com/a.png",
    "..",
    "\\\\host\\share",
    "data:image/png,abc",
    "data:,",
    "data:text/html;base64,%%%",
    "",
    "~",
    "a.png",
    "#EXTM3U",
]
NEEDED: dict[str, dict[str, Json]] = {
    name: {"candidate_labels": ["a"]}
    for name in ("zero-shot-classification", "zero-shot-image-classification", "zero-shot-audio-classification")
}
SERVED = [name for name, task in TASKS.items() if not missing(task)]
MEDIA = ["image-classification", "automatic-speech-recognition", "video-classification", "object-detection"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from([*HOSTILE, "role", "image", "url", "text"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "type",
                    "image",
                    "url",
                    "path",
                    "text",
                    "audio",
                    "images",
                    "question",
                    "table",
                    "query",
                    "array",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def read(task: str, value: Json, **files: tuple[bytes, ...]) -> object:
    return check(Infer(task=task, inputs=value, params=NEEDED.get(task, {}), files=files)).inputs


@given(st.sampled_from(SERVED), JSON)
def test_anything_is_read_or_refused_as_wrong(task: str, value: Json) -> None:
    try:
        read(task, value)
    except Invalid as error:
        assert error.param is not None
        assert error.param.startswith("inputs")


@pytest.mark.parametrize("task", MEDIA)
@pytest.mark.parametrize("source", HOSTILE)
def test_where_media_belong_no_string_is_more_than_base64(task: str, source: str) -> None:
    sent: tuple[Json, ...] = (source, [source])
    for value in sent:
        for leaf in leaves(read(task, value)):
            assert isinstance(leaf, Media)
            try:
                assert isinstance(inputs.content(leaf), bytes)  # nobody's file: what the string itself says
            except Invalid as error:
                assert "Addresses and paths are not opened" in error.message


@pytest.mark.parametrize(
    ("task", "value"),
    [
        ("image-classification", {"url": "http://x"}),
        ("image-classification", {"path": "/etc/passwd"}),
        ("image-classification", 5),
        ("image-classification", None),
        ("image-classification", []),
        ("image-classification", ["YQ=="] * 1025),
        ("automatic-speech-recognition", {"path": "/etc/passwd", "sampling_rate": 16000}),
        ("automatic-speech-recognition", {"array": "/etc/passwd", "sampling_rate": 16000}),
        ("automatic-speech-recognition", {"array": [0.0], "sampling_rate": "16000"}),
        ("automatic-speech-recognition", {"array": [0.0], "raw": [0.0], "sampling_rate": 16000}),
        ("document-question-answering", {"image": {"url": "x"}, "question": "q"}),
        ("document-question-answering", {"image": "YQ==", "question": "q", "word_boxes": [["a", [0, 0, 0, 5000]]]}),
        ("document-question-answering", {"image": "YQ==", "question": "q", "word_boxes": [["a"]]}),
        ("document-question-answering", {"image": "YQ==", "question": "q", "tesseract": "x"}),
        ("zero-shot-object-detection", {"image": "YQ=="}),
        ("keypoint-matching", ["YQ=="]),
        ("image-text-to-text", [{"role": "user", "content": [{"type": "image", "path": "/etc/passwd"}]}]),
        ("image-text-to-text", [{"role": "user", "content": [{"type": "image", "image": "YQ==", "url": "http://x"}]}]),
        ("image-text-to-text", [{"role": "user", "content": [{"type": "video", "url": "http://x"}]}]),
        ("image-text-to-text", [{"role": "user", "content": [{"url": "http://x"}]}]),
        ("text-generation", [{"role": "user", "content": [{"type": "image", "url": "http://x"}]}]),
        ("text-generation", [{"role": "user"}]),
        ("text-generation", [{"role": "user", "content": "a"}, "b"]),
        ("text-generation", {"text": "a"}),
        ("text-classification", ""),
        ("text-classification", {"text": "a", "text_pair": "b", "more": "c"}),
        ("question-answering", {"question": "q"}),
        ("question-answering", "q"),
        ("conversational", {"text": "a", "past_user_inputs": ["b"]}),
        ("conversational", ""),
        ("conversational", ["a", {"text": "b"}]),
        ("conversational", 1),
        ("fill-mask", "a" * 1_000_001),
        ("fill-mask", ["a" * 1000] * 1001),
        ("decision", {"state": "a"}),
        ("decision", '{"state": 1}'),
    ],
)
def test_what_is_wrong_is_named(task: str, value: Json) -> None:
    with pytest.raises(Invalid) as refused:
        read(task, value)
    assert refused.value.param is not None
    assert f"`{refused.value.param}`" in refused.value.message


def test_files_take_their_places() -> None:
    assert read("image-classification", None, file=(b"1",)) == Media("image", b"1", "inputs")
    assert read("image-classification", None, inputs=(b"1", b"2")) == [
        Media("image", b"1", "inputs[0]"),
        Media("image", b"2", "inputs[1]"),
    ]
    assert read("document-question-answering", {"question": "q"}, image=(b"1",)) == {
        "question": "q",
        "image": Media("image", b"1", "inputs.image"),
    }
    clashes: list[tuple[Json, dict[str, tuple[bytes, ...]]]] = [
        ("a", {"file": (b"1",)}),
        ({"question": "q", "image": "YQ=="}, {"image": (b"1",)}),
        (None, {"file": (b"1",), "image": (b"1",)}),
        ("a", {"image": (b"1",)}),
    ]
    for value, files in clashes:
        with pytest.raises(Invalid):
            read("document-question-answering", value, **files)
    with pytest.raises(BackendError):
        read("fill-mask", None, file=(b"text",))
    with pytest.raises(BackendError):
        read("decision", {"questions": {}}, state=(b"text",))


def test_base64_in_all_its_dresses() -> None:
    for source in (b64(b"\xfb\xff!"), "data:image/png;base64,+/8h", "+/8h\r\n", "+/\n8h\n"):
        assert inputs.content(Media("image", source, "inputs")) == b"\xfb\xff!"
    for source in ("-_8h", "+/8", "+/8h%", "é", "data:image/png;base64"):
        with pytest.raises(Invalid, match="`inputs`"):
            inputs.content(Media("image", source, "inputs"))


def test_sounds_as_numbers_and_conversations_as_they_were_once_sent() -> None:
    assert read("audio-classification", {"raw": [0.5], "sampling_rate": 8000}) == Wave([0.5], 8000, "inputs")
    old: Json = {"past_user_inputs": ["a"], "generated_responses": ["b"], "text": "c"}
    assert read("conversational", old) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]


def test_what_a_user_says_alone_is_a_conversation() -> None:
    assert read("conversational", "a") == [{"role": "user", "content": "a"}]
    assert read("conversational", ["a", "b"]) == [[{"role": "user", "content": text}] for text in "ab"]


def test_aliases_name_tasks() -> None:
    assert all(name in TASKS for name in ALIASES.values())


@pytest.mark.parametrize("levels", [33, 1000])
def test_what_is_nested_without_end_is_refused(levels: int) -> None:
    deep: Json = "a"
    for level in range(levels):
        deep = [deep] if level % 2 else {"a": deep}
    for request in (
        Infer(task="decision", inputs={"state": deep, "questions": {}}),
        Infer(task="text-generation", inputs="a", params={"tools": [{"a": deep}]}),
    ):
        with pytest.raises(Invalid, match="nested more than 32 levels deep"):
            check(request)
    assert check(Infer(task="decision", inputs={"state": [[["a"]]], "questions": {}}))
