"""Systems that do the same work with the same model, measured in turn, in one run: what speech and translation share."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import cycle, islice, product
from pathlib import Path
from statistics import fmean

from tests.bench.contest_table import Answered, render
from tests.bench.crowd import Answers, Job, dump_jobs, read_answers
from tests.bench.load import percentile
from tests.bench.peers import Peer, Place, Start, write
from tests.bench.runs import Systems, about, parser, report, say
from tests.bench.table import OURS, summarize

WARM_JOBS = 4
ONE_THREAD = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

_SWITCHBOARD = """
[[models]]
name = "{model}"
engine = "{engine}"
source = "{source}"
preload = true
"""


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of work. amount: of it, in the contest's unit; reference: the right answer."""

    body: bytes
    reference: str
    amount: float = 1.0


@dataclass(frozen=True, slots=True)
class Contender:
    """A system and how it is asked. ask: an item's body -> the request to path; read: the parsed answer -> its text."""

    peer: Peer
    path: str
    ask: Callable[[bytes], Job]
    read: Callable[[object], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """quality: of answers against references, per cent; clients: how many at once; jobs: how many a measurement asks for."""

    module: str
    description: str | None
    unit: str
    quality_title: str
    quality: Callable[[Sequence[str], Sequence[str]], float]
    items: Callable[[], Sequence[Item]]
    contenders: Sequence[Contender]
    clients: Sequence[str] = ("1", "4", "16", "64")
    jobs: int


def run(contest: Contest) -> None:
    """Run from the command line. Exit status 1 when a request failed."""
    options = _options(contest)
    chosen = [contender for contender in contest.contenders if contender.peer.name in options.peers]
    items = list(islice(cycle(contest.items()), options.jobs))
    absent = {contender.peer.name: why for contender in chosen if (why := contender.peer.missing())}
    versions = {contender.peer.name: contender.peer.version() for contender in chosen}
    samples = []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, ExitStack() as stack:
        systems = Systems(Path(directory), 0, options)
        for contender in chosen:
            if contender.peer.name not in absent:
                absent |= systems.start(contender.peer, stack) or _warmed(contender, systems, items, options)
        for number, clients, contender in product(range(options.rounds), options.scenarios, chosen):
            name = contender.peer.name
            if name not in absent:
                say(f"round {number + 1} of {options.rounds}: {clients} at once: {name}")
                system, url = systems.running[name]
                before = system.cpu_seconds
                answers = _ask(contender, url, int(clients), items, options.load_core)
                cpu = system.cpu_seconds - before
                sample = judged(contest, contender.read, items, answers, cpu)
                samples.append(replace(sample, peer=name, scenario=clients, rss_mb=round(system.rss_mb, 1)))
    facts = about(versions, f"{options.rounds} rounds of {options.jobs} requests, medians; one thread on one core each")
    names = [contender.peer.name for contender in chosen]
    page = render(summarize(samples), names, options.scenarios, absent, contest.unit, contest.quality_title)
    report(facts, page, absent, samples, options.json)
    sys.exit(any(sample.errors for sample in samples))


def judged(
    contest: Contest, read: Callable[[object], str], items: Sequence[Item], answers: Answers, cpu: float
) -> Answered:
    """The figures of one pass over the items. An answer that failed is no work done, and wrong."""
    faults = [answer.error for answer in answers.answers if answer.error]
    done = sum(item.amount for item, answer in zip(items, answers.answers, strict=True) if not answer.error)
    latencies = [answer.seconds for answer in answers.answers if not answer.error]
    texts = ["" if answer.error else read(answer.value) for answer in answers.answers]
    return Answered(
        peer="",
        scenario="",
        per_second=done / answers.seconds,
        per_cpu_second=done / cpu if cpu else 0.0,
        p50_ms=percentile(latencies, 0.50) or 0.0,
        p95_ms=percentile(latencies, 0.95) or 0.0,
        rss_mb=0.0,
        quality=contest.quality([item.reference for item in items], texts),
        errors=len(faults),
        error=faults[0] if faults else "",
    )


def exact_matches(references: Sequence[str], texts: Sequence[str]) -> float:
    """Per cent of the texts that are their reference."""
    return 100 * fmean(reference == text for reference, text in zip(references, texts, strict=True))


def library(name: str, module: str, way: str, package: str, prepare: Callable[[Path], Path]) -> Contender:
    """A library behind the least server. module: run with a way to use it, a port and what prepare returns for a directory."""

    def start(place: Place) -> Start:
        model = prepare(place.directory)
        return Start((sys.executable, "-m", f"tests.bench.{module}", way, str(place.port), str(model)), ONE_THREAD)

    peer = Peer(name, start, missing=lambda: "", version=lambda: version(package))
    return Contender(peer, "/", lambda body: Job("application/octet-stream", body), text_of)


def switchboard(
    model: str,
    engine: str,
    source: Path,
    path: str,
    ask: Callable[[bytes], Job],
    read: Callable[[object], str],
    name: str = OURS,
) -> Contender:
    """This project as its command serves it, with one model."""

    def start(place: Place) -> Start:
        text = _SWITCHBOARD.format(model=model, engine=engine, source=source.resolve())
        environment = {
            "SWITCHBOARD_CONFIG": write(place, "switchboard.toml", text),
            "SWITCHBOARD_LISTEN": f"127.0.0.1:{place.port}",
            "SWITCHBOARD_DATA": str(place.directory / "data"),
        }
        return Start((place.switchboard_python, "-m", "proxy", "serve"), {**environment, **ONE_THREAD})

    return Contender(Peer(name, start, missing=lambda: "", version=lambda: "this tree"), path, ask, read)


def text_of(value: object) -> str:
    """The text of {"text": ...}."""
    return str(value["text"]) if isinstance(value, dict) else ""


def _warmed(
    contender: Contender, systems: Systems, items: Sequence[Item], options: argparse.Namespace
) -> dict[str, str]:
    """Ask a little before anything is measured. Returns the system's name and why, when it cannot answer."""
    _, url = systems.running[contender.peer.name]
    answers = _ask(contender, url, WARM_JOBS, items[:WARM_JOBS], options.load_core).answers
    why = next((answer.error for answer in answers if answer.error), "")
    return {contender.peer.name: f"does not answer: {why}"} if why else {}


def _ask(contender: Contender, url: str, clients: int, items: Sequence[Item], core: int) -> Answers:
    command = ["taskset", "-c", str(core), sys.executable, "-m", "tests.bench.crowd", f"{url}{contender.path}"]
    jobs = dump_jobs([contender.ask(item.body) for item in items])
    done = subprocess.run([*command, str(clients)], input=jobs, stdout=subprocess.PIPE, text=True, check=True)
    return read_answers(done.stdout)


def _options(contest: Contest) -> argparse.Namespace:
    names = [contender.peer.name for contender in contest.contenders]
    made = parser(contest.module, contest.description, names, contest.clients)
    made.add_argument("--jobs", type=int, default=contest.jobs, help="requests of each measurement")
    return made.parse_args()
