"""The configuration file: what it may say, and how it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.registry.config import ConfigError, load_registry, read_registry
from proxy.settings import Settings

GOOD = """\
[[engines]]
name = "gpu"
kind = "vllm"
urls = ["http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/"]
key_env = "GPU_KEY"

[engines.timeouts]
first_byte = 9.5

[[engines]]
name = "speech"
kind = "whisper"
device = "cpu"
compute_type = "int8"

[[models]]
name = "llama"
engine = "gpu"
served_as = "meta-llama/Llama-3.1-8B-Instruct"
aliases = ["gpt-4o", "*"]

[[models]]
name = "ears"
engine = "speech"
source = "here"
preload = true

[[models]]
name = "pythia"
engine = "transformers"
source = "EleutherAI/pythia-70m"
revision = "main"

[defaults]
text = "llama"
transcription = "ears"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPU_KEY", "secret")
    (tmp_path / "here").mkdir()
    path = tmp_path / "switchboard.toml"
    path.write_text(GOOD)
    return path


def test_everything_a_file_can_say(config: Path) -> None:
    registry = read_registry(config, Settings())
    gpu, speech = registry.engines["gpu"], registry.engines["speech"]
    assert gpu.urls == ("http://10.0.0.1:8000", "http://10.0.0.2:8000")
    assert (gpu.key, gpu.timeouts.first_byte, gpu.timeouts.connect) == ("secret", 9.5, 5.0)
    assert (speech.device, speech.compute_type) == ("cpu", "int8")
    llama, ears, pythia = registry.models
    assert (llama.spec.source, llama.aliases, llama.task) == (
        "meta-llama/Llama-3.1-8B-Instruct",
        ("gpt-4o", "*"),
        "text",
    )
    assert (ears.spec.source, ears.preload, ears.task) == (str(config.parent / "here"), True, "transcription")
    assert (pythia.spec.source, pythia.spec.revision) == ("EleutherAI/pythia-70m", "main")
    assert registry.defaults == {"text": "llama", "transcription": "ears"}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('kind = "vllm"', 'kind = "vlm"', r":3: engines\.0\.kind: "),
        ('kind = "vllm"', "", r":1: engines\.0\.kind: Field required"),
        ("first_byte = 9.5", "first_byte = -1", r":8: engines\.0\.timeouts\.first_byte: "),
        ("first_byte = 9.5", "first_bite = 1", r":8: engines\.0\.timeouts\.first_bite: Extra inputs"),
        ("http://10.0.0.1:8000/v1", "10.0.0.1:8000", r":4: engines\.0\.urls: '10.0.0.1:8000' is not an http"),
        ("http://10.0.0.1:8000/v1", "http://10.0.0.1:99999", r":4: engines\.0\.urls: Port out of range"),
        ("http://10.0.0.1:8000/v1", "http://10.0.0.1:0", r":4: engines\.0\.urls: .* is not an http"),
        ("http://10.0.0.1:8000/v1", "http://10.0.0 .1", r":4: engines\.0\.urls: .* is not an http"),
        ("http://10.0.0.1:8000/v1", "http://10.0.0.1/\\n", r":4: engines\.0\.urls: .* is not an http"),
        ("http://10.0.0.1:8000/v1", "http://u:p@h", r":4: engines\.0\.urls: it must be a bare base URL"),
        ("http://10.0.0.1:8000/v1", "http://:p@h", r":4: engines\.0\.urls: it must be a bare base URL"),
        ('key_env = "GPU_KEY"', 'key_env = "NO_KEY"', r":5: engines\.0\.key_env: the environment has no NO_KEY"),
        ('key_env = "GPU_KEY"', 'key_env = "GPU_KEY"\nkey = "x"', r":1: engines\.0: give `key` or `key_env`"),
        ('urls = ["http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/"]', "", r":1: engines\.0: .* needs a `url`"),
        (
            "http://10.0.0.2:8000/",
            "http://10.0.0.1:8000",
            r":4: engines\.0\.urls: 'http://10.0.0.1:8000' stands there twice",
        ),
        ('device = "cpu"', 'url = "http://x"', r":10: engines\.1: .* runs in this process"),
        ('device = "cpu"', "timeouts = { idle = 3 }", r":10: engines\.1: `timeouts`, .* not for whisper"),
        ('name = "speech"', 'name = "gpu"', r":11: engines\.1\.name: another engine is named 'gpu'"),
        ('name = "speech"', 'name = "transformers"', r":11: engines\.1\.name: .*built-in"),
        ('engine = "gpu"', 'engine = "cpu"', r":18: models\.0\.engine: there is no engine named 'cpu' \(known: gpu"),
        ('aliases = ["gpt-4o", "*"]', 'aliases = ["ears"]', r":23: models\.1\.name: 'ears' is already"),
        ('source = "here"', 'served_as = "here"', r":25: models\.1\.served_as: is for remote engines"),
        ("served_as =", "source =", r":19: models\.0\.source: is for models in this process"),
        ("served_as =", "preload = true\nserved_as =", r":19: models\.0\.preload: nothing is loaded here"),
        ("served_as =", 'task = "translation"\nserved_as =', r":19: models\.0\.task: "),
        ('source = "here"', 'task = "transcription"', r":25: models\.1\.task: is for engines of kind vllm and"),
        ('source = "here"', 'task = "text"', r":25: models\.1\.task: a whisper engine does transcription"),
        ('revision = "main"', "audio = true", r":32: models\.2\.audio: is for engines of kind vllm and .*, not transf"),
        (
            "served_as =",
            'audio = true\ntask = "transcription"\nserved_as =',
            r":19: models\.0\.audio: is for models that",
        ),
        ('text = "llama"', 'text = "ears"', r":35: defaults\.text: no model named 'ears' does text"),
        ("[defaults]", "[defaults", r"switchboard.toml: .*line 34"),
        ("[defaults]", "x = " + "[" * 5000, r"switchboard.toml: arrays or tables are too deep in one another"),
        ("[defaults]", "x = " + "9" * 5000, r"switchboard.toml: Exceeds the limit"),
        ('kind = "vllm"', 'kind = "vllm"\nmax_batch = 4', r":1: engines\.0: `max_batch` and .* not for vllm"),
        ('device = "cpu"', "max_wait_ms = -1", r":13: engines\.1\.max_wait_ms: "),
    ],
)
def test_a_wrong_file_is_refused_with_line_and_field(config: Path, old: str, new: str, complaint: str) -> None:
    assert old in GOOD
    config.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError, match=complaint):
        read_registry(config, Settings())


def test_what_waits_and_what_runs_together_is_set_for_all_engines_and_for_one(config: Path) -> None:
    config.write_text(GOOD.replace('device = "cpu"', "max_batch = 4\nmax_wait_ms = 0"))
    settings = Settings(max_batch=8, max_wait_ms=2, max_queued_seconds=60, max_queued_characters=500)
    engines = read_registry(config, settings).engines
    speech, translation = engines["speech"], engines["translation"]
    assert (speech.max_batch, speech.max_wait_ms, speech.max_queued_seconds) == (4, 0, 60)
    assert (translation.max_batch, translation.max_wait_ms, translation.max_queued_characters) == (8, 2, 500)


def test_a_remote_model_may_transcribe_or_listen(config: Path) -> None:
    text = GOOD.replace('text = "llama"\n', "").replace('n = "ears"', 'n = "llama"')
    config.write_text(text.replace("served_as", 'task = "transcription"\nserved_as'))
    registry = read_registry(config, Settings())
    assert (registry.models[0].task, registry.models[0].audio) == ("transcription", False)
    assert registry.defaults["transcription"] == "llama"
    config.write_text(GOOD.replace("served_as", 'task = "text"\naudio = true\nserved_as'))
    listener, ears, pythia = read_registry(config, Settings()).models
    assert (listener.task, listener.audio, ears.audio, pythia.audio) == ("text", True, False, False)


def test_an_engine_may_be_drained(config: Path) -> None:
    config.write_text(GOOD.replace('device = "cpu"', 'device = "cpu"\ndrain = true'))
    assert read_registry(config, Settings()).drained == {"speech"}


@pytest.mark.parametrize("line", ['task = "transcription"', "audio = true"])
def test_tgi_does_not_hear(config: Path, line: str) -> None:
    config.write_text(GOOD.replace('kind = "vllm"', 'kind = "tgi"').replace("served_as", f"{line}\nserved_as"))
    with pytest.raises(ConfigError, match=r":19: models\.0\.\w+: is for engines of kind vllm and .*, not tgi"):
        read_registry(config, Settings())


def test_all_mistakes_are_told_at_once(config: Path) -> None:
    config.write_text(GOOD.replace("first_byte", "x").replace("compute_type", "y"))
    with pytest.raises(ConfigError) as refused:
        read_registry(config, Settings())
    assert len(str(refused.value).splitlines()) == 2


def test_a_file_that_is_not_there_is_an_error_only_when_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"no such file \(SWITCHBOARD_CONFIG names it\)"):
        load_registry(Settings.model_validate({"config": tmp_path / "absent.toml"}))
    monkeypatch.chdir(tmp_path)
    assert [entry.name for entry in load_registry(Settings()).models] == [
        "openai/whisper-tiny.en",
        "facebook/nllb-200-distilled-600M",
    ]


def test_switchboard_toml_is_read_when_it_exists(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)
    registry = load_registry(Settings())
    assert registry.defaults == {
        "text": "llama",
        "transcription": "ears",
        "translation": "facebook/nllb-200-distilled-600M",
    }


def test_the_environment_names_default_models(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LX_ASR_MODEL", "openai/whisper-small")
    monkeypatch.setenv("LX_MT_PROVIDER", "m2m100")
    registry = load_registry(Settings.model_validate({"config": config}))
    assert registry.defaults["transcription"] == "openai/whisper-small"
    assert registry.defaults["translation"] == "facebook/m2m100_418M"


def test_it_is_known_which_defaults_nobody_chose(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("")
    settings = {"config": config}
    assert load_registry(Settings.model_validate(settings)).assumed == {"transcription", "translation"}
    monkeypatch.setenv("LX_ASR_MODEL", "openai/whisper-tiny.en")
    assert load_registry(Settings.model_validate(settings)).assumed == {"translation"}
    config.write_text("[[models]]\nname = 'words'\nengine = 'translation'\n[defaults]\ntranslation = 'words'\n")
    assert load_registry(Settings.model_validate(settings)).assumed == frozenset()


def test_the_environment_may_name_a_model_of_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LX_ASR_MODEL", "ears")
    registry = load_registry(Settings.model_validate({"config": config}))
    assert registry.defaults["transcription"] == "ears"
    assert [entry.name for entry in registry.models].count("ears") == 1


def test_every_engine_of_this_process_knows_the_models_for_words_and_speakers(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    settings = {
        "config": config,
        "align_models": {"en": "here", "de": "owner/german", "fr": ""},
        "diarization_model": "",
    }
    engines = load_registry(Settings.model_validate(settings)).engines
    for name in ("speech", "whisper"):
        assert engines[name].align_models == {"en": str(config.parent / "here"), "de": "owner/german"}
        assert engines[name].diarization_model is None


def test_every_engine_of_this_process_runs_where_the_environment_says(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_registry(Settings.model_validate({"config": config})).engines["speech"].isolation == "thread"
    monkeypatch.setenv("SWITCHBOARD_ISOLATION", "process")
    engines = load_registry(Settings.model_validate({"config": config})).engines
    assert engines["speech"].isolation == engines["transformers"].isolation == "process"


def test_the_shipped_profile_is_sound() -> None:
    profile = Path(__file__).parents[3] / "backends" / "nano" / "switchboard.toml"
    registry = load_registry(Settings.model_validate({"config": profile}))
    assert [entry.name for entry in registry.models] == ["nano-chat", "nano-whisper", "nano-translate"]
    assert all(Path(entry.spec.source).is_dir() for entry in registry.models)


def test_pipelines_run_any_task_or_the_one_that_the_file_says(config: Path) -> None:
    config.write_text(
        '[[models]]\nname = "tagger"\nengine = "pipelines"\nsource = "here"\ntask = "ner"\npreload = true\n'
        '[[models]]\nname = "anything"\nengine = "pipelines"\nsource = "org/bert"\n'
    )
    registry = read_registry(config, Settings())
    tagger, anything = registry.models
    assert (tagger.task, tagger.spec.task, anything.task, anything.spec.task) == (
        "pipeline", "token-classification", "pipeline", None,
    )  # fmt: skip
    assert registry.engines["pipelines"].kind == "pipelines"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('task = "nerr"', "models.0.task: There is no task `nerr`. Did you mean `ner`?"),
        ("preload = true", "models.0.preload: needs a `task`"),
    ],
)
def test_a_pipeline_that_cannot_be_is_refused(config: Path, line: str, complaint: str) -> None:
    config.write_text(f'[[models]]\nname = "tagger"\nengine = "pipelines"\n{line}\n')
    with pytest.raises(ConfigError) as refused:
        read_registry(config, Settings())
    assert complaint in str(refused.value)


def test_a_remote_model_does_no_task_of_pipelines(config: Path) -> None:
    config.write_text(GOOD.replace('served_as = "meta-llama/Llama-3.1-8B-Instruct"', 'task = "ner"'))
    with pytest.raises(ConfigError, match=r"models.0.task: 'ner' is none of text, transcription"):
        read_registry(config, Settings())
