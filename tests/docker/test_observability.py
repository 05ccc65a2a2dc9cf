"""What Prometheus is told to scrape and Grafana to draw is what the services have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import yaml

from backends.base import EngineSpec, Gauges, ModelSpec
from proxy.app import build_app
from proxy.contracts.ops import CONTRACT
from proxy.keys import DISPATCHER, METRICS, TRAFFIC
from proxy.observability.call import Call
from proxy.registry.models import ModelEntry, Registry
from proxy.routing.health import End
from proxy.routing.standing import Reading
from proxy.settings import Settings
from tests.docker.stacks import ROOT
from tests.docker.test_stacks import SERVICES

COMPOSE = ROOT / "compose"
DASHBOARD = json.loads((COMPOSE / "grafana" / "dashboards" / "switchboard.json").read_text(encoding="utf-8"))
SCRAPED = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
METRIC = re.compile(r"\b(switchboard_\w+|vllm:\w+|tgi_\w+)")
LABELS = re.compile(r"(?:by|without) \(([^)]*)\)|([a-z]+)=~?\"|\{\{(\w+)\}\}")
# vllm/v1/metrics/loggers.py of 0.32, and TGI's docs/source/reference/metrics.md.
ENGINES = {
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "tgi_batch_current_size",
    "tgi_queue_size",
}


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


async def rendered() -> str:
    """The metrics of a door with something in each."""
    registry = Registry(
        engines={"e": EngineSpec(name="e", kind="vllm", urls=("http://127.0.0.1:9",))},
        models=(ModelEntry(name="m", engine="e", spec=ModelSpec(source="m"), task="text"),),
        limits={"e": 1},
    )
    app = build_app(Settings(), registry)
    metrics, call = app[METRICS], Call("id", "POST", "/", model="m", engine="e", prompt_tokens=1)
    app[TRAFFIC].in_flight["m", "e"] += 1
    metrics.record(call)
    metrics.waited(call)
    metrics.shed(call, "full")
    metrics.reloaded("reloaded")
    app[DISPATCHER].attempts.retries["e"] += 1
    (replica,) = app[DISPATCHER].fleet.replicas("e")
    replica.health.eject(0.0, End.GONE, "nobody is there")
    replica.standing.reading = Reading(Gauges(kv=0.5), 0.0, 0)
    return metrics.render().decode()


async def test_every_metric_drawn_exists_and_every_metric_is_drawn() -> None:
    # Nobody waits here, and only who waits is shown.
    ours = set(re.findall(r"^(switchboard_\w+)[{ ]", await rendered(), re.MULTILINE)) | {"switchboard_waiting"}
    drawn = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert drawn <= ours | ENGINES
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in ours if not name.endswith("_created")}
    assert families == {re.sub("_bucket$", "", name) for name in drawn - ENGINES}


async def test_every_label_drawn_is_one_of_the_metrics() -> None:
    ours = set(re.findall(r"[{,](\w+)=", await rendered()))
    legends = [target["legendFormat"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    drawn = {
        label.strip()
        for text in [*expressions(), *legends]
        for found in LABELS.findall(text)
        for label in "".join(found).split(",")
    }
    assert drawn <= ours | {"instance", "job"}


def test_panels_have_a_source_that_is_provisioned_and_a_place_of_their_own() -> None:
    (source,) = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    (provider,) = yaml.safe_load((COMPOSE / "grafana/provisioning/dashboards/switchboard.yaml").read_text())[
        "providers"
    ]
    (grafana,) = (service for service in SERVICES if service.name == "grafana")
    assert grafana.host_path(provider["options"]["path"]) == COMPOSE / "grafana" / "dashboards"


def test_what_is_scraped_are_services_of_the_stacks() -> None:
    jobs = {job["job_name"]: job for job in SCRAPED["scrape_configs"]}
    names = {name for job in jobs.values() for found in job.get("dns_sd_configs", []) for name in found["names"]}
    assert names == {"proxy", "vllm", "vllm-0", "vllm-1", "tgi"}
    assert names <= {service.name for service in SERVICES}
    # /metrics asks for a key where the proxy has keys, and the key comes from a file that the stack mounts.
    assert "/metrics" not in CONTRACT.public
    assert jobs["switchboard"]["authorization"] == {"credentials_file": "/run/secrets/metrics_key"}
    (prometheus,) = (service for service in SERVICES if service.name == "prometheus")
    assert prometheus.table["secrets"] == ["metrics_key"]


def test_promtool_takes_the_configuration() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not at hand")
    done = subprocess.run(
        ["promtool", "check", "config", "--syntax-only", str(COMPOSE / "prometheus" / "prometheus.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
