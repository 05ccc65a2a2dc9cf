"""Pages of language pairs: whatever is asked for is answered or refused, and all pages together are the whole."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contracts.models.pairs import LARGEST_PAGE, PairQuery, page, read_query
from proxy.contracts.models.recommended import Machine, recommended_speech, recommended_targets
from proxy.errors import ApiError
from proxy.registry.catalog import Catalog, read_catalog

CODES = ("en", "de", "zh", "ja", "cjk", "yo", "tlh")


@cache
def catalog() -> Catalog:
    return read_catalog()


@given(st.dictionaries(st.sampled_from(["source", "target", "limit", "offset", "page"]), st.text(max_size=20)))
def test_any_query_is_read_or_refused_by_name(sent: dict[str, str]) -> None:
    try:
        query = read_query(sent)
    except ApiError as error:
        assert error.status == 400
        assert error.param in sent
    else:
        assert query.limit is None or 1 <= query.limit <= LARGEST_PAGE
        assert query.offset >= 0


@given(st.sampled_from([None, *CODES]), st.sampled_from(CODES), st.integers(1, 40))
def test_all_pages_are_the_whole(source: str | None, target: str, size: int) -> None:
    models = tuple(catalog().translation.values())
    whole = page(models, PairQuery(source, target))
    pages = [page(models, PairQuery(source, target, size, start)) for start in range(0, whole.total, size)]
    assert [pair for found in pages for pair in found.pairs] == list(whole.pairs)
    assert len(whole.pairs) == whole.total


@pytest.mark.parametrize("model", ["facebook/m2m100_418M", "Helsinki-NLP/opus-mt-en-de", "nano-translate"])
def test_each_pair_of_a_model_is_one_that_it_speaks(model: str) -> None:
    facts = catalog().translation[model]
    found = page(catalog().translation.values(), PairQuery(limit=LARGEST_PAGE), within=facts)
    assert found.total == facts.pairs_count
    for pair in found.pairs:
        assert isinstance(pair, dict)
        assert model in pair["supported_models"]  # type: ignore[operator]  # a list of strings
        assert facts.speaks(str(pair["source"]), str(pair["target"]))


@given(st.integers(1, 64), st.floats(0, 1e6), st.none() | st.floats(0, 1e5))
def test_what_is_recommended_fits(cores: int, ram: float, gpu: float | None) -> None:
    machine = Machine(cores=cores, ram_mb=ram, gpu_mb=gpu)
    models = catalog().speech
    for found in recommended_speech(models.values(), machine):
        assert machine.holds(models[found.model_id])
        assert found.use_case != "real_time" or machine.keeps_up(models[found.model_id])
        assert found.use_case != "multilingual" or len(models[found.model_id].languages) > 1
        # Nothing that nobody measured, where something that was measured fits too.
        measured = [model for model in models.values() if model.quality and machine.holds(model)]
        assert models[found.model_id].quality or not measured or found.use_case == "real_time"


@pytest.mark.parametrize("code", ["en", "de", "yo"])
def test_targets_never_are_the_source(code: str) -> None:
    family = catalog().translation["facebook/nllb-200-1.3B"].family
    targets = recommended_targets(family, code)
    assert len(targets) == 5
    assert code not in [target.language.code for target in targets]
