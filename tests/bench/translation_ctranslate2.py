"""CTranslate2 behind the least server. usage: python -m tests.bench.translation_ctranslate2 NAME PORT MODEL"""

from __future__ import annotations

import json

import ctranslate2
from transformers import AutoTokenizer

from tests.bench.library_server import Library, main


def translator(directory: str) -> Library:
    """A sentence at a time, greedily."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    engine = ctranslate2.Translator(directory, device="cpu", compute_type="int8", intra_threads=1)

    def translated(body: bytes) -> str:
        item = json.loads(body)
        tokenizer.src_lang = item["source"]
        tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode(item["text"]))
        prefix = [tokenizer.lang_code_to_token[item["target"]]]
        (result,) = engine.translate_batch([tokens], target_prefix=[prefix], beam_size=1)
        answer = tokenizer.convert_tokens_to_ids(result.hypotheses[0][len(prefix) :])
        return str(tokenizer.decode(answer, skip_special_tokens=True))

    return Library(lambda bodies: [translated(body) for body in bodies])


if __name__ == "__main__":
    main({"alone": translator})
