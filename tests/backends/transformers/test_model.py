from __future__ import annotations

from backends.transformers.model import Model


def test_tokens_are_spelled_as_they_read_inside_a_text(nano_model: Model) -> None:
    tokens = nano_model.tokenizer.encode(" is", add_special_tokens=False)

    assert "".join(map(nano_model.spell, tokens)) == " is"
    assert nano_model.spell(2) == "<|end|>"
