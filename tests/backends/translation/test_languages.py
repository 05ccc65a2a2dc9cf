"""Codes of every standard find the model's own, and unknown ones are refused with the nearest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES as M2M100_CODES
from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES as MBART_CODES
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as NLLB_CODES

from backends.errors import Invalid
from backends.translation.languages import Languages, Tag, read_table

NLLB = Languages(tuple(NLLB_CODES))
M2M100 = Languages(tuple(M2M100_CODES["m2m100"]))
MBART = Languages(tuple(MBART_CODES))


@pytest.mark.parametrize(
    ("code", "nllb", "m2m100", "mbart"),
    [
        ("fr", "fra_Latn", "fr", "fr_XX"),
        ("fra", "fra_Latn", "fr", "fr_XX"),
        ("fre", "fra_Latn", "fr", "fr_XX"),
        ("fra_Latn", "fra_Latn", "fr", "fr_XX"),
        ("fr_XX", "fra_Latn", "fr", "fr_XX"),
        ("EN-us", "eng_Latn", "en", "en_XX"),
        ("pt-BR", "por_Latn", "pt", "pt_XX"),
        ("zh", "zho_Hans", "zh", "zh_CN"),
        ("zh-CN", "zho_Hans", "zh", "zh_CN"),
        ("zh_Hans", "zho_Hans", "zh", "zh_CN"),
        ("cmn_Hans", "zho_Hans", "zh", "zh_CN"),
        ("ar", "arb_Arab", "ar", "ar_AR"),
        ("fa", "pes_Arab", "fa", "fa_IR"),
        ("sw_KE", "swh_Latn", "sw", "sw_KE"),
        ("fil", "tgl_Latn", "tl", "tl_XX"),
        ("iw", "heb_Hebr", "he", "he_IL"),
        ("lv", "lvs_Latn", "lv", "lv_LV"),
    ],
)
def test_any_standard(code: str, nllb: str, m2m100: str, mbart: str) -> None:
    assert [side.find(code, "source") for side in (NLLB, M2M100, MBART)] == [nllb, m2m100, mbart]


@pytest.mark.parametrize(
    ("code", "own"),
    [("zh-TW", "zho_Hant"), ("zh-Hant", "zho_Hant"), ("yue", "yue_Hant"), ("ks", "kas_Arab"), ("ks-Deva", "kas_Deva")],
)
def test_scripts(code: str, own: str) -> None:
    assert NLLB.find(code, "target") == own


@pytest.mark.parametrize("languages", [NLLB, M2M100, MBART])
def test_every_code_of_a_model_is_itself(languages: Languages) -> None:
    assert [languages.find(code, "source") for code in languages.codes] == list(languages.codes)
    assert [languages.find(code.upper().replace("_", "-"), "source") for code in languages.codes] == list(
        languages.codes
    )


def test_most_of_m2m100_and_mbart_is_in_nllb() -> None:
    def lacking(codes: tuple[str, ...]) -> list[str]:
        known = {tag.language for tag in map(NLLB.table.parse, NLLB.codes)}
        return [code for code in codes if NLLB.table.parse(code).language not in known]

    assert lacking(M2M100.codes) == ["br", "fy"]
    assert lacking(MBART.codes) == []


@pytest.mark.parametrize(
    ("languages", "code", "named"),
    [
        (NLLB, "frx", "fra_Latn"),
        (NLLB, "sr-Latn", "srp_Cyrl"),
        (NLLB, "klingon", "of its 202"),
        (NLLB, "q", "and 190 more"),
        (Languages(("en", "de")), "fr", "it has en, de."),
        (MBART, "zh-TW", "zh_CN"),
        (Languages(()), "fr", "leave target out"),
    ],
)
def test_unknown_names_what_there_is(languages: Languages, code: str, named: str) -> None:
    with pytest.raises(Invalid) as refused:
        languages.find(code, "target")
    assert refused.value.param == "target"
    assert named in refused.value.message
    assert repr(code) in refused.value.message


def test_region_decides_between_variants() -> None:
    marian = Languages(("pt", "pt_br"))
    assert [marian.find(code, "target") for code in ("pt", "pt-BR", "pt-PT")] == ["pt", "pt_br", "pt"]


@given(st.text(max_size=20))
def test_whatever_is_written_is_found_or_refused(code: str) -> None:
    assert isinstance(read_table().parse(code), Tag)
    try:
        assert M2M100.find(code, "source") in M2M100.codes
    except Invalid as refused:
        assert refused.param == "source"
