"""A request laid out as generations, one for each of its prompts."""

from __future__ import annotations

from dataclasses import dataclass

from backends.inprocess.checkpoints import computing
from backends.transformers.choice import Choice
from backends.transformers.detokenize import Detokenizer
from backends.transformers.generation import Generation
from backends.transformers.model import Model
from backends.transformers.options import Options
from backends.transformers.prompts import chat_text, chat_tokens, completion_tokens, refuse_too_long
from backends.transformers.sampling import Sampler
from backends.transformers.stopping import StopStrings
from backends.types import Chat, Complete, Delta, Event, Finish


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt's tokens, the tokens that each answer may have, and the text to say before it (echo)."""

    tokens: list[int]
    budget: int
    echo: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What serves one request. Choice index = prompt number * n + sample number; stops: strings that end an answer beside
    the caller's.
    """

    model: Model
    options: Options
    prompts: tuple[Prompt, ...]
    stops: tuple[str, ...] = ()

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts, each counted once."""
        return sum(len(prompt.tokens) for prompt in self.prompts)

    def opening(self, number: int) -> list[Event]:
        """What is known of prompt `number`'s answers before the model has run."""
        prompt = self.prompts[number]
        echoes: list[Event] = [Delta(index, prompt.echo) for index in self._indices(number) if prompt.echo]
        return echoes if prompt.budget else [*echoes, *(Finish(index, "length") for index in self._indices(number))]

    def begin(self, number: int) -> Generation:
        """The generation of prompt `number`'s answers. A seed gives answer k of each prompt the random numbers seed + k."""
        prompt = self.prompts[number]
        with computing():
            choices = [self._choice(prompt, index) for index in self._indices(number)] if prompt.budget else []
        return Generation(self.model, prompt.tokens, choices)

    def _indices(self, number: int) -> range:
        return range(number * self.options.n, (number + 1) * self.options.n)

    def _choice(self, prompt: Prompt, index: int) -> Choice:
        model, options = self.model, self.options
        before = model.before(prompt.tokens)
        seed = None if options.seed is None else (options.seed + index % options.n) % 2**63
        return Choice(
            index,
            sampler=Sampler(options.rules, before, vocabulary=model.vocabulary, seed=seed, device=model.device),
            detokenizer=Detokenizer(model.decode, before),
            stops=StopStrings((*options.stop, *self.stops)),
            ends=model.ends,
            budget=prompt.budget,
            top_logprobs=options.top_logprobs,
            spell=model.spell,
        )


def write_prompt(model: Model, request: Chat | Complete, number: int) -> str | tuple[int, ...]:
    """Prompt `number` as text, or as the token ids that the caller sent. Raises Invalid and Unsupported, naming the field."""
    prompt = chat_text(request, model) if isinstance(request, Chat) else request.prompts[number]
    refuse_too_long(prompt, model, _field(request))
    return prompt


def read_prompt(model: Model, options: Options, request: Chat | Complete, written: str | tuple[int, ...]) -> Prompt:
    """A prompt's tokens and the room that they leave. Raises Invalid, naming the field."""
    if isinstance(written, str) and isinstance(request, Chat):
        tokens = chat_tokens(written, model.tokenizer)
    else:
        tokens = completion_tokens(written, model.tokenizer, model.vocabulary)
    echo = isinstance(request, Complete) and request.echo
    budget = model.room(options, tokens, param=_field(request), least=0 if echo else 1)
    text = written if isinstance(written, str) else model.decode(written)
    return Prompt(tokens, budget, text if echo else "")


def _field(request: Chat | Complete) -> str:
    return "messages" if isinstance(request, Chat) else "prompt"
