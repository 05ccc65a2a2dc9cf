"""What TGI says of a text's tokens (openapi 3.3.6: TokenizeResponse, ChatTokenizeResponse)."""

from __future__ import annotations

from backends.errors import Broken, Unsupported
from backends.types import Complete, Json, JsonObject, Piece, Tokenized


def prompt_body(request: Complete) -> JsonObject:
    """The body of POST /tokenize. Raises Unsupported for a prompt of ids."""
    prompt = request.prompts[0]
    if not isinstance(prompt, str):
        raise Unsupported("The prompt is tokens already.", param="prompt")
    return {"inputs": prompt}


def read_tokens(said: Json, text: str | None) -> Tokenized:
    """The answer of /tokenize; text: what was asked about, None = the answer of /chat_tokenize, which says it. Raises Broken."""
    match said:
        case {"tokenize_response": list(tokens), "templated_text": str(written)} if text is None:
            return Tokenized(written, tuple(map(_piece, tokens)))
        case list(tokens) if text is not None:
            return Tokenized(text, tuple(map(_piece, tokens)))
        case _:
            raise Broken("The engine's answer is not TGI's list of tokens.")


def _piece(said: Json) -> Piece:
    match said:
        case {"id": int(id), "text": str(text), "start": int(start), "stop": int(stop)}:
            return Piece(id, text, start, stop)
        case _:
            raise Broken("The engine told of a token that is not in TGI's shape.")
