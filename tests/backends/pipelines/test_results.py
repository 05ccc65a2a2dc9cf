"""Results as JSON."""

from __future__ import annotations

import base64
import dataclasses
import enum
import io
import json
import math
from collections import UserDict, namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.utils.chat_template_utils import Chat

from backends.errors import Invalid
from backends.pipelines import results
from backends.pipelines.results import to_json

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def read(value: object) -> object:
    return json.loads(to_json(value))


def expected(value: object) -> object:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [expected(item) for item in value]
        case dict():
            return {str(expected(key)): expected(item) for key, item in value.items()}
        case _:
            return value


@given(PLAIN)
def test_whatever_plain_values_hold_is_json(value: object) -> None:
    assert read(value) == expected(value)


@given(st.lists(st.floats(width=32), min_size=1, max_size=8), st.sampled_from([np.float16, np.float32, np.float64]))
def test_arrays_and_tensors_are_lists(values: list[float], kind: type[np.floating]) -> None:
    with np.errstate(over="ignore"):
        array = np.array(values, kind)
    wanted = [float(item) if np.isfinite(item) else None for item in array]
    for holder in (array, torch.from_numpy(array), array[::1], np.array([array, array]).T[:, 0]):
        found = read(holder)
        assert isinstance(found, list)
        assert [item is None for item in found] == [item is None for item in wanted]
        assert [item or 0 for item in found] == pytest.approx([item or 0 for item in wanted], rel=1e-6)


@dataclasses.dataclass
class Box:
    size: np.float32
    inside: tuple[int, ...]


class Colour(enum.Enum):
    RED = "red"


def test_what_else_pipelines_return() -> None:
    pair = namedtuple("pair", "a b")
    assert read(Box(np.float32(1.5), (1, 2))) == {"size": 1.5, "inside": [1, 2]}
    assert read({"a": {1}, "b": pair(1, 2), "c": b"\xff", "d": Colour.RED, "e": UserDict(x=np.int64(7))}) == {
        "a": [1], "b": [1, 2], "c": "/w==", "d": "red", "e": {"x": 7},
    }  # fmt: skip
    assert read({1: "a", None: "b", np.int64(3): np.bool_(True)}) == {"1": "a", "null": "b", "3": True}
    assert read(torch.tensor([1.5], dtype=torch.bfloat16, requires_grad=True)) == [1.5]
    assert read(torch.tensor(3)) == 3
    assert read(np.array(3.5)) == 3.5
    assert read(torch.eye(2).to_sparse()) == [[1, 0], [0, 1]]
    assert read(np.zeros((2, 0))) == [[], []]
    assert read(np.array(["a", None])) == ["a", None]
    assert read(Chat([{"role": "user", "content": "a"}])) == [{"role": "user", "content": "a"}]
    assert read([2**70, "\ud800", torch.tensor([1.0])]) == [2**70, "\ufffd", [1.0]]


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "RGBA", "F", "CMYK", "I;16"])
def test_images_are_png(mode: str) -> None:
    written = read([Image.new(mode, (3, 2))])
    assert isinstance(written, list)
    image = Image.open(io.BytesIO(base64.b64decode(written[0])))
    assert (image.format, image.size) == ("PNG", (3, 2))


@pytest.mark.parametrize("value", [object(), [object()], np.array([1j]), {(1, 2): 3}, Box])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        to_json(value)


def test_more_numbers_than_an_answer_may_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "MAX_NUMBERS", 10)
    assert read([{"a": torch.zeros(2, 5)}]) == [{"a": [[0.0] * 5] * 2}]
    with pytest.raises(Invalid, match="has 11 numbers, and 10 are the most"):
        to_json([{"a": torch.zeros(2, 5)}, (np.zeros(1),)])
