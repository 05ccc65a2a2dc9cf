"""The compose files: what every service must have, and that each proxy starts on the environment that its stack gives it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.registry.config import load_registry
from proxy.settings import load_settings, variables
from tests.docker.stacks import ROOT, STACKS, VARIABLE, MissingVariable, Service, document, services, strings, table

DEMANDED = {
    "SWITCHBOARD_API_KEYS": "key",
    "POSTGRES_PASSWORD": "password",
    "GRAFANA_PASSWORD": "password",
    "METRICS_KEY": "key",
}
SERVICES = [service for stack in STACKS for service in services(stack, DEMANDED)]
PROXIES = [service for service in SERVICES if service.is_proxy]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")


def label(item: Service | Path) -> str:
    return f"{item.stack.stem}:{item.name}" if isinstance(item, Service) else item.stem


def published(service: Service) -> list[str]:
    return strings(service.table.get("ports"))


def test_there_are_the_five_stacks_and_their_proxies() -> None:
    assert [stack.stem for stack in STACKS] == ["compose", "dev", "gpu", "observability", "scale"]
    assert [label(proxy) for proxy in PROXIES] == ["compose:proxy", "dev:proxy", "gpu:proxy", "scale:proxy"]


@pytest.mark.parametrize("service", SERVICES, ids=label)
def test_every_service_is_watched_restarted_and_pinned(service: Service) -> None:
    assert service.table["restart"] == "unless-stopped"
    dockerfile = service.dockerfile
    built = dockerfile is not None and "HEALTHCHECK" in dockerfile.read_text(encoding="utf-8")
    assert built or "healthcheck" in service.table
    image = str(service.table["image"])
    assert re.fullmatch(r"[a-z./-]+:v?\d+\.\d[\w.-]*", image) or dockerfile is not None, image


@pytest.mark.parametrize("service", SERVICES, ids=label)
def test_what_a_service_waits_for_exists_and_is_waited_for_by_its_health(service: Service) -> None:
    names = {other.name for other in SERVICES if other.stack == service.stack}
    for name, condition in table(service.table.get("depends_on")).items():
        assert name in names
        assert table(condition) == {"condition": "service_healthy"}


@pytest.mark.parametrize("stack", STACKS, ids=label)
def test_volumes_are_declared_used_and_mounted_from_files_that_exist(stack: Path) -> None:
    declared = set(table(document(stack, DEMANDED).get("volumes")))
    named = set()
    for service in (service for service in SERVICES if service.stack == stack):
        for mount in strings(service.table.get("volumes")):
            source = mount.split(":")[0]
            if not source.startswith("."):
                named.add(source)
            elif service.name != "endpoint":  # its sources are its user's own
                assert (stack.parent / source).exists(), mount
    assert named == declared


@pytest.mark.parametrize("stack", STACKS, ids=label)
def test_every_variable_is_explained_with_its_default(stack: Path) -> None:
    text = stack.read_text(encoding="utf-8")
    for match in VARIABLE.finditer(text):
        line = re.search(rf"^# {match['name']}=(.*)$", EXAMPLE, re.MULTILINE)
        assert line, match["name"]
        if match["sign"] == "-" and match["name"] != "VLLM_MEMORY":  # two stacks, two defaults; both are told
            assert line[1] == match["rest"]


@pytest.mark.parametrize("stack", STACKS, ids=label)
def test_variables_that_a_stack_cannot_do_without_are_demanded_by_name(stack: Path) -> None:
    demanded = {match["name"] for match in VARIABLE.finditer(stack.read_text(encoding="utf-8")) if match["sign"] == "?"}
    for name in demanded:
        with pytest.raises(MissingVariable, match=f"^{name}: .*set"):
            document(stack, {**DEMANDED, name: ""})


@pytest.mark.parametrize("proxy", PROXIES, ids=label)
def test_every_variable_of_the_example_reaches_the_proxy(proxy: Service) -> None:
    assert proxy.table["env_file"] == [{"path": "../.env", "required": False}]
    assert (ROOT / ".env.example").parent == (proxy.stack.parent / "..").resolve()


@pytest.mark.parametrize("stack", [proxy.stack for proxy in PROXIES], ids=label)
def test_a_stack_that_other_machines_reach_demands_keys(stack: Path) -> None:
    """What stands open is published on this machine's loopback alone."""
    mine = [service for service in SERVICES if service.stack == stack]
    reachable = any(not port.startswith("127.0.0.1:") for service in mine for port in published(service))
    (proxy,) = (service for service in mine if service.is_proxy)
    assert reachable == ("SWITCHBOARD_OPEN_WITHOUT_KEYS" not in proxy.environment)
    if reachable:
        with pytest.raises(MissingVariable, match="SWITCHBOARD_API_KEYS"):
            document(stack, {**DEMANDED, "SWITCHBOARD_API_KEYS": ""})
    door = next((service for service in mine if service.name == "balancer"), proxy)
    assert {port.split(":")[-2] for port in published(door)} == {"8000", "5000", "8080"}


def test_engines_databases_and_figures_are_not_published_beyond_loopback() -> None:
    for service in SERVICES:
        if not service.is_proxy and service.name != "balancer":
            assert all(port.startswith("127.0.0.1:") for port in published(service)), label(service)


@pytest.mark.parametrize("proxy", PROXIES, ids=label)
def test_the_proxy_starts_on_what_its_stack_says(
    proxy: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = {*variables().values(), "HF_HOME", "HF_TOKEN", "PYTHONDONTWRITEBYTECODE"}
    assert set(table(proxy.table["environment"])) <= known
    for name, value in proxy.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SWITCHBOARD_CONFIG", str(proxy.host_path(proxy.environment["SWITCHBOARD_CONFIG"])))
    monkeypatch.setenv("SWITCHBOARD_DATA", str(tmp_path))
    settings = load_settings()
    assert {address.host for address in settings.listen} == {"0.0.0.0"}
    registry = load_registry(settings)
    assert set(registry.defaults) == {"transcription", "translation"}
    hosts = {re.sub(r"https?://([^:/]+).*", r"\1", url) for engine in registry.engines.values() for url in engine.urls}
    assert hosts <= {service.name for service in SERVICES if service.stack == proxy.stack}
    assert hosts == set(table(proxy.table.get("depends_on"))) - {"postgres"}


@pytest.mark.parametrize("proxy", PROXIES, ids=label)
def test_a_reload_finds_a_file_that_an_editor_has_put_in_the_place_of_the_old_one(proxy: Service) -> None:
    config = proxy.environment["SWITCHBOARD_CONFIG"]
    mounted = [mount.split(":")[:2] for mount in strings(proxy.table.get("volumes"))]
    for source, target in mounted:
        if config.startswith(target):
            assert (proxy.stack.parent / source).is_dir(), "a file that is mounted by itself stays the one it was"


@pytest.mark.parametrize("proxy", PROXIES, ids=label)
def test_streams_have_longer_to_end_than_the_proxy_drains(proxy: Service) -> None:
    if proxy.stack.stem != "dev":  # where a reload does not wait
        grace = str(proxy.table["stop_grace_period"])
        assert float(grace.removesuffix("s")) > load_settings().drain_seconds


@pytest.mark.parametrize("service", [service for service in SERVICES if "deploy" in service.table], ids=label)
def test_gpus_are_reserved_one_by_one(service: Service) -> None:
    resources = table(table(service.table["deploy"]).get("resources"))
    if not resources:
        assert table(service.table["deploy"]) == {"replicas": 2}
        return
    devices = table(resources["reservations"])["devices"]
    assert isinstance(devices, list)
    (device,) = devices
    assert re.fullmatch(r"\d+", strings(table(device)["device_ids"])[0])
    assert table(device)["capabilities"] == ["gpu"]
    assert "shm_size" in service.table


def compose_plugin() -> str | None:
    """Why `docker compose` cannot be asked, or None."""
    if shutil.which("docker") is None:
        return "there is no docker command to ask"
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        return "docker has no compose plugin to ask"
    return None


@pytest.mark.parametrize(
    "files", ["compose", "gpu", "dev", "scale", "compose:observability", "gpu:observability", "scale:observability"]
)
def test_docker_compose_takes_the_files(files: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := compose_plugin():
        pytest.skip(reason)
    for name, value in DEMANDED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COMPOSE_FILE", ":".join(f"compose/{name}.yaml" for name in files.split(":")))
    done = subprocess.run(
        ["docker", "compose", "--profile", "*", "config", "--quiet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
