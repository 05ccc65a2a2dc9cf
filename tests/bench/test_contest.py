"""The judge of a contest: what failed is no work done, ratios are to ours, and the corpora are what they are taken for."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.bench.contest import Contest, Item, exact_matches, judged, text_of
from tests.bench.contest_table import Answered, render
from tests.bench.crowd import Answer, Answers
from tests.bench.speech import clips, form, word_error_rate
from tests.bench.table import summarize
from tests.bench.translation import inference, sentences, translation_of

ITEMS = [Item(b"", "one", 2.0), Item(b"", "two", 3.0), Item(b"", "three", 5.0)]
CONTEST = Contest(
    module="",
    description=None,
    unit="Seconds",
    quality_title="Right",
    quality=exact_matches,
    items=lambda: ITEMS,
    contenders=(),
    jobs=3,
)


def heard(*texts: str | None, seconds: float = 4.0) -> Answers:
    """Answers, of which None is a fault; the nth took n + 1 seconds."""
    return Answers(
        seconds,
        tuple(
            Answer(None, number + 1, "500: oh") if text is None else Answer({"text": text}, number + 1)
            for number, text in enumerate(texts)
        ),
    )


def judge(answers: Answers, cpu: float = 2.0) -> Answered:
    return judged(CONTEST, text_of, ITEMS, answers, cpu)


def answered(peer: str, per_second: float, scenario: str = "4") -> Answered:
    return Answered(
        peer=peer,
        scenario=scenario,
        errors=0,
        per_second=per_second,
        per_cpu_second=2 * per_second,
        p50_ms=10,
        p95_ms=20,
        rss_mb=100,
        quality=50,
    )


def rows(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]


class TestJudged:
    def test_work_by_the_clock_and_by_cpu_time(self) -> None:
        found = judge(heard("one", "two", "thre"))
        assert (found.per_second, found.per_cpu_second) == (2.5, 5.0)
        assert (found.p50_ms, found.p95_ms) == (2000, 3000)
        assert found.quality == pytest.approx(200 / 3)

    def test_what_failed_is_no_work_and_wrong(self) -> None:
        found = judge(heard("one", None, "three"))
        assert (found.per_second, found.errors, found.error) == (7 / 4, 1, "500: oh")
        assert found.quality == pytest.approx(200 / 3)

    def test_nothing_answered(self) -> None:
        found = judge(heard(None, None, None), cpu=0.0)
        assert (found.per_second, found.per_cpu_second, found.p50_ms, found.quality) == (0, 0, 0, 0)


class TestPage:
    def test_ratios_say_how_many_times_as_quick_ours_is(self) -> None:
        samples = summarize([answered("slow", 5), answered("switchboard", 20), answered("switchboard", 30)])
        page = render(samples, ["slow", "gone", "switchboard"], ["4"], {"gone": "did not start"}, "Seconds", "Right")
        found = rows(page)
        assert ["slow", "10.0", "100 MB"] in found
        assert found.count(["slow", "5.00"]) == 2
        assert found.count(["gone", "did not start"]) == 5
        assert ["switchboard", "50.0 %"] in found

    def test_without_ours_there_are_no_ratios(self) -> None:
        page = render(summarize([answered("slow", 5)]), ["slow"], ["4"], {}, "Seconds", "Right")
        assert rows(page).count(["slow", "-"]) == 2


class TestSpeech:
    def test_clips_are_flac_of_known_length(self) -> None:
        found = clips()
        assert len(found) >= 60
        assert all(clip.body.startswith(b"fLaC") and 0.5 < clip.amount < 30 and clip.reference for clip in found)

    def test_the_form_holds_the_clip_and_the_model(self) -> None:
        job = form(b"\x00audio\xff", model="nano", beam_size="1")
        assert b'name="model"\r\n\r\nnano\r\n--' in job.body
        assert b'name="beam_size"\r\n\r\n1\r\n--' in job.body
        assert b"\r\n\r\n\x00audio\xff\r\n--" in job.body
        assert job.body.endswith(job.kind.partition("boundary=")[2].encode() + b"--\r\n")

    @pytest.mark.parametrize(
        ("texts", "rate"),
        [(["Hello, Bob!", "it's four"], 0), (["hello", "it's for"], 50), (["", ""], 100)],
    )
    def test_word_error_rate(self, texts: Sequence[str], rate: float) -> None:
        assert word_error_rate(["Hello Bob.", "It's four."], texts) == rate


class TestTranslation:
    def test_sentences_are_asked_with_their_languages(self) -> None:
        found = sentences()
        assert len(found) == 120
        asked = json.loads(inference(found[0].body).body)
        assert asked["params"] == {"src_lang": "en", "tgt_lang": "es"}
        assert asked["inputs"] == "The sisters do not find my cat."
        assert found[0].reference == "Las hermanas no encuentran mi gato."

    def test_the_answer_is_read(self) -> None:
        assert translation_of({"result": [{"translation_text": "Hola."}]}) == "Hola."
