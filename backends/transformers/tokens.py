"""How a model of this process reads a text."""

from __future__ import annotations

from backends.errors import Invalid, Unsupported
from backends.transformers.model import Model
from backends.types import Piece, Tokenized


def tokenized(text: str, model: Model, *, whole: bool) -> Tokenized:
    """The text's tokens and their places; whole: with those that the tokenizer puts around a text.

    Raises Unsupported for a tokenizer that knows no places, Invalid for half characters.
    """
    if not model.tokenizer.is_fast:
        raise Unsupported("This model has no fast tokenizer, and only those tell where in a text a token lies.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Invalid(
            "The text has half of a surrogate pair (U+D800 to U+DFFF), which is no character.", param="prompt"
        ) from error
    found = model.tokenizer(text, add_special_tokens=whole, return_offsets_mapping=True, verbose=False)
    pieces = zip(found["input_ids"], found["offset_mapping"], strict=True)
    return Tokenized(
        text, tuple(Piece(token, text[start:stop], start, stop) for token, (start, stop) in pieces), model.context
    )
