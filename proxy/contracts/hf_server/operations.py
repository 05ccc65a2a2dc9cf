"""What the paths of the HF server take and answer."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.contracts.hf_server.asr import KNOWN
from proxy.errors import ErrorCode
from proxy.operation import BODY, FILE, MODEL, OBJECT, Answer, Operation, record, text

TASK = text("as `translation` or `fill-mask`")
NAME = text("none = the default of the task")
ASK = BODY | MODEL | {ErrorCode.UNSUPPORTED}


def operations() -> Iterable[Operation]:
    """One for each route."""
    return (
        Operation(
            method="POST",
            path="/infer",
            summary="Run a Hugging Face task on inputs",
            body=record({"task": TASK, "inputs": {}}, {"model": NAME, "params": OBJECT, "session_id": text()}),
            form=record({"task": TASK}, {"model": NAME, "params": text("JSON"), "inputs": FILE}, closed=False),
            success={200: Answer(description="The task's result", schema=record({"result": {}}))},
            errors=ASK,
        ),
        Operation(
            method="POST",
            path="/asr",
            summary="Write down what is said in a file",
            query={name: text() for name in sorted(KNOWN)},
            form=record({"file": FILE}),
            success={
                200: Answer(
                    description="The text; with `return_timestamps` in pieces with times",
                    schema=record({"result": record({"text": text()}, {"chunks": {}})}),
                )
            },
            errors=ASK,
        ),
    )
