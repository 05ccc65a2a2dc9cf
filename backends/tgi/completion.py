"""Text completion on TGI's native routes, which can do what its /v1/completions ignores: logprobs, echo, top_k."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError as ShapeError
from text_generation.errors import ValidationError
from text_generation.types import Grammar, GrammarType, InputToken, Parameters, Request, Response, StreamResponse, Token

from backends.errors import Broken, Invalid, Unsupported
from backends.tgi.errors import event_error, typed_error
from backends.tgi.options import check_sampling, is_greedy, narrow_top_p, seed_of
from backends.tgi.stops import StopFilter
from backends.types import Complete, Delta, Event, Finish, JsonObject, Sampling, TokenLogprob, Usage

STREAM: Final = "/generate_stream"
WHOLE: Final = "/generate"


def path_of(request: Complete) -> str:
    """Log-probabilities of the prompt itself are not streamed by TGI: only then the answer is asked for whole."""
    return WHOLE if request.echo and request.sampling.logprobs else STREAM


def encode_generation(request: Complete, prompt: str | tuple[int, ...], sample: int) -> JsonObject:
    """The body of POST /generate or /generate_stream. Raises Invalid or Unsupported for what TGI cannot do."""
    sampling = request.sampling
    check_sampling(sampling)
    if not isinstance(prompt, str):
        raise Unsupported("This model's engine (TGI) takes prompts as text, not as token ids.", param="prompt")
    if request.suffix:
        raise Unsupported("This model's engine (TGI) cannot fill in before a suffix.", param="suffix")
    if sampling.best_of is not None and sampling.best_of < sampling.n:
        raise Invalid(f"best_of must be at least n = {sampling.n}, and is {sampling.best_of}.", param="best_of")
    try:
        parameters = _parameters(sampling, sample, whole=path_of(request) == WHOLE)
        if request.grammar is not None:
            kind = GrammarType.Regex if isinstance(request.grammar, str) else GrammarType.Json
            parameters = parameters.model_copy(update={"grammar": Grammar(type=kind, value=request.grammar)})
        wire: JsonObject = Request(inputs=prompt, parameters=parameters).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise typed_error(str(error), "validation", inputs="prompt") from error
    return wire


def _parameters(sampling: Sampling, sample: int, *, whole: bool) -> Parameters:
    """Only what was said is set: unset, max_new_tokens is TGI's to choose, and not the 20 of this type."""
    greedy = is_greedy(sampling)
    options = {
        "max_new_tokens": sampling.max_tokens,
        "temperature": None if greedy else sampling.temperature,
        "top_p": None if greedy else narrow_top_p(sampling.top_p),
        "top_k": None if greedy or sampling.top_k in (0, -1) else sampling.top_k,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": seed_of(sampling, sample),
        "stop": list(sampling.stop) or None,
        "top_n_tokens": sampling.top_logprobs or None if sampling.logprobs else None,
    }
    said = {name: value for name, value in options.items() if value is not None}
    parameters = Parameters(do_sample=not greedy, details=True, decoder_input_details=whole, **said)
    if sampling.frequency_penalty:
        # The type refuses negative values, which TGI takes as OpenAI does.
        parameters = parameters.model_copy(update={"frequency_penalty": sampling.frequency_penalty})
    return parameters


class CompletionDecoder:
    """Reads one generation, streamed or whole. Choice index is always 0.

    logprobs: whether the caller wants them; echo: the prompt, to be repeated before its continuation, or None.
    """

    def __init__(self, stops: tuple[str, ...], *, logprobs: bool, echo: str | None) -> None:
        self._stops = StopFilter(stops)
        self._logprobs = logprobs
        self._echo = echo
        self._last: list[Event] | None = None

    def feed(self, event: JsonObject) -> list[Event]:
        """Events of one streamed token. Raises the error that an error event stands for, Broken for what is none of TGI's."""
        if event.get("error"):
            raise event_error(event, inputs="prompt")
        try:
            said = StreamResponse.model_validate(event)
        except ShapeError as error:
            raise Broken("The engine sent an event that is not TGI's.") from error
        out = self._repeat_prompt(()) + self._piece(said.token, said.top_tokens)
        if said.details is not None:
            usage = Usage(_input_length(event), said.details.generated_tokens)
            out += self._finish(said.details.finish_reason.value, usage)
        return out

    def whole(self, body: JsonObject) -> list[Event]:
        """Events of an answer that came in one piece, the last ones included. Raises Broken for what is none of TGI's."""
        try:
            details = Response.model_validate(body).details
        except ShapeError as error:
            raise Broken("The engine's answer is not TGI's.") from error
        out = self._repeat_prompt(details.prefill)
        for token, top in zip(details.tokens, details.top_tokens or [None] * len(details.tokens), strict=False):
            out += self._piece(token, top)
        out += self._finish(details.finish_reason.value, Usage(len(details.prefill), details.generated_tokens))
        return out + self.end()

    def end(self) -> list[Event]:
        """The last events. Raises Broken when the stream ended before its last token, the one with details."""
        if self._last is None:
            raise Broken("The engine ended its answer before it was complete.")
        return self._last

    def _repeat_prompt(self, tokens: list[InputToken] | tuple[()]) -> list[Event]:
        if self._echo is None:
            return []
        prompt, self._echo = self._echo, None
        return [Delta(0, text=prompt, logprobs=tuple(TokenLogprob(token.text, token.logprob) for token in tokens))]

    def _piece(self, token: Token, top: list[Token] | None) -> list[Delta]:
        if token.special:  # an end-of-sequence token, which is no part of the text
            return []
        ranked = sorted(((other.text, other.logprob or 0.0) for other in top or ()), key=lambda pair: -pair[1])
        logprobs = (TokenLogprob(token.text, token.logprob, tuple(ranked), token.id),) if self._logprobs else ()
        return self._stops.feed(Delta(0, text=token.text, logprobs=logprobs))

    def _finish(self, reason: str, usage: Usage) -> list[Delta]:
        pieces = self._stops.finish(stopped=reason == "stop_sequence")
        self._last = [Finish(0, "length" if reason == "length" else "stop", self._stops.matched), usage]
        return pieces


def _input_length(event: JsonObject) -> int:
    """Tokens of the prompt, which text-generation's StreamDetails leaves out."""
    match event.get("details"):
        case {"input_length": int(length)}:
            return length
        case _:
            return 0
