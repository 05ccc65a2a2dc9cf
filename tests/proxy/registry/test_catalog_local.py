"""What a model's directory says of it: read from its small files and the heads of its large ones, damaged or not."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backends
from proxy.registry.catalog_local import MAX_HEADER, LocalFacts, read_local

NANO = Path(backends.__file__).parent / "nano"


def test_the_shipped_whisper_is_as_large_as_its_readme_says() -> None:
    facts = read_local(str(NANO / "whisper"))
    assert (facts.kind, facts.parameters, facts.checkpoint_mb) == ("whisper", 2_000_128, 4.0)


def test_the_shipped_translator() -> None:
    facts = read_local(str(NANO / "translate"))
    assert (facts.kind, facts.parameters, facts.pair) == ("m2m_100", 1_221_632, None)


def test_a_marian_names_its_pair_and_a_whisper_its_languages(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"source_lang": "en", "target_lang": "de"}')
    (tmp_path / "generation_config.json").write_text('{"lang_to_id": {"<|de|>": 1, "<|haw|>": 2}}')
    facts = read_local(str(tmp_path))
    assert (facts.pair, facts.languages) == (("en", "de"), ("de", "haw"))
    (tmp_path / "generation_config.json").write_text('{"is_multilingual": false}')
    assert read_local(str(tmp_path)).languages == ("en",)


@pytest.mark.parametrize(
    ("tokens", "codes"),
    [
        (["<s>", "__de__", "__ilo__"], ("de", "ilo")),
        (["deu_Latn", "zho_Hans", "<mask>"], ("deu_Latn", "zho_Hans")),
        (["en_XX", "de_DE"], ("en_XX", "de_DE")),
        ([3, None, "<pad>"], ()),
        ("__de__", ()),
    ],
)
def test_a_tokenizer_marks_the_languages_of_a_translator(
    tokens: object, codes: tuple[str, ...], tmp_path: Path
) -> None:
    text = json.dumps({"additional_special_tokens": tokens, "tokenizer_class": "NllbTokenizer"})
    (tmp_path / "tokenizer_config.json").write_text(text)
    facts = read_local(str(tmp_path))
    assert (facts.codes, facts.tokenizer) == (codes, "NllbTokenizer")


@pytest.mark.parametrize("source", ["openai/whisper-tiny", "", "/there/is/nothing/here"])
def test_what_is_no_directory_says_nothing(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_local(source) == LocalFacts()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", MAX_HEADER + 1) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 12) + b'{"w": {"x"}}',
        struct.pack("<Q", 8) + b'{"w": 3}',
        struct.pack("<Q", 25) + b'{"w": {"shape": ["many"]}}',
    ],
)
def test_weights_that_are_damaged_hold_nothing(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    (tmp_path / "config.json").write_text("{")
    assert read_local(str(tmp_path)) == LocalFacts()


@given(st.lists(st.lists(st.integers(0, 50), max_size=3), max_size=4))
def test_parameters_are_counted_from_the_shapes(shapes: list[list[int]]) -> None:
    header = {str(number): {"shape": shape} for number, shape in enumerate(shapes)}
    head = json.dumps({**header, "__metadata__": {"format": "pt"}}).encode()
    expected = 0
    for shape in shapes:
        size = 1
        for length in shape:
            size *= length
        expected += size
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
        assert read_local(directory).parameters == expected
