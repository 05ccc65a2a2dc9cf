"""Reading checkpoints with transformers: one at a time whichever engine asks, quietly, and without disturbing who computes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from transformers import modeling_utils
from transformers.utils import logging


class Gate:
    """Many may pass it at once; while it is closed nobody is inside, and whoever comes waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = self._closings = 0

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Be inside; blocks while the gate is closed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closings)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Keep the gate closed; blocks until those inside have left. May be nested."""
        with self._changed:
            self._closings += 1
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._closings -= 1
                self._changed.notify_all()


# transformers prepares a network by patching PyTorch for the whole process (its initialisers, its default data type),
# so two threads that read at once leave each other half a network, and one that computes meanwhile gets tensors of the
# other's type. What these guard is one per process, hence so are they.
_READING = threading.Lock()
_COMPUTING = Gate()


def computing() -> AbstractContextManager[None]:
    """Hold it while running a network in PyTorch: it waits for the moment in which another one is being laid out."""
    return _COMPUTING.passed()


@contextmanager
def computing_in_turns() -> Iterator[Callable[[], None]]:
    """As computing(), for work of many passes: it yields what to call between two of them, which lets those who wait lay out
    their network. Work that did not would hold up a load, and behind the load everybody else.
    """
    with ExitStack() as inside:
        inside.enter_context(_COMPUTING.passed())

        def give_way() -> None:
            inside.close()
            inside.enter_context(_COMPUTING.passed())

        yield give_way


@contextmanager
def reading() -> Iterator[None]:
    """Hold it while transformers reads a checkpoint: nobody else reads, and its reports are not printed."""
    with _READING, _quiet(), _laying_out_alone():
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    verbosity, shows_progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shows_progress:
            logging.enable_progress_bar()


@contextmanager
def _laying_out_alone() -> Iterator[None]:
    """Have nobody compute while the default data type is another: milliseconds of a load that may take minutes."""
    patched = modeling_utils.local_torch_dtype

    @contextmanager
    def alone(dtype: torch.dtype, model_class_name: str | None = None) -> Iterator[None]:
        with _COMPUTING.closed(), patched(dtype, model_class_name):
            yield

    modeling_utils.local_torch_dtype = alone
    try:
        yield
    finally:
        modeling_utils.local_torch_dtype = patched
