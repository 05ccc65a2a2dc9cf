import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import ModelSpec, Progress
from backends.errors import BackendError, Licensed, NoDevice, NotCached, NotFound, Unavailable, Unsupported
from backends.inprocess.hub import Hub, chosen
from backends.inprocess.ids import is_directory, is_model_id
from tests.backends.inprocess.hub_server import HubServer
from tests.backends.pipelines.tiny import cached

WEIGHTS = b"weights " * 5000
CONFIG = json.dumps({"model_type": "whisper"}).encode()
MODEL = ModelSpec(source="team/model")


def ignored(_: Progress) -> None:
    pass


def write(directory: Path, **files: bytes) -> Path:
    for name, data in files.items():
        (directory / name.replace("__", ".")).write_bytes(data)
    return directory


@pytest.mark.parametrize("text", ["gpt2", "openai/whisper-tiny.en", "Systran/faster-whisper-tiny", "a/b_c-1.0"])
def test_ids_of_the_hub_are_ids(text: str) -> None:
    assert is_model_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "a/", "/a", "a/b/c", "..", "a/..", "../a", "a..b/c", "-a/b", ".a/b", "a/-b", "a\\b", "a\0b", "a/b\n",
        "%2e%2e/a", "a%252e", "user:key@host", "a\u202eb", "\uff41/b", "a b", "x" * 201,
    ],
)  # fmt: skip
def test_what_could_be_a_path_a_flag_or_a_disguise_is_no_id(text: str) -> None:
    assert not is_model_id(text)


@given(st.text())
def test_nothing_is_both_an_id_and_a_directory(text: str) -> None:
    assert not (is_model_id(text) and is_directory(text))


def test_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, config__json=CONFIG, model__safetensors=WEIGHTS)
    assert Hub().locate(ModelSpec(source=str(tmp_path)), ignored) == tmp_path


def test_an_id_never_names_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub_server: HubServer) -> None:
    (tmp_path / "other" / "model").mkdir(parents=True)
    write(tmp_path / "other" / "model", config__json=CONFIG, model__safetensors=WEIGHTS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unavailable):
        Hub(cache=tmp_path / "cache", endpoint=hub_server.url).locate(ModelSpec(source="other/model"), ignored)


@pytest.mark.parametrize("source", ["/nowhere/at/all", "a/b/c", "a b"])
def test_a_source_that_is_nothing_is_refused(source: str) -> None:
    with pytest.raises(Unavailable, match="directory"):
        Hub().locate(ModelSpec(source=source), ignored)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_models_that_want_their_own_code_run_are_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, config__json=CONFIG, model__safetensors=WEIGHTS)
    (tmp_path / name).write_text(json.dumps({"auto_map": {"AutoModel": "code.Model"}}))
    spec = ModelSpec(source=str(tmp_path))
    with pytest.raises(Unavailable, match="auto_map"):
        Hub().locate(spec, ignored)
    assert Hub(allow_auto_map=True).locate(spec, ignored) == tmp_path


@pytest.mark.parametrize("config", [b"{", b"[]", b"\xff"])
def test_a_damaged_config_is_named(tmp_path: Path, config: bytes) -> None:
    write(tmp_path, config__json=config, model__safetensors=WEIGHTS)
    with pytest.raises(Unavailable, match=r"config\.json is damaged"):
        Hub().locate(ModelSpec(source=str(tmp_path)), ignored)


def test_pickled_weights_are_no_weights(tmp_path: Path) -> None:
    write(tmp_path, config__json=CONFIG, pytorch_model__bin=WEIGHTS)
    with pytest.raises(Unavailable, match="safetensors"):
        Hub().locate(ModelSpec(source=str(tmp_path)), ignored)


def test_pickled_weights_in_the_cache_are_told_where_the_hub_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That they cannot be downloaded, as is told of what is not there at all, would send people looking for a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def old(snapshot: Path) -> None:
        write(snapshot, config__json=CONFIG, pytorch_model__bin=WEIGHTS)

    home = cached(tmp_path, org__old=old)
    hub = Hub(cache=home / "hub")
    with pytest.raises(Unavailable, match="no weights as safetensors") as told:
        hub.locate(ModelSpec(source="org/old"), ignored)
    assert type(told.value) is Unavailable
    assert hub.weights(ModelSpec(source="org/old")) is None
    for ask in (hub.weights, lambda model: hub.locate(model, ignored)):
        with pytest.raises(NotCached):
            ask(ModelSpec(source="org/absent"))


@pytest.mark.parametrize(
    ("source", "raised", "comes"),
    [
        ("org/m", Unavailable("It has pickles."), Unsupported),
        ("/a/directory", Unavailable("It has pickles."), Unavailable),
        ("org/m", Unavailable("It is busy.", retry_after=1), Unavailable),
        ("org/m", NotCached("It is not here."), NotCached),
        ("org/m", NoDevice("There is no CUDA."), NoDevice),
    ],
)
def test_of_a_model_of_the_hub_it_is_the_choice_that_is_wrong(
    source: str, raised: Unavailable, comes: type[BackendError]
) -> None:
    with pytest.raises(BackendError) as told, chosen(ModelSpec(source=source)):
        raise raised
    assert type(told.value) is comes
    assert told.value.message == raised.message


def test_a_set_of_shards_must_be_whole(tmp_path: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"weight_map": {"a": names[0], "b": names[1]}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / names[0]).write_bytes(WEIGHTS)
    spec = ModelSpec(source=str(tmp_path))
    with pytest.raises(Unavailable, match="safetensors"):
        Hub().locate(spec, ignored)
    (tmp_path / names[1]).write_bytes(WEIGHTS)
    assert Hub().locate(spec, ignored) == tmp_path


def test_download_takes_data_only_tells_its_progress_and_is_cached(tmp_path: Path, hub_server: HubServer) -> None:
    hub_server.files = {
        "config.json": CONFIG,
        "model.safetensors": WEIGHTS,
        "vocab.txt": b"a\nb",
        "pytorch_model.bin": b"pickle",
        "modeling.py": b"code",
        "onnx/model.json": b"{}",
    }
    hub = Hub(cache=tmp_path, endpoint=hub_server.url)
    reports: list[Progress] = []
    directory = hub.locate(MODEL, reports.append)
    assert {file.name for file in directory.iterdir()} == {"config.json", "model.safetensors", "vocab.txt"}
    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    assert set(hub_server.served) == {"config.json", "model.safetensors", "vocab.txt"}
    total = len(WEIGHTS) + len(b"a\nb")
    assert reports[0] == Progress("download", 0, total)
    assert reports[-1] == Progress("download", total, total)
    assert [report.done for report in reports] == sorted(report.done for report in reports)

    unreachable = Hub(cache=tmp_path, endpoint="http://127.0.0.1:9")
    assert unreachable.locate(MODEL, ignored) == directory


def test_code_is_refused_before_the_weights_are_downloaded(tmp_path: Path, hub_server: HubServer) -> None:
    hub_server.files = {"config.json": b'{"auto_map": {}}', "model.safetensors": WEIGHTS}
    with pytest.raises(Unavailable, match="auto_map"):
        Hub(cache=tmp_path, endpoint=hub_server.url).locate(MODEL, ignored)
    assert hub_server.served == ["config.json"]


def test_a_repository_with_pickles_only_is_refused(tmp_path: Path, hub_server: HubServer) -> None:
    hub_server.files = {"config.json": CONFIG, "pytorch_model.bin": b"pickle"}
    with pytest.raises(Unavailable, match="safetensors"):
        Hub(cache=tmp_path, endpoint=hub_server.url).locate(MODEL, ignored)
    assert hub_server.served == ["config.json"]


def test_a_repository_that_is_not_there_is_named(tmp_path: Path, hub_server: HubServer) -> None:
    with pytest.raises(NotFound, match=r"no other/model.*HF_TOKEN"):
        Hub(cache=tmp_path, endpoint=hub_server.url).locate(ModelSpec(source="other/model"), ignored)


def test_a_repository_behind_a_licence_names_the_way_in(tmp_path: Path, hub_server: HubServer) -> None:
    hub_server.files = {"config.json": CONFIG, "model.safetensors": WEIGHTS}
    hub_server.gated = True
    with pytest.raises(Licensed, match=r"team/model is behind a licence: accept it.*HF_TOKEN"):
        Hub(cache=tmp_path, endpoint=hub_server.url).locate(MODEL, ignored)
    assert hub_server.served == []


def test_neither_cached_nor_reachable_names_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(NotCached, match=r"team/model.*HF_HOME.*local directory.*hf download team/model"):
        Hub(cache=tmp_path, endpoint="http://127.0.0.1:9").locate(MODEL, ignored)


def test_offline_is_honoured(tmp_path: Path, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub_server.files = {"config.json": CONFIG, "model.safetensors": WEIGHTS}
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE"):
        Hub(cache=tmp_path, endpoint=hub_server.url).locate(MODEL, ignored)
    assert hub_server.served == []


def test_weights_are_weighed_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, config__json=CONFIG, model__safetensors=WEIGHTS)
    hub = Hub(cache=tmp_path / "cache", endpoint="http://127.0.0.1:9")
    assert hub.weights(ModelSpec(source=str(tmp_path))) == len(WEIGHTS)
    assert hub.weights(ModelSpec(source=str(tmp_path / "nowhere"))) is None
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert hub.weights(MODEL) is None
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NotCached, match="HF_HUB_OFFLINE"):
        hub.weights(MODEL)
