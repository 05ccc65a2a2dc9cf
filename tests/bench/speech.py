"""The benchmark of speech to text: the same clips, the same Whisper, in turn, in one run. See docs/benchmarks.md."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import jiwer
import soundfile

from backends.inprocess.conversion import converted
from backends.whisper.model import FILES
from tests.bench.contest import ONE_THREAD, Contender, Contest, Item, library, run, switchboard, text_of
from tests.bench.crowd import Job
from tests.bench.peers import Peer, Place, Start, not_installed
from tests.bench.table import OURS

CLIPS = Path("tests/data/speech")
MODEL = Path("backends/nano/whisper")
NAME = "nano-whisper"
FASTER_WHISPER = "speech_faster_whisper"
TRANSFORMERS = "speech_transformers"
PATH = "/v1/audio/transcriptions"
BOUNDARY = "clip-of-the-benchmark"


def clips() -> list[Item]:
    """The held-out clips; amounts are seconds."""
    with (CLIPS / "manifest.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    return [
        Item((CLIPS / row["file"]).read_bytes(), row["text"], soundfile.info(str(CLIPS / row["file"])).duration)
        for row in rows
    ]


def form(audio: bytes, **fields: str) -> Job:
    """The form of OpenAI's API with this file and these other fields."""
    head = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ) + (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="clip.flac"\r\n'
        "Content-Type: audio/flac\r\n\r\n"
    )
    body = head.encode() + audio + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Job(f"multipart/form-data; boundary={BOUNDARY}", body)


def word_error_rate(references: Sequence[str], texts: Sequence[str]) -> float:
    """Per cent, over all clips; case and punctuation do not count."""
    return 100 * float(jiwer.wer([_words(line) for line in references], [_words(line) for line in texts]))


def _words(text: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


def _for_ctranslate2(directory: Path) -> Path:
    return converted(MODEL, store=directory, quantization=None, copy=FILES, report=lambda _: None)


def _transformers_serve() -> Contender:
    def start(place: Place) -> Start:
        where = ("--host", "127.0.0.1", "--port", str(place.port), "--device", "cpu", "--dtype", "float32")
        return Start((sys.executable, "-m", "transformers.cli.transformers", "serve", *where, str(MODEL)), ONE_THREAD)

    peer = Peer(
        "transformers serve",
        start,
        missing=lambda: "not installed" if not_installed("fastapi") or not_installed("uvicorn") else "",
        version=lambda: version("transformers"),
    )
    return Contender(peer, PATH, lambda body: form(body, model=str(MODEL)), text_of)


def _switchboard(name: str, **fields: str) -> Contender:
    def ask(body: bytes) -> Job:
        return form(body, model=NAME, **fields)

    return switchboard(NAME, "whisper", MODEL, PATH, ask, text_of, name)


CONTEST = Contest(
    module="tests.bench.speech",
    description=__doc__,
    unit="Seconds of audio",
    quality_title="Word error rate",
    quality=word_error_rate,
    items=clips,
    contenders=[
        library("faster-whisper", FASTER_WHISPER, "alone", "faster-whisper", _for_ctranslate2),
        library("faster-whisper batched", FASTER_WHISPER, "batched", "faster-whisper", _for_ctranslate2),
        library(
            "faster-whisper batched, 16 files joined", FASTER_WHISPER, "joined", "faster-whisper", _for_ctranslate2
        ),
        library("transformers pipeline", TRANSFORMERS, "alone", "transformers", lambda _: MODEL),
        library("transformers pipeline, batches of 16", TRANSFORMERS, "batched", "transformers", lambda _: MODEL),
        _transformers_serve(),
        _switchboard("switchboard, greedy", beam_size="1"),
        _switchboard(OURS),
    ],
    jobs=64,
)

if __name__ == "__main__":
    run(CONTEST)
