"""The scripts that the images run, run outside them on real servers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton
import trustme
from server_process import descendants, first_stub
from tritonclient.utils import InferenceServerException

from slimsam_server import ServerError
from slimsam_server.backend_directory import assemble
from slimsam_server.container import ContainerServer
from slimsam_server.ports import hold_free_port
from slimsam_server.processes import children
from slimsam_server.tritonserver import environment, wheel_directory

DOCKER = Path(__file__).parents[2] / "docker"
BIN = Path(sys.executable).parent
KEY = "open-sesame-0123456789abcdef"


@pytest.fixture
def image(tmp_path: Path, empty_repository: Path) -> Path:
    """/opt/slimsam as the images have it."""
    directory = tmp_path / "opt"
    shutil.copytree(empty_repository, directory / "model_repository")
    for name in ("build.sh", "serve.sh"):
        shutil.copy2(DOCKER / name, directory)
    return directory


def variables(**settings: str | Path) -> dict[str, str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **{key: str(value) for key, value in settings.items()}}


def health(url: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """As the images' HEALTHCHECK."""
    command = [BIN / "slimsam", "health", "--quick", "--timeout", "20", "--url", url]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


# Its checks are real; what it would build has been built.
QUICK_BUILD = """#!/bin/sh
case "$*" in
"check "*) exec {command} "$@" ;;
"build --checkpoint demo --target openvino --model-repository {models}")
  cp -R {made}/. {models} && echo installed ;;
*) echo "$*" >&2; exit 1 ;;
esac
"""


def test_the_build_job_builds_once(image: Path, demo_repository: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    command = tmp_path / "bin" / "slimsam-build"
    command.parent.mkdir()
    command.write_text(
        QUICK_BUILD.format(command=BIN / command.name, models=models, made=demo_repository)
    )
    command.chmod(0o755)
    settings = variables(
        SLIMSAM_MODELS=models, SLIMSAM_TARGET="openvino", SLIMSAM_CHECKPOINT="demo"
    )
    settings["PATH"] = f"{command.parent}{os.pathsep}{settings['PATH']}"

    def run(**asked: str) -> subprocess.CompletedProcess[str]:
        given = {**settings, **asked}
        return subprocess.run(
            [image / "build.sh"], env=given, capture_output=True, text=True, timeout=300
        )

    def build(**asked: str) -> str:
        done = run(**asked)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "installed" in build()
    again = build()
    assert "belong here" in again and "installed" not in again
    assert "belong here" in build(SLIMSAM_PRECISION="fp32")
    for asked, said in (
        ({"SLIMSAM_CHECKPOINT": "owner/sam"}, "was made of demo, expected owner/sam"),
        ({"SLIMSAM_PRECISION": "bf16"}, "is in precision fp32, expected bf16"),
    ):
        done = run(**asked)
        assert said in done.stderr
        assert done.stderr.splitlines()[-1].startswith("build --checkpoint ")  # which it goes on to
    (models / "slimsam_decoder/1/model.bin").write_bytes(b"cut off")
    assert "installed" in build()


@pytest.mark.parametrize(
    ("settings", "status", "message"),
    [
        ({}, 1, "run the build job"),
        ({"SLIMSAM_ON_STALE": "ignore"}, 2, "expected refuse or rebuild, got ignore"),
        ({"SLIMSAM_TARGET": ""}, 1, "expected a target"),
        ({"SLIMSAM_ON_FAILURE": "ignore"}, 2, "expected restart or exit, got ignore"),
    ],
    ids=["refused", "unknown", "no target", "unknown, too"],
)
def test_a_server_that_does_not_start(
    image: Path, empty_repository: Path, settings: dict[str, str], status: int, message: str
) -> None:
    given = {"SLIMSAM_MODELS": empty_repository, "SLIMSAM_TARGET": "openvino", **settings}
    done = subprocess.run(
        [image / "serve.sh"], env=variables(**given), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == status
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("precisions", "flag"),
    [
        (("fp32", "fp32"), "--model-config-name=openvino\n"),
        (("bf16", "bf16"), "--model-config-name=openvino_bf16\n"),
        (("bf16", "fp32"), None),
    ],
    ids=["fp32", "bf16", "mixed"],
)
def test_the_configurations_are_those_of_the_artifacts_precision(
    image: Path,
    empty_repository: Path,
    tmp_path: Path,
    precisions: tuple[str, str],
    flag: str | None,
) -> None:
    models = ("slimsam_encoder", "slimsam_decoder", "slimsam_decoder_bulk")
    for model, precision in zip(models, (*precisions, precisions[1]), strict=True):
        report = empty_repository / model / "1" / "model.xml.json"
        report.write_text(json.dumps({"precision": precision}))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in (("slimsam-build", "exit 0"), ("tritonserver", 'printf "%s\\n" "$@"')):
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    settings = variables(SLIMSAM_MODELS=empty_repository, SLIMSAM_TARGET="openvino")
    settings["PATH"] = f"{programs}{os.pathsep}{settings['PATH']}"
    done = subprocess.run(
        [image / "serve.sh"], env=settings, capture_output=True, text=True, timeout=60
    )
    if flag is None:
        assert (done.returncode, done.stdout) == (1, "")
        assert "expected artifacts of one precision" in done.stderr
    else:
        assert flag in done.stdout and "--exit-timeout-secs=" in done.stdout
        # It has ended at once, and what ends before it has served is not started again.
        assert done.returncode == 1
        assert done.stderr == "serve.sh: error: tritonserver ended with status 0\n"


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []
    yield running
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_the_cpu_image_rebuilds_serves_and_is_checked(
    image: Path, tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    settings = variables(
        SLIMSAM_MODELS=models,
        SLIMSAM_TARGET="openvino",
        SLIMSAM_CHECKPOINT="demo",
        SLIMSAM_ON_STALE="rebuild",
        SLIMSAM_EMBEDDED="1",
    )
    server = subprocess.Popen(
        [image / "serve.sh", "--grpc-port", "0", "--metrics-port", "0"],
        env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    processes.append(server)
    assert server.stdout is not None
    ready = next(line for line in server.stdout if line.startswith("ready: grpc "))
    url = ready.split()[2].rstrip(",")
    assert health(url).returncode == 0
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=120) == 0
    after = health(url)
    assert after.returncode == 1 and after.stdout.startswith("unhealthy: ")


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, Path]:
    """Of an authority, a server at 127.0.0.1 and a client."""
    files = {name: tmp_path / f"{name}.pem" for name in ("root", "server", "client")}
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(files["root"]))
    for name, identity in (("server", "127.0.0.1"), ("client", "client.example")):
        made = authority.issue_cert(identity)
        made.private_key_and_cert_chain_pem.write_to_path(str(files[name]))
    return files


def prefix_of_regions(tritonserver: int) -> str:
    """How the names of its shared memory begin, by its flags."""
    flags = Path(f"/proc/{tritonserver}/cmdline").read_text()
    (prefix,) = re.findall(r"shm-region-prefix-name=(\w+)", flags)
    return str(prefix)


def assert_only_tritonserver_shows_the_key(serve: int) -> None:
    """Whoever reads all processes' command lines finds it in one, as Triton's flag wants it."""
    (tritonserver,) = children(serve)
    shown = {
        pid: [
            part
            for part in ("cmdline", "environ")
            if KEY in Path(f"/proc/{pid}/{part}").read_text()
        ]
        for pid in (serve, tritonserver, *descendants(tritonserver))
    }
    assert shown.pop(serve) == ["environ"]  # which its own user alone can read
    assert shown.pop(tritonserver) == ["cmdline"]
    assert shown and not any(shown.values())


def regions(prefix: str) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{prefix}*"))


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Two that nobody else is given."""
    with hold_free_port() as one, hold_free_port() as other:
        yield [held.getsockname()[1] for held in (one, other)]


def test_the_production_line_starts_a_real_tritonserver_again(
    image: Path,
    demo_repository: Path,
    tmp_path: Path,
    certificates: dict[str, Path],
    ports: list[int],
    processes: list[subprocess.Popen[str]],
) -> None:
    """NVIDIA's image brings backends; here the wheel's binary is told where the stand-ins are."""
    backends = assemble(tmp_path / "backends")
    binary = wheel_directory() / "bin" / "tritonserver"
    wrapper = tmp_path / "bin" / "tritonserver"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {binary} --backend-directory={backends} "$@"\n')
    wrapper.chmod(0o755)
    url = f"127.0.0.1:{ports[0]}"
    root, pair, own = (certificates[name] for name in ("root", "server", "client"))
    settings = {**environment(2), "SLIMSAM_MODELS": str(demo_repository)}
    settings |= {"SLIMSAM_TARGET": "openvino", "SLIMSAM_ADMIN_KEY": KEY}
    settings["SLIMSAM_CACHE_PATH"] = str(tmp_path / "pictures")
    settings["PATH"] = f"{wrapper.parent}{os.pathsep}{BIN}{os.pathsep}{settings['PATH']}"
    settings["SLIMSAM_ROOT_CERTIFICATES"] = str(root)
    settings["SLIMSAM_CERTIFICATE_CHAIN"] = settings["SLIMSAM_PRIVATE_KEY"] = str(own)
    log = tmp_path / "log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [
                *(image / "serve.sh", "--grpc-address=127.0.0.1", f"--grpc-port={ports[0]}"),
                *("--metrics-address=127.0.0.1", f"--metrics-port={ports[1]}"),
                *("--grpc-use-ssl=true", "--grpc-use-ssl-mutual=true", f"--grpc-root-cert={root}"),
                *(f"--grpc-server-cert={pair}", f"--grpc-server-key={pair}"),
            ],
            env=settings, stdout=subprocess.PIPE, stderr=file, text=True,
        )  # fmt: skip
    processes.append(server)
    assert server.stdout is not None
    ready = f"ready: grpc {url}, models slimsam slimsam_automatic "
    next(line for line in server.stdout if line.startswith(ready))
    assert health(url, settings).returncode == 0
    first = prefix_of_regions(children(server.pid)[0])
    assert regions(first)
    assert_only_tritonserver_shows_the_key(server.pid)
    with triton.InferenceServerClient(
        url, ssl=True, root_certificates=str(root), private_key=str(own), certificate_chain=str(own)
    ) as client:
        header = "triton-grpc-protocol-admin-key"
        assert client.get_log_settings(headers={header: KEY}).settings
        with pytest.raises(InferenceServerException, match=f"restricted, expecting .*{header}"):
            client.get_log_settings()

    os.kill(first_stub(children(server.pid)[0], "slimsam_decoder"), signal.SIGSTOP)
    next(line for line in server.stdout if line.startswith(ready))
    said = [line for line in log.read_text().splitlines() if line.startswith("serve.sh: ")]
    assert len(said) == 1
    assert said[0].startswith("serve.sh: slimsam_decoder failed in 3 of its last ")
    assert said[0].endswith("; starting the server again in 1 s")
    assert health(url, settings).returncode == 0
    assert not regions(first)
    second = prefix_of_regions(children(server.pid)[0])
    assert regions(second)

    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) == 0
    assert not regions(second)


def test_an_administration_key_that_no_header_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIMSAM_ADMIN_KEY", "two\nlines")
    with pytest.raises(ServerError, match="SLIMSAM_ADMIN_KEY: expected printable ASCII"):
        ContainerServer(Path("models"), ["true"])


@pytest.mark.parametrize(
    ("flags", "address", "is_probed"),
    [
        ([], "localhost:8001", True),
        (["--grpc-address=::", "--grpc-port", "9001", "--grpc-use-ssl=0"], "localhost:9001", True),
        (["--grpc-address", "10.0.0.1", "--grpc-use-ssl=true"], "10.0.0.1:8001", False),
    ],
    ids=["none", "a port", "TLS without certificates"],
)
def test_where_a_server_with_such_flags_is_probed(
    flags: list[str], address: str, is_probed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLIMSAM_ROOT_CERTIFICATES", raising=False)
    server = ContainerServer(Path("models"), ["true", "--log-verbose=1", *flags])
    assert (server.address, server.is_probed) == (address, is_probed)


def test_a_server_whose_probes_cannot_connect_is_not_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLIMSAM_ROOT_CERTIFICATES", "nowhere.pem")
    with pytest.raises(ServerError, match="expected a readable PEM file, got nowhere.pem"):
        ContainerServer(Path("models"), ["true", "--grpc-use-ssl=true"])
    with pytest.raises(ServerError, match="expected the program no-such-program on PATH"):
        ContainerServer(Path("models"), ["no-such-program"])
