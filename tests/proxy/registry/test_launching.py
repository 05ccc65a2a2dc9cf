"""`[engines.launch]`: what may be said of starting an engine, and what is refused, at which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.base import EngineSpec
from backends.launch import Container, Launch, Process
from proxy.registry.config import ConfigError, read_registry
from proxy.settings import Settings

MODELS = """
[[models]]
name = "chat"
engine = "gpu"
served_as = "nano"

[[models]]
name = "tuned"
engine = "gpu"
adapter = "adapters/tuned"
"""


def engine(tmp_path: Path, launch: str, *, kind: str = "vllm", more: str = "", models: str = "") -> EngineSpec:
    """The engine of a file with this `[engines.launch]`."""
    path = tmp_path / "switchboard.toml"
    path.write_text(f'[[engines]]\nname = "gpu"\nkind = "{kind}"\n{more}\n[engines.launch]\n{launch}\n{models}')
    return read_registry(path, Settings()).engines["gpu"]


def launched(tmp_path: Path, launch: str, **options: str) -> Launch:
    found = engine(tmp_path, launch, **options).launch
    assert found is not None
    return found


def test_an_engine_is_only_watched_if_nothing_is_said(tmp_path: Path) -> None:
    assert engine(tmp_path, "", more='url = "http://10.0.0.1:8000"').launch is None
    assert engine(tmp_path, 'how = "static"', more='url = "http://10.0.0.1:8000"').launch is None


def test_a_process_serves_the_models_that_the_file_gives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    (tmp_path / "weights").mkdir()
    said = 'how = "process"\npython = "venv/bin/python"\nmodel = "weights"\nargs = ["--enforce-eager"]\n'
    said += 'env = { OMP_NUM_THREADS = "1" }\nenv_from = ["HF_TOKEN"]\nlog = "gpu.log"\nidle_seconds = 60\nsleep = 1\n'
    said += "stop_after_seconds = 600\nmemory_mb = 900\nstart_seconds = 120\nstop_seconds = 5\nevict_cost = 3\n"
    launch = launched(tmp_path, said, more='key = "k"', models=MODELS)
    assert launch == Launch(
        by=Process(
            command=(
                *(f"{tmp_path}/venv/bin/python", "-m", "vllm.entrypoints.openai.api_server"),
                *("--model", str(tmp_path / "weights"), "--host", "127.0.0.1", "--port", "{port}"),
                *("--enforce-eager", "--enable-lora", "--served-model-name", "nano"),
            ),
            env={
                "VLLM_API_KEY": "k",
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
                "VLLM_SERVER_DEV_MODE": "1",
                "HF_TOKEN": "hf_secret",
                "OMP_NUM_THREADS": "1",
            },
            log=tmp_path / "gpu.log",
        ),
        flags=True,
        idle=60,
        sleep=1,
        stop_after=600,
        start=120,
        grace=5,
        memory_mb=900,
        evict_cost=3,
    )


def test_a_name_that_several_models_have_there_is_said_once(tmp_path: Path) -> None:
    more = '\n[[models]]\nname = "also"\nengines = [{ name = "gpu", served_as = "nano" }]\n'
    command = launched(tmp_path, 'how = "process"\nmodel = "m"', models=MODELS + more).by.command
    assert command[-2:] == ("--served-model-name", "nano")


def test_any_program_that_is_told_its_port(tmp_path: Path) -> None:
    launch = launched(
        tmp_path, 'how = "process"\ncommand = ["llama-server", "--port={port}"]', kind="openai_compatible"
    )
    assert launch.by == Process(command=("llama-server", "--port={port}"))
    assert not launch.flags


def test_a_container(tmp_path: Path) -> None:
    said = 'how = "docker"\nimage = "vllm/vllm-openai:v0.33.0"\nmodel = "org/model"\ngpus = ["0", "1"]\nshm_mb = 4096\n'
    said += 'volumes = ["cache:/root/.cache", "./models:/models:ro"]\nlabels = { team = "a" }\nnetwork = "inner"\n'
    launch = launched(tmp_path, said, more='url = "http://vllm:8000"')
    assert launch.by == Container(
        socket="unix:///var/run/docker.sock",
        image="vllm/vllm-openai:v0.33.0",
        command=("--model", "org/model"),
        gpus=("0", "1"),
        shm_mb=4096,
        volumes=("cache:/root/.cache", f"{tmp_path}/models:/models:ro"),
        labels={"team": "a"},
        network="inner",
    )


def test_the_container_of_a_compose_service(tmp_path: Path) -> None:
    said = 'how = "docker"\nservice = "vllm"\nproject = "stack"\nsocket = "tcp://docker:2375"'
    launch = launched(tmp_path, said, more='url = "http://vllm:8000"')
    assert launch.by == Container(socket="tcp://docker:2375", service="vllm", project="stack")


@pytest.mark.parametrize(
    ("said", "device"),
    [
        ('how = "process"\nmodel = "m"', "auto"),
        ('how = "process"\nmodel = "m"\ndevice = "cuda:3"', "cuda:3"),
        ('how = "process"\nmodel = "m"\nenv = { CUDA_VISIBLE_DEVICES = "2,3" }', "cuda:2"),
        ('how = "process"\nmodel = "m"\nenv = { CUDA_VISIBLE_DEVICES = "" }', "cpu"),
        ('how = "process"\nmodel = "m"\nenv = { CUDA_VISIBLE_DEVICES = "GPU-1b2c" }', "auto"),
        ('how = "docker"\nimage = "m"', "cpu"),
        ('how = "docker"\nimage = "m"\ngpus = "all"', "auto"),
        ('how = "docker"\nimage = "m"\ngpus = ["1", "2"]', "cuda:1"),
    ],
)
def test_where_it_holds_its_memory_is_seen_from_what_it_is_started_with(tmp_path: Path, said: str, device: str) -> None:
    assert launched(tmp_path, said).device == device


def test_two_ways_to_start_are_told_apart_without_their_secrets() -> None:
    first = Launch(by=Process(command=("a",), env={"KEY": "secret"}))
    assert first.digest == Launch(by=Process(command=("a",), env={"KEY": "secret"}), idle=3).digest
    assert first.digest != Launch(by=Process(command=("a",), env={"KEY": "other"})).digest
    assert "secret" not in first.digest


@pytest.mark.parametrize(
    ("launch", "more", "line", "complaint"),
    [
        ('how = "magic"', "", 6, "Input should be 'static', 'process' or 'docker'"),
        ('how = "process"\nmodel = "m"\nimages = "x"', "", 8, "Extra inputs are not permitted"),
        ("idle_seconds = 5", 'url = "http://h:1"', 5, "`idle_seconds` is for an engine that is started here"),
        ('how = "process"', "", 5, "give a `model` for vLLM to serve, or a whole `command`"),
        ('how = "process"\ncommand = ["run"]', "", 5, "`command` must have `{port}`"),
        ('how = "process"\ncommand = ["run", "{port}"]\nargs = ["x"]', "", 5, "`args` and `python` go with `model`"),
        ('how = "process"\nmodel = "m"\nimage = "x"', "", 5, "`image` is for `how = \"docker\"`"),
        ('how = "process"\nmodel = "m"', 'url = "http://h:1"', 1, "a process listens on this machine"),
        ('how = "process"\nmodel = "m"\nsleep = 1', "", 5, "give `idle_seconds`, too"),
        ('how = "process"\nmodel = "m"\nsleep = 3', "", 8, "Input should be"),
        ('how = "process"\nmodel = "m"\nidle_seconds = 1\nstop_after_seconds = 2', "", 5, "is for engines that sleep"),
        ('how = "process"\nmodel = "m"\nenv_from = ["NOT_SET_ANYWHERE"]', "", 8, "the environment has no NOT_SET"),
        ('how = "process"\nmodel = "m"', 'urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"]', 1, "has one `url`"),
        ('how = "process"\nmodel = "m"\nmemory_mb = inf', "", 8, "Input should be less than or equal to 1000000000"),
        ('how = "docker"', "", 5, "give an `image`, or the compose `service`"),
        ('how = "docker"\nimage = "x"\nlog = "x"', "", 5, "`log` is for `how = \"process\"`"),
        ('how = "docker"\nservice = "x"', "", 1, "give the `url` at which the container"),
        ('how = "docker"\nservice = "x"\nimage = "x"', 'url = "http://h:1"', 5, "as compose made it"),
        ('how = "docker"\nimage = "x"\nproject = "x"', "", 5, "`project` goes with `service`"),
        ('how = "docker"\nimage = "x"\nvolumes = ["nonsense"]', "", 8, "String should match pattern"),
        ('how = "docker"\nimage = "x"\nsocket = "file"', "", 8, "String should match pattern"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_where_it_stands(
    tmp_path: Path, launch: str, more: str, line: int, complaint: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        engine(tmp_path, launch, more=more)
    message = str(refused.value)
    assert complaint in message
    assert f"switchboard.toml:{line}: engines.0" in message


@pytest.mark.parametrize(
    ("kind", "launch", "complaint"),
    [
        ("whisper", 'how = "process"\ncommand = ["{port}"]', "runs in this process: it takes no `launch`"),
        ("tgi", 'how = "process"\nmodel = "m"', "`launch.model` starts vLLM"),
        (
            "tgi",
            'how = "docker"\nimage = "m"\nidle_seconds = 1\nsleep = 1',
            "`launch.sleep` is for engines of kind vllm",
        ),
    ],
)
def test_what_an_engine_of_the_kind_cannot_do(tmp_path: Path, kind: str, launch: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        engine(tmp_path, launch, kind=kind)


def test_an_adapter_is_a_model_of_its_engine(tmp_path: Path) -> None:
    path = tmp_path / "switchboard.toml"
    (tmp_path / "adapters" / "tuned").mkdir(parents=True)
    path.write_text(f'[[engines]]\nname = "gpu"\nkind = "vllm"\nurl = "http://h:1"\n{MODELS}')
    chat, tuned = read_registry(path, Settings()).models
    assert (chat.spec.source, chat.spec.adapter) == ("nano", None)
    assert (tuned.spec.source, tuned.spec.adapter) == ("tuned", str(tmp_path / "adapters" / "tuned"))


def test_only_vllm_takes_adapters(tmp_path: Path) -> None:
    path = tmp_path / "switchboard.toml"
    path.write_text(f'[[engines]]\nname = "gpu"\nkind = "tgi"\nurl = "http://h:1"\n{MODELS}')
    with pytest.raises(ConfigError, match=r"toml:14: models\.1\.adapter: is for engines of kind vllm, not tgi"):
        read_registry(path, Settings())
