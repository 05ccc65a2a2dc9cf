"""What is laid over a configuration stays as RFC 7396 says, and nothing else moves."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from backends.types import Json, JsonObject
from proxy.sessions.merge import merged

# Names whose values are groups, and names whose values are not, as in every configuration.
GROUPS, LEAVES = st.sampled_from(["g", "h"]), st.sampled_from(["a", "b", "c"])
VALUES: st.SearchStrategy[Json] = (
    st.integers() | st.booleans() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
)


def documents(values: st.SearchStrategy[Json]) -> st.SearchStrategy[JsonObject]:
    flat = st.dictionaries(LEAVES, values, max_size=3)
    return st.recursive(
        flat,
        lambda below: st.tuples(flat, st.dictionaries(GROUPS, below, max_size=2)).map(lambda two: {**two[0], **two[1]}),
        max_leaves=6,
    )


whole = documents(VALUES)
changes = documents(VALUES | st.none())


def leaves(document: JsonObject, within: tuple[str, ...] = ()) -> dict[tuple[str, ...], Json]:
    found: dict[tuple[str, ...], Json] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            found |= leaves(value, (*within, name))
        else:
            found[*within, name] = value
    return found


def test_the_examples_of_the_rfc() -> None:
    # RFC 7396, appendix A: those between objects.
    cases: list[tuple[JsonObject, JsonObject, JsonObject]] = [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ]
    for document, patch, result in cases:
        assert merged(document, patch) == result


@given(whole, changes)
def test_twice_is_once(document: JsonObject, patch: JsonObject) -> None:
    once = merged(document, patch)
    assert merged(once, patch) == once


@given(whole, whole, whole)
def test_changes_without_nulls_may_be_joined_first(document: JsonObject, first: JsonObject, then: JsonObject) -> None:
    assert merged(merged(document, first), then) == merged(document, merged(first, then))


@given(whole, changes)
def test_nothing_is_lost_and_nothing_is_made_up(document: JsonObject, patch: JsonObject) -> None:
    before, said, after = leaves(document), leaves(patch), leaves(merged(document, patch))
    kept = {path: value for path, value in before.items() if path not in said}
    told = {path: value for path, value in said.items() if value is not None}
    assert after == {**kept, **told}


@given(whole)
def test_nothing_changes_nothing(document: JsonObject) -> None:
    assert merged(document, {}) == document
    assert merged({}, document) == document


@given(whole, changes)
def test_what_is_merged_stays_as_it_was(document: JsonObject, patch: JsonObject) -> None:
    before, change = copy.deepcopy(document), copy.deepcopy(patch)
    merged(document, patch)
    assert (document, patch) == (before, change)
