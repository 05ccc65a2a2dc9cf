"""Machine translation in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import ctranslate2
from safetensors import SafetensorError

from backends.base import EngineSpec, Health, ModelSpec, Progress, Report, placed
from backends.errors import NoDevice, OutOfMemory, Unavailable, Unsupported
from backends.inprocess.admission import Admission
from backends.inprocess.batch import out_of_memory
from backends.inprocess.conversion import converted
from backends.inprocess.executor import Executor, on_loop
from backends.inprocess.hub import Hub, chosen
from backends.inprocess.loaded import Loaded
from backends.inprocess.memory import give_back
from backends.inprocess.ordered import in_order
from backends.translation.checkpoint import read_checkpoint
from backends.translation.engine import CTranslate2Engine, Engine, GenerateEngine
from backends.translation.family import detect
from backends.translation.pipeline import Pipeline
from backends.translation.tokenizer import open_tokenizer
from backends.translation.translator import Translator
from backends.types import Event, Request, Translate

# Sentences are short: many fill a call, and those that come while one runs are mates enough for the next.
MAX_BATCH, MAX_WAIT_MS = 32, 0.0


class TranslationBackend:
    """Serves Translate requests with models that run here; sentences of many requests share a batch.

    spec.data is where converted models are kept.
    """

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._hub = Hub()
        self._models: Loaded[Translator] = Loaded()
        self._admission = Admission(spec.name, spec.max_queued_characters, unit="characters")
        self._turn = asyncio.Lock()
        self._loading = Executor(f"{spec.name} (loading)")
        self._preparing = Executor(f"{spec.name} (preparing)")

    @property
    def queued_characters(self) -> float:
        """Characters accepted and not yet translated."""
        return self._admission.queued

    @property
    def waiting(self) -> int:
        """Sentences that wait for their turn, over all models."""
        return sum(translator.waiting for translator in self._models)

    async def load(self, model: ModelSpec, report: Report) -> None:
        """Find or download the model, convert it unless that was done before, and open it. Raises Unavailable."""
        async with self._turn:
            if model not in self._models:
                pipeline = await self._loading.call(self._open, model, on_loop(report))
                self._models.add(model, self._translator(model, pipeline))

    async def unload(self, model: ModelSpec) -> None:
        """Take no more requests for the model, let those accepted end, and free it."""
        translator = await self._models.removed(model)
        if translator is not None:
            await translator.close()
            del translator
            await asyncio.to_thread(give_back)

    async def health(self) -> Health:
        """Whether the configured device is there."""
        try:
            placement(self._spec)
        except Unavailable as error:
            return Health(ok=False, reason=error.message)
        return Health(ok=True)

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """Yield one Translated per text, in order, as batches are done.

        Raises Unavailable for a model that is not loaded or memory that runs out, Invalid for what it cannot do, Broken
        when it fails, Overloaded when too much text waits already. The work goes on while a slow reader reads, so that
        nobody waits for one: neither unloading nor those to be admitted.
        """
        if not isinstance(request, Translate):
            raise Unsupported(f"{model.label} is a translation model: it serves translation.", param="model")
        translated = self._translated(model, request)
        if len(request.texts) == 1:
            for event in [event async for event in translated]:
                yield event
            return
        async with aclosing(in_order([translated], side_by_side=1)) as events:
            async for event in events:
                yield event

    async def probe(self, model: ModelSpec) -> Request:
        """A word, between languages that the model knows."""
        with self._models.used(model) as translator:
            return translator.probe

    async def close(self) -> None:
        """Stop what runs after the batch it is in, and let every model go."""
        for translator in self._models.clear():
            await translator.close()
        await self._loading.close()
        await self._preparing.close()

    async def _translated(self, model: ModelSpec, request: Translate) -> AsyncGenerator[Event, None]:
        with self._models.used(model) as translator:
            plan = translator.plan(request)
            with self._admission.admit(sum(map(len, request.texts))) as done:
                async with aclosing(translator.translate(request.texts, plan, done)) as events:
                    async for event in events:
                        yield event

    def _translator(self, model: ModelSpec, pipeline: Pipeline) -> Translator:
        return Translator(
            model.label,
            pipeline,
            self._preparing,
            max_batch=self._spec.max_batch or MAX_BATCH,
            max_wait_ms=MAX_WAIT_MS if self._spec.max_wait_ms is None else self._spec.max_wait_ms,
        )

    def _open(self, model: ModelSpec, report: Report) -> Pipeline:
        with chosen(model):
            return self._opened(model, report)

    def _opened(self, model: ModelSpec, report: Report) -> Pipeline:
        try:
            directory = self._hub.locate(model, report)
            engine = self._engine(directory, placed(self._spec, model), report)
            checkpoint = read_checkpoint(model.label, directory, engine.vocabulary)
            tokenizer = open_tokenizer(directory)
        except (OSError, ValueError, RuntimeError, MemoryError, SafetensorError) as error:
            if out_of_memory(error):
                raise OutOfMemory(f"{model.label} needs more memory than there is left for it.") from error
            raise Unavailable(
                f"{model.label} cannot be opened as a translation model: its files are incomplete, damaged or of another "
                "kind of model. Fetch them again, or name another model."
            ) from error
        return Pipeline(checkpoint, detect(checkpoint, tokenizer.pieces), tokenizer, engine)

    def _engine(self, directory: Path, spec: EngineSpec, report: Report) -> Engine:
        device, compute_type = placement(spec)
        store = spec.data / "converted"
        try:
            kept = converted(directory, store=store, quantization=compute_type, copy=(), report=report)
        except Unavailable:  # not an architecture of CTranslate2's
            report(Progress("load"))
            return GenerateEngine(directory, device=device)
        report(Progress("load"))
        return CTranslate2Engine(kept, device=device, compute_type=compute_type)


def placement(spec: EngineSpec) -> tuple[str, str]:
    """Device and compute type: the GPU where there is one, and what is quickest there. Raises NoDevice without it."""
    has_cuda = ctranslate2.get_cuda_device_count() > 0
    device = ("cuda" if has_cuda else "cpu") if spec.device == "auto" else spec.device
    if device == "cuda" and not has_cuda:
        raise NoDevice(f"{spec.name} is to run on CUDA, but there is no CUDA device; set its device to cpu or auto.")
    usual = "float16" if device == "cuda" else "int8"
    compute_type = usual if spec.compute_type in ("default", "auto") else spec.compute_type
    if compute_type not in ctranslate2.get_supported_compute_types(device):
        supported = ", ".join(sorted(ctranslate2.get_supported_compute_types(device)))
        raise NoDevice(f"{compute_type!r} does not run on this {device}; compute types that do: {supported}.")
    return device, compute_type
