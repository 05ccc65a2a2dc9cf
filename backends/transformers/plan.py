"""A request checked and laid out as generations, one for each of its prompts."""

from __future__ import annotations

from dataclasses import dataclass

from backends.transformers.choice import Choice
from backends.transformers.detokenize import Detokenizer
from backends.transformers.generation import Generation
from backends.transformers.model import Model
from backends.transformers.options import Options, room, settle
from backends.transformers.prompts import chat_tokens, completion_tokens
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
    """What serves one request. Choice index = prompt number * n + sample number."""

    model: Model
    options: Options
    prompts: tuple[Prompt, ...]

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
        choices = [self._choice(prompt, index) for index in self._indices(number)] if prompt.budget else []
        return Generation(self.model, prompt.tokens, choices)

    def _indices(self, number: int) -> range:
        return range(number * self.options.n, (number + 1) * self.options.n)

    def _choice(self, prompt: Prompt, index: int) -> Choice:
        model, options = self.model, self.options
        seed = None if options.seed is None else (options.seed + index % options.n) % 2**63
        return Choice(
            index,
            sampler=Sampler(options.rules, prompt.tokens, vocabulary=model.vocabulary, seed=seed, device=model.device),
            detokenizer=Detokenizer(model.decode, prompt.tokens),
            stops=StopStrings(options.stop),
            ends=model.ends,
            budget=prompt.budget,
            top_logprobs=options.top_logprobs,
            spell=model.spell,
        )


def make_plan(model: Model, request: Chat | Complete) -> Plan:
    """Settle options, apply the template, count tokens. Raises Invalid and Unsupported, naming the field."""
    options = settle(request.sampling, model.defaults, model.vocabulary)
    if isinstance(request, Chat):
        tokens = chat_tokens(request, model.tokenizer)
        return Plan(
            model,
            options,
            (Prompt(tokens, room(options, prompt=len(tokens), context=model.context, param="messages")),),
        )
    return Plan(model, options, tuple(_prompt(model, options, prompt, echo=request.echo) for prompt in request.prompts))


def _prompt(model: Model, options: Options, prompt: str | tuple[int, ...], *, echo: bool) -> Prompt:
    tokens = completion_tokens(prompt, model.tokenizer, model.vocabulary)
    budget = room(options, prompt=len(tokens), context=model.context, param="prompt", least=0 if echo else 1)
    text = prompt if isinstance(prompt, str) else model.decode(prompt)
    return Prompt(tokens, budget, text if echo else "")
