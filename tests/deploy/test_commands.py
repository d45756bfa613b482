"""Every command of every container, on real servers."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from urllib.request import Request, urlopen

import grpc
import numpy as np
import pytest
import yaml
from envoy_edge import Authorities, edge
from helm_chart import PROFILES, ROOT, Object, container, one, pod_of, render
from serve_script import BIN, Serving, hold, programs, serving
from server_process import first_stub

from slimsam_client import SlimSam
from slimsam_client.calls import Call
from slimsam_client.contract import ENSEMBLE
from slimsam_client.prompts.encode import encode_prompts, prompt_arrays
from slimsam_client.transport.tensors import to_request
from slimsam_server import EmbeddedServer
from slimsam_server.ports import free_port

GATEWAY = {"enabled": True, "keysSecret": "keys", "hosts": ["sam.example.com"]}
EDGE = {"enabled": True, "filesSecret": "edge", "issuer": "https://issuer.example.com"}
AUDIENCE = "123"  # which unquoted YAML would be a number
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")

# Its checks are real; what it would build has been built.
BUILD = """#!/bin/sh
case "$*" in
"check "*) exec {command} "$@" ;;
esac
for last; do :; done
cp -R {made}/. "$last"
"""


class Pod:
    """A pod's commands, with its paths below a directory."""

    def __init__(self, objects: list[Object], directory: Path) -> None:
        self.spec = pod_of(one(objects, "Deployment"))
        self.directory = directory
        self.opt = directory / "opt"
        for each in ("volume", "served", "keys"):
            (directory / each).mkdir()

    def place(self, text: str) -> str:
        """Where something lies that the container has at a path."""
        for path in ("/volume", "/served", "/keys"):
            text = text.replace(path, f"{self.directory}{path}")
        return text.replace("/opt/slimsam", str(self.opt))

    def command(self, name: str) -> list[str]:
        found = container(self.spec, name)
        return [self.place(each) for each in (*found["command"], *found.get("args", ()))]

    def environment(self, name: str) -> dict[str, str]:
        found = container(self.spec, name).get("env", ())
        return {each["name"]: self.place(each["value"]) for each in found if "value" in each}

    def probe(
        self, name: str, probe: str, environment: dict[str, str], **changes: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a probe as the kubelet does, without an end to its seconds."""
        command = container(self.spec, name)[probe]["exec"]["command"]
        return subprocess.run(
            [changes.get(each, each) for each in command],
            env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory, demo_repository: Path) -> Pod:
    """The profile cpu, after its step `build`."""
    directory = tmp_path_factory.mktemp("pod")
    values = {"gateway": GATEWAY, "model": {"checkpoint": "demo"}, "cache": {"mebibytes": 32}}
    pod = Pod(render("cpu", values), directory)
    shutil.copytree(
        demo_repository,
        pod.opt / "model_repository",
        ignore=shutil.ignore_patterns(
            "model.xml*", "model.bin", "openvino.json", "*.npz", "[4-9]*"
        ),
    )
    for name in ("build.sh", "prepare.sh", "serve.sh"):
        shutil.copy2(ROOT / "docker" / name, pod.opt)
    builder = programs(directory) / "slimsam-build"
    builder.write_text(BUILD.format(command=BIN / "slimsam-build", made=demo_repository))
    builder.chmod(0o755)
    path = f"{builder.parent}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        pod.command("build"),
        env={**os.environ, **pod.environment("build"), "PATH": path},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    builder.unlink()
    return pod


@pytest.fixture(scope="module")
def server(pod: Pod, stack: ExitStack) -> Serving:
    hold(pod.directory).touch()
    script, *flags = pod.command("server")
    settings = pod.environment("server")
    running = stack.enter_context(
        serving(
            pod.directory, Path(settings["SLIMSAM_MODELS"]), *flags,
            command=(script,), settings=settings,
        )
    )  # fmt: skip
    # A server that starts is neither ready nor alive, and the startup probe waits for it.
    try:
        for probe in PROBES:
            assert pod.probe("server", probe, dict(running.environment)).returncode == 1
    finally:
        hold(pod.directory).unlink()
    running.wait_until_ready()
    return running


def statuses(pod: Pod, server: Serving, **changes: str) -> list[int]:
    """Of readiness and liveness."""
    return [
        pod.probe("server", probe, dict(server.environment), **changes).returncode
        for probe in PROBES[1:]
    ]


def test_a_server_of_the_chart_serves(pod: Pod, server: Serving) -> None:
    with SlimSam(server.url, 60) as sam:
        sam.segment(np.zeros((8, 8, 3), np.uint8), points=[(4, 4)])
        upload = sam.upload(np.zeros((8, 8, 3), np.uint8))
        assert upload is not None
    for probe in PROBES:
        done = pod.probe("server", probe, dict(server.environment))
        assert done.returncode == 0, done.stdout
    cache = Path(server.environment["SLIMSAM_CACHE_PATH"])
    assert 0.9 * 2**25 < cache.stat().st_size <= 2**25


def test_a_busy_server_is_healthy(pod: Pod, server: Serving) -> None:
    """It has more to do than it can within the probe's time, as long as the probe is under way."""
    prompts = encode_prompts((64, 64), (1024, 1024), [[5, 5]], None, None, None)
    frame = np.zeros((1024, 1024, 3), np.uint8), np.array([1024, 1024], np.int32)
    arrays = {"image": frame[0], "input_size": frame[1], **prompt_arrays(prompts)}
    request = bytes(to_request(Call(ENSEMBLE, arrays)).SerializeToString())

    async def main() -> list[int]:
        done = asyncio.Event()
        began = asyncio.Event()
        async with grpc.aio.insecure_channel(server.url) as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

            async def keep_asking() -> None:
                while not done.is_set():
                    await infer(request)
                    began.set()

            asking = [asyncio.ensure_future(keep_asking()) for _ in range(60)]
            await began.wait()
            found = await asyncio.to_thread(statuses, pod, server, **{"10": "0.1"})
            # Without --allow-busy it would not be.
            variables = dict(server.environment)
            strict = await asyncio.to_thread(
                pod.probe, "server", "startupProbe", variables, **{"20": "0.1"}
            )
            found.append(strict.returncode)
            done.set()
            await asyncio.gather(*asking)
        return found

    assert asyncio.run(main()) == [0, 0, 1]


def test_hung_and_dead_servers_are_not(pod: Pod, server: Serving) -> None:
    os.kill(server.tritonserver, signal.SIGSTOP)
    assert statuses(pod, server, **{"10": "1"}) == [1, 1]
    os.kill(server.tritonserver, signal.SIGCONT)
    assert statuses(pod, server) == [0, 0]
    decoder = first_stub(server.tritonserver, "slimsam_decoder")
    os.kill(decoder, signal.SIGSTOP)
    assert statuses(pod, server) == [1, 1]
    # And serve.sh ends the container, so that it is started again.
    assert server.process.wait(timeout=300) == 1
    assert statuses(pod, server) == [1, 1]


def test_the_pause_before_the_end_is_a_command(pod: Pod) -> None:
    for each in pod.spec["containers"]:
        command = each["lifecycle"]["preStop"]["exec"]["command"]
        assert subprocess.run([command[0], "0"]).returncode == 0 and int(command[1]) > 0


def test_a_gateway_of_the_chart(pod: Pod, demo_server: EmbeddedServer) -> None:
    digest = sha256(b"open sesame").hexdigest()
    (pod.directory / "keys" / "gateway.keys").write_text(f"alice {digest}\n")
    port, metrics = free_port(), free_port()
    command = [
        each.replace("127.0.0.1:8001", demo_server.grpc_url) for each in pod.command("gateway")
    ]
    variables = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    changes = {
        each: each.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        for each in container(pod.spec, "gateway")["startupProbe"]["exec"]["command"]
    } | {"python": sys.executable}
    assert pod.probe("gateway", "startupProbe", variables, **changes).returncode != 0
    gateway = subprocess.Popen(
        [*command, f"--port={port}", f"--metrics-port={metrics}"],
        env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert gateway.stderr is not None
        next(line for line in gateway.stderr if f":{port}" in line)
        for probe in PROBES:
            done = pod.probe("gateway", probe, variables, **changes)
            assert done.returncode == 0, done.stderr
        # As Prometheus asks: by the pod's address, and without a key.
        asking = Request(f"http://127.0.0.1:{metrics}/metrics", headers={"Host": "10.1.2.3:8003"})
        assert b"slimsam_gateway_active_requests 0.0" in urlopen(asking, timeout=60).read()
        gateway.terminate()
        gateway.wait(60)
        assert pod.probe("gateway", "livenessProbe", variables, **changes).returncode != 0
    finally:
        gateway.kill()
        gateway.communicate()


def test_an_edge_of_the_chart(demo_server: EmbeddedServer, tmp_path: Path) -> None:
    objects = render("gpus", {"edge": {**EDGE, "audience": AUDIENCE}})
    data = one(objects, "ConfigMap", "sam-slimsam-edge")["data"]
    assert data["requests.lua"] == (ROOT / "deploy/envoy/requests.lua").read_text()
    pod = pod_of(one(objects, "Deployment", "sam-slimsam-edge"))
    compose = yaml.safe_load((ROOT / "deploy/envoy/compose.yaml").read_text())
    args = compose["services"]["edge"]["command"]
    assert container(pod, "edge")["args"] == args and args[0] == "-c"
    (sources,) = [each["projected"]["sources"] for each in pod["volumes"]]
    (authorities := tmp_path / "files").mkdir()
    files = Authorities(authorities)
    for item in sources[1]["secret"]["items"]:
        assert (authorities / item["path"]).is_file()
    text = data["envoy.yaml"].replace("address: sam-slimsam.vision.svc,", "address: server,")
    with (
        edge(files, demo_server.grpc_url, tmp_path, text=text) as running,
        SlimSam(
            running.url, 60, tls=files.tls, headers=files.headers("alice", aud=AUDIENCE)
        ) as sam,
    ):
        sam.segment(np.zeros((8, 8, 3), np.uint8), points=[(4, 4)])


def test_every_command_is_one_of_those_above() -> None:
    """A container that is added to the chart, or to KServe's runtime, wants a test here, too."""
    known: dict[str, set[str]] = {}
    for name in PROFILES:
        for each in render(name, {"gateway": GATEWAY, "edge": EDGE}):
            if each["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"):
                pod = pod_of(each)
                for found in (*pod.get("initContainers", ()), *pod["containers"]):
                    known.setdefault(found["name"], set()).add(found.get("command", ["image"])[0])
    assert known == {
        "build": {"/opt/slimsam/prepare.sh"},
        "server": {"/opt/slimsam/serve.sh"},
        "gateway": {"slimsam-gateway"},
        "edge": {"image"},
    }


def test_kserves_command(pod: Pod, demo_repository: Path) -> None:
    """The flags and probes of deploy/kserve on a real server, but for its target and port."""
    text = (ROOT / "deploy/kserve/servingruntime.yaml").read_text()
    (found,) = yaml.safe_load(text)["spec"]["containers"]
    variables = {each["name"]: each["value"] for each in found["env"]}
    assert found["args"][0] == f"--grpc-port={variables['SLIMSAM_URL'].rpartition(':')[2]}"
    with serving(
        pod.directory, demo_repository, *found["args"],
        command=[pod.place(each) for each in found["command"]],
        settings={"SLIMSAM_ON_FAILURE": variables["SLIMSAM_ON_FAILURE"]},
    ) as server:  # fmt: skip
        server.wait_until_ready()
        for probe in PROBES:
            done = subprocess.run(
                found[probe]["exec"]["command"], env=dict(server.environment), timeout=300
            )
            assert done.returncode == 0
