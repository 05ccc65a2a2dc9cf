"""Clients that each send a job, wait for its answer and take the next one, until every job is done once.

usage: python -m tests.bench.crowd URL CLIENTS < JOBS

JOBS: a JSON list of {"kind": content type, "body": base64}. Prints one JSON object: the seconds it took, and for each job, in
order, its answer (parsed JSON, null where there was none), its latency in seconds and its error ("" when it has none).
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

PATIENCE = ClientTimeout(total=300.0)


@dataclass(frozen=True, slots=True)
class Job:
    """One request. kind: of its content."""

    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. value: the parsed JSON; error: what was wrong, or empty."""

    value: object
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """All of them, in the order of the jobs."""

    seconds: float
    answers: tuple[Answer, ...]


async def ask_all(url: str, clients: int, jobs: Sequence[Job]) -> Answers:
    """Ask every job once, `clients` at a time."""
    waiting = iter(enumerate(jobs))
    answers: dict[int, Answer] = {}
    async with ClientSession(connector=TCPConnector(limit=0), timeout=PATIENCE) as session:

        async def client() -> None:
            for number, job in waiting:
                answers[number] = await _ask(session, url, job)

        begun = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        seconds = time.perf_counter() - begun
    return Answers(seconds, tuple(answers[number] for number in range(len(jobs))))


async def _ask(session: ClientSession, url: str, job: Job) -> Answer:
    begun = time.perf_counter()
    value, error = None, ""
    try:
        async with session.post(url, data=job.body, headers={"Content-Type": job.kind}) as answer:
            data = await answer.read()
            if answer.status == 200:
                value = json.loads(data)
            else:
                error = f"{answer.status}: {data[:200].decode(errors='replace')}"
    except (ClientError, TimeoutError, ValueError) as fault:
        error = repr(fault)
    return Answer(value, time.perf_counter() - begun, error)


def dump_jobs(jobs: Sequence[Job]) -> str:
    """The jobs as the command line takes them."""
    return json.dumps([{"kind": job.kind, "body": base64.b64encode(job.body).decode()} for job in jobs])


def read_jobs(text: str) -> list[Job]:
    """The other way round."""
    return [Job(job["kind"], base64.b64decode(job["body"])) for job in json.loads(text)]


def read_answers(text: str) -> Answers:
    """What the command line printed."""
    found = json.loads(text)
    return Answers(found["seconds"], tuple(Answer(**answer) for answer in found["answers"]))


def main() -> None:
    """Run from the command line."""
    url, clients = sys.argv[1:]
    print(json.dumps(asdict(asyncio.run(ask_all(url, int(clients), read_jobs(sys.stdin.read()))))))


if __name__ == "__main__":
    main()
