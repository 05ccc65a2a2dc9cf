"""The shipped facts: whole, in step with the packages they describe, and scored by the formulas alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES as M2M_CODES
from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES as MBART_CODES
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as NLLB_CODES
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from backends.translation.languages import Languages, read_table
from proxy.registry import catalog_scores
from proxy.registry.catalog import Catalog, Shelf, read_catalog
from proxy.registry.catalog_files import read_families

SIZES = ("tiny", "base", "small", "medium")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return read_catalog()


def test_every_whisper_is_there(catalog: Catalog) -> None:
    wanted = {f"openai/whisper-{size}{tail}" for size in SIZES for tail in ("", ".en")}
    wanted |= {f"openai/whisper-{name}" for name in ("large", "large-v2", "large-v3", "large-v3-turbo")}
    wanted |= {f"distil-whisper/distil-{name}" for name in ("small.en", "medium.en", "large-v2", "large-v3")}
    assert wanted <= set(catalog.speech)


def test_every_translation_family_is_there(catalog: Catalog) -> None:
    wanted = {f"facebook/nllb-200-{size}" for size in ("distilled-600M", "distilled-1.3B", "1.3B", "3.3B")}
    wanted |= {"facebook/m2m100_418M", "facebook/m2m100_1.2B", "facebook/mbart-large-50-many-to-many-mmt"}
    wanted |= {
        f"Helsinki-NLP/opus-mt-{pair}" for pair in ("en-de", "de-en", "en-fr", "fr-en", "en-es", "es-en", "en-zh")
    }
    assert wanted <= set(catalog.translation)


def test_whisper_has_the_languages_of_its_tokenizer(catalog: Catalog) -> None:
    published = set(LANGUAGES)
    assert set(catalog.speech["openai/whisper-large-v3"].languages) == published
    assert set(catalog.speech["openai/whisper-large-v2"].languages) == published - {"yue"}
    assert catalog.speech["openai/whisper-tiny.en"].languages == ("en",)


def test_families_have_the_codes_of_their_tokenizers() -> None:
    families = read_families()
    assert families["nllb"].codes == tuple(NLLB_CODES)
    assert families["m2m"].codes == tuple(M2M_CODES["m2m100"])
    assert families["mbart"].codes == tuple(MBART_CODES)
    for family in families.values():
        assert set(family.spbleu) <= set(family.codes)


@pytest.mark.parametrize(
    ("family", "model"),
    [("nllb", "nllb-200-3.3B"), ("m2m", "m2m100_418M"), ("mbart", "mbart-large-50-many-to-many-mmt")],
)
def test_what_the_catalog_calls_a_language_is_understood_when_translating(
    catalog: Catalog, family: str, model: str
) -> None:
    table = read_table()
    spoken = Languages(read_families()[family].codes, table)
    for code, language in catalog.translation[f"facebook/{model}"].family.languages.items():
        assert catalog.atlas.find(spoken.find(code, "target")).code == code
        for variant in language.variants:
            assert catalog.atlas.find(spoken.find(variant.code, "target")).code == code
    assert {
        v.code: v.region for v in catalog.translation["facebook/nllb-200-1.3B"].family.languages["zh"].variants
    } == {
        "zh-CN": "China",
        "zh-TW": "Taiwan",
    }


def test_languages_are_written_the_way_they_are(catalog: Catalog) -> None:
    languages = catalog.atlas.languages
    right_to_left = {code for code, language in languages.items() if language.direction == "rtl"}
    assert {"ar", "fa", "he", "ur", "yi", "ps", "ug", "ckb"} <= right_to_left
    assert languages["de"].native == "Deutsch"
    assert (languages["ru"].script, languages["ru"].direction) == ("Cyrillic", "ltr")


def test_scores_come_from_figures_alone(catalog: Catalog) -> None:
    for speech in catalog.speech.values():
        assert speech.quality == (0 if speech.wer is None else catalog_scores.quality_of_wer(speech.wer))
    for model in catalog.translation.values():
        measured = model.spbleu is not None or model.tatoeba_bleu is not None
        assert (model.quality > 0) == measured
    assert catalog.speech["openai/whisper-large-v3"].quality > catalog.speech["openai/whisper-tiny"].quality
    assert catalog.speech["openai/whisper-tiny"].speed > catalog.speech["openai/whisper-large-v3"].speed


def test_a_pair_is_no_better_than_its_worse_language(catalog: Catalog) -> None:
    model = catalog.translation["facebook/nllb-200-3.3B"]
    assert model.pair_quality("en", "fr") > model.pair_quality("fr", "yo") == model.pair_quality("en", "yo")
    # Not measured: the least of the tier that its data puts it in.
    assert (model.pair_quality("en", "ja"), model.pair_quality("cjk", "pt")) == (50, 0)
    nano = catalog.translation["nano-translate"]
    assert nano.pair_quality("en", "de") == nano.quality == 0
    assert not model.speaks("fr", "fr")
    assert not model.speaks("fr", "tlh")


def test_smaller_models_do_the_same_work_and_fit(catalog: Catalog) -> None:
    alternatives = catalog.smaller("openai/whisper-large", 2000)
    assert alternatives[0] == "openai/whisper-small"
    assert not any(name.endswith(".en") for name in alternatives)
    assert catalog.smaller("facebook/nllb-200-3.3B", 7000)[0] == "facebook/nllb-200-distilled-1.3B"
    # Those for many pairs are larger, and the other bilingual ones do other pairs.
    assert catalog.smaller("Helsinki-NLP/opus-mt-en-de", 10_000) == ()
    assert catalog.smaller("nobody/knows-it", 10_000) == ()
    assert "nano-whisper" not in catalog.smaller("openai/whisper-tiny", 10_000)


async def test_the_shelf_reads_once() -> None:
    shelf = Shelf()
    assert await shelf.open() is await shelf.open()


@given(st.floats(0, 200), st.floats(0, 100), st.floats(0.01, 1000))
def test_scores_stay_between_0_and_100(wer: float, bleu: float, speed: float) -> None:
    scores = (
        catalog_scores.quality_of_wer(wer),
        catalog_scores.quality_of_spbleu(bleu),
        catalog_scores.quality_of_tatoeba(bleu),
        catalog_scores.speed_score(speed),
    )
    assert all(0 <= score <= 100 for score in scores)


@given(st.integers(1, 10**10))
def test_speed_between_sizes_stays_between_speeds(parameters: int) -> None:
    assert 1 <= catalog_scores.speed_between(parameters, [(100, 10.0), (10_000, 4.0), (1_000_000, 1.0)]) <= 10


@given(st.integers(0, 10**6))
def test_a_machine_has_room_for_twice_the_model(memory: int) -> None:
    assert 2 * memory <= catalog_scores.ram_mb(memory)
