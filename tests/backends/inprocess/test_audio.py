import io
import itertools
import socket
import threading
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.errors import MediaRefused
from backends.inprocess.audio import SAMPLE_RATE, container_of, decode, resampled
from tests.backends.whisper.containers import ENCODERS, encode, tone, wav

SECONDS = 3.0
MAX = 60.0
FILES = {name: encode(name, tone(SECONDS)) for name in ENCODERS}
PCM = b"\0\1" * SAMPLE_RATE


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_container_decodes_to_its_length_and_sound(name: str, channels: int) -> None:
    samples = decode(encode(name, tone(SECONDS), channels), max_seconds=MAX)
    assert samples.dtype == np.float32
    assert len(samples) / SAMPLE_RATE == pytest.approx(SECONDS, abs=0.15)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * SAMPLE_RATE / len(samples) == pytest.approx(400, abs=2)
    assert np.abs(samples[SAMPLE_RATE : 2 * SAMPLE_RATE]).max() == pytest.approx(0.2, abs=0.05)


def test_lossless_containers_keep_every_sample() -> None:
    for name in ("wav", "flac"):
        assert np.abs(decode(FILES[name], max_seconds=MAX) - tone(SECONDS)).max() < 1e-4


def test_a_writer_to_a_pipe_does_not_know_the_size() -> None:
    assert len(decode(wav(PCM, claimed=0xFFFFFFFF), max_seconds=MAX)) == SAMPLE_RATE


def test_a_change_of_format_midway_is_followed() -> None:
    joined = FILES["mpga"] + encode("mpga", tone(SECONDS), channels=2)
    assert len(decode(joined, max_seconds=MAX)) / SAMPLE_RATE == pytest.approx(2 * SECONDS, abs=0.3)


def test_damage_midway_costs_what_is_damaged() -> None:
    data = bytearray(encode("mp3", tone(30)))
    data[len(data) // 2 : len(data) // 2 + 200] = b"\xff" * 200
    assert len(decode(bytes(data), max_seconds=MAX)) / SAMPLE_RATE == pytest.approx(30, abs=0.5)


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "pls": "[playlist]\nFile1={target}\n",
}


@pytest.mark.parametrize("text", PLAYLISTS.values(), ids=PLAYLISTS.keys())
@pytest.mark.parametrize(
    "disguise", ["", "\ufeff", "\n", "RIFF\x10\x10\x10\x10WAVE", "ID3", "OggS", "fLaC", "\x1a\x45"]
)
def test_playlists_are_refused_whatever_they_dress_as_and_nothing_is_read(
    text: str, disguise: str, tmp_path: Path
) -> None:
    (tmp_path / "other.wav").write_bytes(FILES["wav"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        for target in (f"file://{tmp_path}/other.wav", f"http://127.0.0.1:{listener.getsockname()[1]}/other.wav"):
            with pytest.raises(MediaRefused):
                decode((disguise + text.format(target=target)).encode(), max_seconds=MAX)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_playlist_is_called_one() -> None:
    with pytest.raises(MediaRefused, match="playlist"):
        decode(PLAYLISTS["hls"].encode(), max_seconds=MAX)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello, this is text", "not audio of an accepted kind"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "not audio of an accepted kind"),
        (b"\xff\xff\xff\xff" * 100, "not audio of an accepted kind"),
        (b"MThd\0\0\0\6\0\1\0\1\0\x60", "not audio of an accepted kind"),
        (wav(b""), "0 s"),
        (wav(PCM, channels=65535), "damaged"),
        (wav(PCM * 4, channels=100), "damaged|100 channels"),
        (wav(PCM, channels=0), "damaged"),
        (wav(PCM, rate=0), "damaged"),
        (wav(PCM, rate=1), "1 samples a second"),
        (wav(PCM, rate=1_000_000), "1000000 samples a second"),
        (wav(PCM, rate=0xFFFFFFFF), "damaged"),
        (wav(PCM, bits=0), "unknown"),
        (wav(PCM, claimed=2 * len(PCM)), "cut short"),
        (FILES["wav"][:30], "cut short"),
        (FILES["flac"][: len(FILES["flac"]) // 2], "cut short"),
        (FILES["m4a"][: len(FILES["m4a"]) // 2], "cut short"),
        (FILES["webm"][: len(FILES["webm"]) // 2], "cut short"),
        (FILES["ogg"][:40], "cut short|0 s|no audio"),
        (FILES["mp3"][:12], "damaged|0 s|no audio"),
    ],
    ids=itertools.count(),
)
def test_what_is_no_whole_audio_is_refused_in_clear_words(data: bytes, words: str) -> None:
    with pytest.raises(MediaRefused, match=words) as refused:
        decode(data, max_seconds=MAX)
    assert refused.value.param == "file"
    assert not refused.value.too_large


def test_a_film_without_sound_is_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 16
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(MediaRefused, match="no audio"):
        decode(file.getvalue(), max_seconds=MAX)


def test_an_hour_in_a_small_file_is_refused_in_little_memory() -> None:
    hour = encode("flac", np.zeros(3600 * SAMPLE_RATE, np.float32))
    assert len(hour) < 1_000_000
    tracemalloc.start()
    with pytest.raises(MediaRefused, match="60 s") as refused:
        decode(hour, max_seconds=60)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.too_large
    assert peak < 20_000_000


def test_the_limit_itself_is_accepted() -> None:
    assert len(decode(FILES["wav"], max_seconds=SECONDS)) == SECONDS * SAMPLE_RATE
    with pytest.raises(MediaRefused, match="longer"):
        decode(FILES["wav"], max_seconds=SECONDS - 0.01)


def test_decoding_stops_when_told() -> None:
    stopped = threading.Event()
    stopped.set()
    assert len(decode(encode("flac", tone(30)), max_seconds=MAX, stopped=stopped.is_set)) < 5 * SAMPLE_RATE


@given(st.binary(max_size=64))
def test_any_bytes_are_a_known_container_or_refused(data: bytes) -> None:
    try:
        assert container_of(data) in {"wav", "mp3", "flac", "ogg", "mov", "matroska"}
    except MediaRefused as refused:
        assert refused.message


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_damaged_files_decode_or_are_refused_and_nothing_else(name: str, data: st.DataObject) -> None:
    file = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, min(len(file) - 1, 400)))] = data.draw(st.integers(0, 255))
    del file[data.draw(st.integers(1, len(file))) :]
    try:
        samples = decode(bytes(file), max_seconds=MAX)
    except MediaRefused as refused:
        assert refused.message
    else:
        assert 0 < len(samples) <= MAX * SAMPLE_RATE


def test_other_rates_are_decoded_to_and_resampled_to() -> None:
    assert len(decode(FILES["flac"], max_seconds=MAX, rate=48_000)) / 48_000 == pytest.approx(SECONDS, abs=0.15)
    samples = tone(SECONDS)
    assert resampled(samples, SAMPLE_RATE, SAMPLE_RATE) is samples
    faster = resampled(samples, SAMPLE_RATE, 48_000)
    spectrum, original = np.abs(np.fft.rfft(faster)), np.abs(np.fft.rfft(samples))
    assert len(faster) / 48_000 == pytest.approx(SECONDS, abs=0.05)
    assert int(spectrum.argmax()) == pytest.approx(int(original.argmax()), abs=2)
    with pytest.raises(MediaRefused, match="samples a second"):
        resampled(samples, 1, SAMPLE_RATE)
