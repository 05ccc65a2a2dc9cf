"""Engines in containers: made, found, started, stopped; over the API of a Docker engine, by its real client."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import EngineSpec
from backends.errors import Broken, NotFound, Unavailable
from backends.launch import Container, Launch
from backends.types import Json
from proxy.lifecycle import containers
from proxy.lifecycle.containers import DIGEST, ENGINE, PROJECT, SERVICE, specification
from tests.proxy.lifecycle.docker_double import DockerDouble, docker_double
from tests.proxy.lifecycle.engine_rig import WAIT, EngineRig, engine_rig, model

A = model("a")


@pytest.fixture
async def docker(tmp_path: Path) -> AsyncIterator[tuple[DockerDouble, str]]:
    async with docker_double(tmp_path) as double:
        yield double


def made(url: str, *command: str, **facts: object) -> Launch:
    """A container that is made here."""
    by = Container(socket=url, image="engine:1", command=command)
    return Launch(by=replace(by, **facts), start=WAIT, grace=2.0)  # type: ignore[arg-type]


def names(docker: DockerDouble) -> list[str]:
    return [*docker.boxes]


async def test_a_container_is_made_started_stopped_and_removed(docker: tuple[DockerDouble, str]) -> None:
    double, url = docker
    async with engine_rig({"a": made(url, "--say", "hello")}) as rig:
        async with rig.manager.use(A):
            assert names(double) == ["switchboard-a"]
            assert (await rig.get("a", "/v1/models"))["object"] == "list"
            assert double.boxes["switchboard-a"].labels[ENGINE] == "a"
        await rig.manager.unload(A)
        assert names(double) == []
        assert [each for each in double.asked if each.startswith("DELETE")] == [
            "DELETE /containers/id-of-switchboard-a"
        ]


async def test_the_next_proxy_takes_over_what_the_last_one_left(docker: tuple[DockerDouble, str]) -> None:
    double, url = docker
    port = free_port()
    async with started(url, port) as rig:
        await rig.manager.ensure_ready(A)
        first = await rig.pid("a")
    assert double.boxes["switchboard-a"].running
    async with started(url, port) as rig:
        await rig.until(lambda: rig.manager.is_ready(A))
        assert await rig.pid("a") == first
        assert double.boxes["switchboard-a"].starts == 1
        await rig.manager.unload(A)
    assert names(double) == []


async def test_one_of_another_configuration_is_made_anew(docker: tuple[DockerDouble, str]) -> None:
    double, url = docker
    port = free_port()
    async with started(url, port) as rig:
        await rig.manager.ensure_ready(A)
        first = await rig.pid("a")
        before = double.boxes["switchboard-a"].labels[DIGEST]
    async with started(url, port, "--name=fake") as rig:
        await rig.manager.ensure_ready(A)
        assert await rig.pid("a") != first
        assert double.boxes["switchboard-a"].labels[DIGEST] != before
        await rig.manager.unload(A)


async def test_one_that_is_published_elsewhere_is_made_anew(docker: tuple[DockerDouble, str]) -> None:
    double, url = docker
    async with engine_rig({"a": made(url)}) as rig:
        await rig.manager.ensure_ready(A)
        first = await rig.pid("a")
    async with engine_rig({"a": made(url)}) as rig:
        await rig.manager.ensure_ready(A)
        assert await rig.pid("a") != first
        await rig.manager.unload(A)
    assert names(double) == []


async def test_the_container_of_a_compose_service_is_started_and_stopped_and_stays(
    docker: tuple[DockerDouble, str],
) -> None:
    double, url = docker
    port = free_port()
    box = double.add("stack-vllm-1", {"Labels": {SERVICE: "vllm", PROJECT: "stack"}, "TestPort": port})
    launch = Launch(by=Container(socket=url, service="vllm", project="stack"), start=WAIT, grace=2.0, idle=0.2)
    async with at(port, launch) as rig:
        async with rig.manager.use(A):
            assert box.starts == 1
        await rig.until(lambda: rig.kinds("a")[-1] == "unload.completed")
        assert not box.running
        assert names(double) == ["stack-vllm-1"]
        async with rig.manager.use(A):
            assert box.starts == 2


async def test_a_service_that_runs_already_is_taken_over(docker: tuple[DockerDouble, str]) -> None:
    double, url = docker
    port = free_port()
    box = double.add("stack-vllm-1", {"Labels": {SERVICE: "vllm", PROJECT: "stack"}, "TestPort": port})
    await double.start(box)
    launch = Launch(by=Container(socket=url, service="vllm"), start=WAIT, grace=2.0)
    async with at(port, launch) as rig:
        await rig.until(lambda: rig.manager.is_ready(A))
        assert box.starts == 1
    assert box.running, "it is compose's, and goes on without the proxy"


async def test_a_service_without_a_container_and_one_of_two_projects(docker: tuple[DockerDouble, str]) -> None:
    double, url = docker
    launch = Launch(by=Container(socket=url, service="vllm"), start=WAIT)
    async with at(free_port(), launch) as rig:
        with pytest.raises(NotFound, match="there is no container of it; run `docker compose create` first"):
            await rig.manager.ensure_ready(A)
        for project in ("one", "two"):
            double.add(f"{project}-vllm-1", {"Labels": {SERVICE: "vllm", PROJECT: project}, "TestPort": 1})
        with pytest.raises(Unavailable, match="is in several projects"):
            await rig.manager.ensure_ready(A)


async def test_an_image_that_is_missing_is_pulled(docker: tuple[DockerDouble, str]) -> None:
    double, url = docker
    async with engine_rig({"a": made(url, image="engine:2")}) as rig:
        await rig.manager.ensure_ready(A)
        assert "POST /images/create" in double.asked
        await rig.manager.unload(A)


async def test_an_image_that_cannot_be_pulled(docker: tuple[DockerDouble, str]) -> None:
    async with engine_rig({"a": made(docker[1], image="engine:3")}) as rig:
        with pytest.raises(NotFound, match="its image engine:3 is not here, and could not be pulled"):
            await rig.manager.ensure_ready(A)


async def test_one_that_ends_before_it_serves_is_told_with_its_last_words(docker: tuple[DockerDouble, str]) -> None:
    double, url = docker
    failing = made(url, "--fail", "3", "--say", "no weights, token hf_secret", env={"HF_TOKEN": "hf_secret"})
    async with engine_rig({"a": failing}) as rig:
        with pytest.raises(Broken) as told:
            await rig.manager.ensure_ready(A)
        expected = "Engine 'a' ended with exit status 3 before it served. Its last words: no weights, token ***"
        assert told.value.message == expected
        assert names(double) == []


async def test_killed_while_it_served_it_is_started_again(docker: tuple[DockerDouble, str]) -> None:
    double, url = docker
    async with engine_rig({"a": made(url)}) as rig:
        await rig.manager.ensure_ready(A)
        first = await rig.pid("a")
        os.kill(first, signal.SIGKILL)
        await rig.until(lambda: not rig.manager.is_ready(A))
        error = rig.manager.place(A).error
        assert error is not None
        assert error.message == "Engine 'a' ended with exit status 137."
        async with rig.manager.use(A):
            assert await rig.pid("a") != first
        await rig.manager.unload(A)
        assert names(double) == []


async def test_a_docker_engine_that_is_away_for_a_moment_says_nothing_of_its_containers(
    docker: tuple[DockerDouble, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "LOOK_SECONDS", 0.05)
    double, url = docker
    async with engine_rig({"a": made(url)}) as rig:
        await rig.manager.ensure_ready(A)
        double.away = True
        double.hang_up()
        await asyncio.sleep(0.3)
        assert rig.manager.is_ready(A)
        double.away = False
        os.kill(await rig.pid("a"), signal.SIGKILL)
        await rig.until(lambda: not rig.manager.is_ready(A))


async def test_without_a_docker_engine(tmp_path: Path) -> None:
    async with engine_rig({"a": made(f"unix://{tmp_path}/none.sock")}) as rig:
        with pytest.raises(Unavailable, match="Engine 'a' cannot be reached or changed by Docker"):
            await rig.manager.ensure_ready(A)


def test_what_a_docker_engine_is_asked_for() -> None:
    configured = Container(
        socket="",
        image="vllm/vllm-openai:v0.33.0",
        command=("--model", "m"),
        env={"A": "b"},
        gpus=("0", "1"),
        shm_mb=4096,
        volumes=("cache:/root/.cache",),
        labels={"team": "a"},
        network="inner",
    )
    expected: dict[str, Json] = {
        "Image": "vllm/vllm-openai:v0.33.0",
        "Cmd": ["--model", "m", "--enable-sleep-mode"],
        "Env": ["A=b"],
        "Labels": {"team": "a", "switchboard.engine": "gpu", "switchboard.launch": "0123"},
        "ExposedPorts": {"8000/tcp": {}},
        "HostConfig": {
            "Init": True,
            "Binds": ["cache:/root/.cache"],
            "RestartPolicy": {"Name": "no"},
            "DeviceRequests": [{"Capabilities": [["gpu"]], "DeviceIDs": ["0", "1"]}],
            "ShmSize": 4_096_000_000,
            "NetworkMode": "inner",
        },
    }
    assert specification(configured, ("--enable-sleep-mode",), "gpu", "0123", None) == expected
    host = specification(replace(configured, gpus=("all",)), (), "gpu", "0123", 4321)["HostConfig"]
    assert isinstance(host, dict)
    assert host["DeviceRequests"] == [{"Capabilities": [["gpu"]], "Count": -1}]
    assert host["PortBindings"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "4321"}]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def at(port: int, launch: Launch) -> AbstractAsyncContextManager[EngineRig]:
    """The rig of an engine whose URL is configured."""
    spec = EngineSpec(name="a", kind="vllm", urls=(f"http://127.0.0.1:{port}",), launch=launch)
    return engine_rig({"a": spec})


def started(url: str, port: int, *command: str) -> AbstractAsyncContextManager[EngineRig]:
    """The rig of a container that listens on this port."""
    return at(port, made(url, *command))
