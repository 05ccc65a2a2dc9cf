"""Any Hugging Face language model, in this process, streamed token by token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial

import torch

from backends.base import EngineSpec, Health, ModelSpec, Progress, Report, placed
from backends.errors import Broken, Overloaded, Unavailable, Unsupported
from backends.inprocess.executor import Executor, on_loop
from backends.inprocess.hub import Hub, chosen
from backends.inprocess.memory import give_back
from backends.inprocess.placement import choose_device
from backends.inprocess.turns import STOPS
from backends.transformers.generation import Generation
from backends.transformers.loading import load
from backends.transformers.model import Model
from backends.transformers.options import settle
from backends.transformers.plan import Plan, read_prompt, write_prompt
from backends.transformers.prompts import refuse_unsupported
from backends.transformers.tokens import tokenized
from backends.types import Chat, Complete, Event, Request, Sampling, Tokenized, Usage

LONG = 16_384


class TransformersBackend:
    """Serves Chat and Complete. active: requests that generate at once; more wait their turn, and may leave.

    Every pass through a model is one piece of work for one thread, and a request hands in its next piece only after
    the last: the thread's queue, first come first served, is what interleaves requests token by token. A caller who
    leaves hands in no more. Prompts are read beside that, each one a piece of work; those of more than LONG characters
    have a line of their own, so that others wait for none of them.
    """

    def __init__(self, spec: EngineSpec, *, active: int = 16) -> None:
        self._spec = spec
        self._hub = Hub()
        self._loader = Executor(f"{spec.name}-load")
        self._worker = Executor(spec.name)
        self._reader = Executor(f"{spec.name}-read")
        self._long_reader = Executor(f"{spec.name}-read-long")
        self._places = asyncio.Semaphore(active)
        self._loading = asyncio.Lock()
        self._models: dict[ModelSpec, Model] = {}

    async def load(self, model: ModelSpec, report: Report) -> None:
        """Find or download the files and load them, once for all who ask. Raises Unavailable, and Unsupported for a model of
        the hub that cannot be run, with the way out.
        """
        async with self._loading:
            if model in self._models:
                return
            self._models[model] = await self._loader.call(self._load, model, on_loop(report))

    async def unload(self, model: ModelSpec) -> None:
        """Let go of the model; requests that still run on it keep it until they end."""
        if self._models.pop(model, None) is not None:
            # In the thread that ran it last, which may hold on to it until its next work.
            await self._worker.call(give_back)

    async def health(self) -> Health:
        """Whether the configured device is there."""
        try:
            choose_device(self._spec.device)
        except Unavailable as error:
            return Health(ok=False, reason=error.message)
        return Health(ok=True)

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """Deltas as tokens come, a Finish for each choice, Usage at the end; prompts of a Complete one after another.

        Raises Invalid and Unsupported before the first event; Unavailable for a model not loaded, Overloaded when
        memory runs out, Broken when the model fails.
        """
        if not isinstance(request, Chat | Complete):
            raise Unsupported(f"{model.label} is a language model: it serves chat and completions.", param="model")
        refuse_unsupported(request)
        if model not in self._models:
            raise Unavailable(f"{model.label} is not loaded; load it and try again.", retry_after=1.0)
        plan = await self._plan(self._models[model], request)
        completion_tokens = 0
        async with self._places:
            for number in range(len(plan.prompts)):
                for event in plan.opening(number):
                    yield event
                generation = await self._worker.call(plan.begin, number)
                while not generation.done:
                    for event in await self._step(generation):
                        yield event
                completion_tokens += generation.tokens
        yield Usage(plan.prompt_tokens, completion_tokens)

    async def tokenize(self, model: ModelSpec, request: Chat | Complete) -> Tokenized:
        """The first prompt or the conversation as the model reads it. Raises as run does."""
        if model not in self._models:
            raise Unavailable(f"{model.label} is not loaded; load it and try again.", retry_after=1.0)
        loaded = self._models[model]
        written = await self._reader.call(write_prompt, loaded, request, 0)
        text = written if isinstance(written, str) else loaded.decode(written)
        reader = self._long_reader if len(written) > LONG else self._reader
        whole = isinstance(request, Complete) or loaded.tokenizer.chat_template is None
        return await reader.call(partial(tokenized, text, loaded, whole=whole))

    async def probe(self, model: ModelSpec) -> Request:
        """One token."""
        return Complete(prompts=("1",), sampling=Sampling(max_tokens=1))

    async def close(self) -> None:
        """Let go of all models and threads, after the pass that is running."""
        for executor in (self._worker, self._reader, self._long_reader):
            await executor.close()
        await self._loader.close()
        self._models.clear()

    def _load(self, model: ModelSpec, report: Report) -> Model:
        with chosen(model):
            directory = self._hub.locate(model, report)
            report(Progress("load"))
            spec = placed(self._spec, model)
            return load(directory, device=spec.device, compute_type=spec.compute_type)

    async def _plan(self, model: Model, request: Chat | Complete) -> Plan:
        """The request with its options settled and its prompts read. Raises Invalid and Unsupported, naming the field."""
        options = settle(request.sampling, model.defaults, model.vocabulary)
        prompts = []
        for number in range(1 if isinstance(request, Chat) else len(request.prompts)):
            written = await self._reader.call(write_prompt, model, request, number)
            reader = self._long_reader if len(written) > LONG else self._reader
            prompts.append(await reader.call(read_prompt, model, options, request, written))
        plain = isinstance(request, Chat) and model.tokenizer.chat_template is None
        return Plan(model, options, tuple(prompts), STOPS[model.style] if plain else ())

    async def _step(self, generation: Generation) -> list[Event]:
        try:
            return await self._worker.call(generation.step)
        except torch.OutOfMemoryError as error:
            raise Overloaded(
                f"{self._spec.name} is out of memory for this answer; try again when it is less busy, or ask for less.",
                retry_after=5.0,
            ) from error
        except RuntimeError as error:
            raise Broken(f"{self._spec.name} failed while computing; its log has the cause.") from error
