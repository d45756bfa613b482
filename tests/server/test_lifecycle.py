"""slimsam-serve from start to end: its ready line, its errors, and that it cleans up."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from slimsam_client import SlimSam, SlimSamError
from slimsam_server import EmbeddedServer, ServerError
from slimsam_server.checks import check_interpreter
from slimsam_server.launch import _children, _is_alive
from slimsam_server.probe import probe

Serve = Callable[..., subprocess.Popen[str]]
COMMAND = [sys.executable, "-m", "slimsam_server.cli", "--grpc-port", "0", "--metrics-port", "0"]


@pytest.fixture
def start(demo_repository: Path) -> Iterator[Serve]:
    """Run slimsam-serve; whatever is left at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def run(*options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, "--model-repository", str(demo_repository), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def shared_memory() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("slimsam_")}


def ready_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.match(
        r"ready: grpc (127\.0\.0\.1:\d+), metrics http://127\.0\.0\.1:\d+/metrics", line
    )
    assert found, (line, process.stderr.read() if process.stderr and process.poll() else "")
    return found[1]


def descendants(pid: int) -> list[int]:
    children = _children(pid)
    return children + [pid for child in children for pid in descendants(child)]


def wait_until_gone(pids: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(_is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(_is_alive, pids))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_while_requests_run(number: signal.Signals, start: Serve) -> None:
    before = shared_memory()
    process = start()
    url = ready_url(process)
    pids = descendants(process.pid)
    assert len(pids) >= 3  # tritonserver, encoder, decoder
    assert shared_memory() > before
    load = [threading.Thread(target=probe, args=(url, 20)) for _ in range(3)]
    for thread in load:
        thread.start()
    time.sleep(0.3)
    process.send_signal(number)
    began = time.monotonic()
    assert process.wait(timeout=5) == 0
    assert time.monotonic() - began < 5
    assert wait_until_gone(pids, 0.5)
    assert shared_memory() == before
    for thread in load:
        thread.join()


def test_killed_it_takes_its_children_along(start: Serve) -> None:
    process = start("--allow-shared-memory")
    with SlimSam(ready_url(process), shared_memory=True) as sam:  # else, a SharedMemoryError
        sam.embed(np.zeros((8, 8, 3), np.uint8))
    pids = descendants(process.pid)
    process.kill()
    assert wait_until_gone(pids, 10)


@pytest.mark.slow
def test_killed_while_it_computes_it_leaves_no_process(start: Serve) -> None:
    process = start()
    url = ready_url(process)
    pids = descendants(process.pid)
    clicks = np.random.default_rng(0).uniform(0, 50, (64, 1, 2))

    def click() -> None:
        with SlimSam(url, timeout=30) as sam, pytest.raises(SlimSamError):
            embedding = sam.embed(np.zeros((50, 50, 3), np.uint8))
            while True:
                sam.predict(embedding, points=clicks)

    thread = threading.Thread(target=click)
    thread.start()
    time.sleep(4)
    process.kill()
    assert wait_until_gone(pids, 40)
    thread.join()


def test_large_buffers_lie_in_large_pages(demo_server: EmbeddedServer) -> None:
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not enabled.exists() or "[never]" in enabled.read_text():
        pytest.skip("this kernel gives no large pages")
    with SlimSam(demo_server.grpc_url) as sam:
        sam.embed(np.zeros((8, 8, 3), np.uint8))
    kib = [
        int(re.findall(r"AnonHugePages: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())[0])
        for pid in demo_server.processes()
    ]
    assert max(kib) > 100 << 10


def test_a_dead_model_process_is_noticed(start: Serve) -> None:
    before = shared_memory()
    process = start()
    ready_url(process)
    tritonserver = _children(process.pid)[0]
    os.kill(_children(tritonserver)[0], signal.SIGKILL)
    _, error = process.communicate(timeout=10)
    assert process.returncode == 1
    assert error.startswith("slimsam-serve: error: a model's process has died")
    assert error.count("\n") == 1
    assert shared_memory() == before


def test_a_dead_tritonserver_is_noticed(start: Serve) -> None:
    process = start()
    ready_url(process)
    os.kill(_children(process.pid)[0], signal.SIGKILL)
    _, error = process.communicate(timeout=10)
    assert process.returncode == 1
    assert error.startswith("slimsam-serve: error: tritonserver ended with status -9")


def test_a_signal_during_the_start_ends_it(start: Serve) -> None:
    before = shared_memory()
    process = start()
    time.sleep(2.5)
    pids = descendants(process.pid)
    process.terminate()
    process.wait(timeout=8)
    assert wait_until_gone(pids, 1)
    assert shared_memory() == before


def test_a_taken_port(start: Serve) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for option in ("--grpc-port", "--metrics-port"):
            process = start(option, str(taken.getsockname()[1]))
            _, error = process.communicate(timeout=30)
            assert process.returncode == 1
            assert "expected a free port" in error and option in error
            assert error.count("\n") == 1


def test_a_repository_without_artefacts(
    start: Serve, empty_repository: Path, tmp_path: Path
) -> None:
    process = start("--model-repository", str(empty_repository), "--target", "torchscript")
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "slimsam_encoder/1/model.pt" in error and "slimsam-build --checkpoint demo" in error
    assert error.count("\n") == 1
    process = start("--model-repository", str(tmp_path / "nothing"))
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1 and "config.pbtxt" in error


@pytest.mark.parametrize("name", ["two words", "it's", "a(b)", "a;b", "a$b", "a&b", "ü"])
def test_a_path_that_triton_cannot_start_from(empty_repository: Path, name: str) -> None:
    unfit = empty_repository.rename(empty_repository.with_name(name))
    message = re.escape(name) + ".*: expected a path without spaces, .* give a link to it"
    with pytest.raises(ServerError, match=message):
        EmbeddedServer(unfit).start()


def test_a_path_with_signs_that_do_no_harm(demo_repository: Path, tmp_path: Path) -> None:
    link = tmp_path / "a-b_c~d#e=f,g@h+i%j^k:l.m"
    link.symlink_to(demo_repository)
    with EmbeddedServer(link) as server, SlimSam(server.grpc_url) as sam:
        assert sam.ready()


def test_a_damaged_artefact(empty_repository: Path) -> None:
    for model in ("slimsam_encoder", "slimsam_decoder"):
        for name in ("model.xml", "model.bin"):
            (empty_repository / model / "1" / name).write_bytes(b"not a model")
    with pytest.raises(ServerError, match="tritonserver ended with status"):
        EmbeddedServer(empty_repository).start()


def fake_environment(directory: Path, numpy_version: str) -> Path:
    """An environment whose NumPy has another version."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    site = next((directory / "lib").glob("python*/site-packages"))
    (site / "numpy").mkdir()
    (site / "numpy" / "__init__.py").touch()
    info = site / f"numpy-{numpy_version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: numpy\nVersion: {numpy_version}\n")
    return directory / "bin" / "python3"


def test_numpy_2_in_the_stubs_interpreter(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"expected NumPy 1 .* found 2\.4\.6"):
        check_interpreter("openvino", fake_environment(tmp_path / "two", "2.4.6"))
    with pytest.raises(ServerError, match="expects the package openvino"):
        check_interpreter("openvino", fake_environment(tmp_path / "one", "1.26.4"))


def test_a_missing_libpython(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from slimsam_server import tritonserver

    monkeypatch.setattr(tritonserver.sysconfig, "get_config_var", lambda name: str(tmp_path))
    monkeypatch.setattr(tritonserver.sys, "base_prefix", str(tmp_path))
    with pytest.raises(ServerError, match=r"expected libpython3\.\d+\.so\.1\.0"):
        tritonserver.libpython_directory()


def test_two_servers_do_not_disturb_each_other(demo_repository: Path) -> None:
    with EmbeddedServer(demo_repository) as first:
        with EmbeddedServer(demo_repository) as second:
            assert first.grpc_url != second.grpc_url
        assert probe(first.grpc_url, 30) is None


def test_admin_protocols_are_restricted(demo_repository: Path) -> None:
    with (
        EmbeddedServer(demo_repository) as server,
        triton.InferenceServerClient(server.grpc_url) as client,
    ):
        for call in (
            client.get_model_repository_index,
            lambda: client.load_model("slimsam"),
            client.get_system_shared_memory_status,
            client.get_trace_settings,
            client.get_log_settings,
        ):
            with pytest.raises(InferenceServerException, match="restricted"):
                call()
        assert client.is_server_ready()
