"""transformers' generate behind the least server. usage: python -m tests.bench.translation_transformers NAME PORT MODEL"""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from tests.bench.library_server import Library, main

BATCH = 32


def translator(directory: str, most: int = 1) -> Library:
    """As many sentences at a time as wait, up to `most`, whatever their languages. Greedy, as the model's own settings say."""
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSeq2SeqLM.from_pretrained(directory, dtype=torch.float32).eval()

    def answer(bodies: Sequence[bytes]) -> list[str]:
        items = [json.loads(body) for body in bodies]
        encoded = []
        for item in items:
            tokenizer.src_lang = item["source"]
            encoded.append(tokenizer(item["text"]))
        batch = tokenizer.pad(encoded, return_tensors="pt")
        start = model.generation_config.decoder_start_token_id
        begun = torch.tensor([[start, tokenizer.get_lang_id(item["target"])] for item in items])
        with torch.inference_mode():
            found = model.generate(**batch, decoder_input_ids=begun)
        return [str(text) for text in tokenizer.batch_decode(found, skip_special_tokens=True)]

    return Library(answer, most)


if __name__ == "__main__":
    main({"alone": translator, "batched": lambda directory: translator(directory, BATCH)})
