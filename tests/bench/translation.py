"""The benchmark of translation: the same sentences, the same model, in turn, in one run. See docs/benchmarks.md."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from backends.inprocess.conversion import converted
from tests.bench.contest import Contest, Item, exact_matches, library, run, switchboard
from tests.bench.crowd import Job

SENTENCES = Path("tests/backends/translation/heldout.tsv")
MODEL = Path("backends/nano/translate")
TRANSFORMERS = "translation_transformers"
NAME = "nano-translate"


def sentences() -> list[Item]:
    """The held-out sentences; a body is a JSON object: source, target, text."""
    with SENTENCES.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    return [
        Item(json.dumps({key: row[key] for key in ("source", "target", "text")}).encode(), row["reference"])
        for row in rows
    ]


def inference(body: bytes) -> Job:
    """The body of `POST /infer`."""
    item = json.loads(body)
    params = {"src_lang": item["source"], "tgt_lang": item["target"]}
    asked = {"task": "translation", "model": NAME, "inputs": item["text"], "params": params}
    return Job("application/json", json.dumps(asked).encode())


def translation_of(value: object) -> str:
    """The text of its answer."""
    return str(value["result"][0]["translation_text"]) if isinstance(value, dict) else ""


def _for_ctranslate2(directory: Path) -> Path:
    copy = [file.name for file in MODEL.iterdir() if file.suffix != ".safetensors" and file.name != "config.json"]
    return converted(MODEL, store=directory, quantization="int8", copy=copy, report=lambda _: None)


CONTEST = Contest(
    module="tests.bench.translation",
    description=__doc__,
    unit="Sentences",
    quality_title="Translations that are the reference, word for word",
    quality=exact_matches,
    items=sentences,
    contenders=[
        library("transformers generate", TRANSFORMERS, "alone", "transformers", lambda _: MODEL),
        library("transformers generate, batches of 32", TRANSFORMERS, "batched", "transformers", lambda _: MODEL),
        library("CTranslate2", "translation_ctranslate2", "alone", "ctranslate2", _for_ctranslate2),
        switchboard(NAME, "translation", MODEL, "/infer", inference, translation_of),
    ],
    clients=("1", "4", "16", "32", "64"),
    jobs=480,
)

if __name__ == "__main__":
    run(CONTEST)
