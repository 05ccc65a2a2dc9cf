"""Any Hugging Face task in this process: a pipeline for each task and model, one call of each at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from transformers.utils import logging

from backends.base import EngineSpec, Health, ModelSpec, Progress, Report, placed
from backends.errors import BackendError, Unsupported
from backends.inprocess.admission import Admission
from backends.inprocess.executor import Executor, on_loop
from backends.inprocess.hub import Hub, chosen
from backends.inprocess.loaded import Loaded
from backends.inprocess.memory import give_back
from backends.inprocess.placement import choose_device
from backends.pipelines import tasks
from backends.pipelines.loading import load
from backends.pipelines.running import Running
from backends.types import Event, Infer, Inferred, Request

# Requests that wait for one pipeline; more are told when to come again.
MOST_WAITING = 64


@dataclass(frozen=True, slots=True)
class _Pipeline:
    """A pipeline, its thread, and what may wait for it."""

    running: Running
    thread: Executor
    admission: Admission


class PipelinesBackend:
    """Serves Infer. A model is loaded for one task (ModelSpec.task); for another task it is another pipeline."""

    def __init__(self, spec: EngineSpec, hub: Hub | None = None) -> None:
        self._spec = spec
        self._hub = hub or Hub()
        self._loading = Executor(f"{spec.name}, loading")
        self._turn = asyncio.Lock()
        self._pipelines: Loaded[_Pipeline] = Loaded()
        logging.set_verbosity_error()  # warnings of pipelines quote what they are asked

    async def load(self, model: ModelSpec, report: Report) -> None:
        """Find or download the files and make the task's pipeline, unless it is there. Raises Unavailable, and Unsupported for a
        model that cannot do the task.
        """
        async with self._turn:
            if model not in self._pipelines:
                running = await self._loading.call(self._load, model, on_loop(report))
                admission = Admission(model.label, MOST_WAITING, unit="requests")
                self._pipelines.add(model, _Pipeline(running, Executor(model.label), admission))

    async def unload(self, model: ModelSpec) -> None:
        """Take no more requests for the pipeline, let those accepted end, and free it."""
        pipeline = await self._pipelines.removed(model)
        if pipeline is not None:
            await pipeline.thread.close()
            del pipeline
            await asyncio.to_thread(give_back)

    async def health(self) -> Health:
        """Whether the configured device is there."""
        try:
            choose_device(self._spec.device)
        except BackendError as error:
            return Health(ok=False, reason=error.message)
        return Health(ok=True)

    async def run(self, model: ModelSpec, request: Request) -> AsyncGenerator[Event, None]:
        """One Inferred. Raises Invalid, Unsupported and MediaRefused for what is wrong with the request, Overloaded when too many
        wait already, Unavailable when it is not loaded or memory runs out, Broken when the model fails.

        Closing it frees the thread at the next pass of the model.
        """
        if not isinstance(request, Infer):
            raise Unsupported(f"{model.label} is loaded for `{model.task}` and serves nothing else.", param="model")
        left = threading.Event()
        with self._pipelines.used(model) as pipeline, pipeline.admission.admit(1):
            try:
                result = await pipeline.thread.call(_run, pipeline.running, request, left)
            finally:
                left.set()
        yield Inferred(result)

    async def probe(self, model: ModelSpec) -> Infer | None:
        """The smallest input of the task."""
        with self._pipelines.used(model) as pipeline:
            return pipeline.running.probe(model.task or "")

    async def close(self) -> None:
        """Let what runs come to its end, and free every pipeline."""
        for pipeline in self._pipelines.clear():
            await pipeline.thread.close()
        await self._loading.close()

    def _load(self, model: ModelSpec, report: Report) -> Running:
        if model.task is None:
            raise Unsupported(f"{model.label} has no task: a pipeline is made for one.", param="task")
        task = tasks.find(model.task)
        with chosen(model):
            directory = self._hub.locate(model, report)
        report(Progress("load"))
        place = placed(self._spec, model)
        pipeline = load(task.name, directory, label=model.label, device=place.device, compute_type=place.compute_type)
        return Running(model.label, pipeline, max_audio_seconds=self._spec.max_audio_seconds)


def _run(running: Running, request: Infer, left: threading.Event) -> bytes:
    return running.run(tasks.check(request), left)
