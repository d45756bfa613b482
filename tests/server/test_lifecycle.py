"""slimsam-serve from start to end: its ready line, its errors, and that it cleans up."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from server_process import descendants, ready_url, shared_memory, wait_until_gone
from tritonclient.utils import InferenceServerException

from slimsam_client import SlimSam, SlimSamError
from slimsam_server import EmbeddedServer, ServerError, ports
from slimsam_server.checks import check_interpreter
from slimsam_server.monitor import Monitor
from slimsam_server.probe import probe
from slimsam_server.processes import children
from slimsam_server.triton_process import TritonProcess

Serve = Callable[..., subprocess.Popen[str]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_while_requests_run(
    number: signal.Signals, start: Serve, temporary: Path
) -> None:
    process = start()
    url = ready_url(process)
    pids = descendants(process.pid)
    assert len(pids) >= 3  # tritonserver, encoder, decoder
    regions = shared_memory(temporary)
    assert regions
    load = [threading.Thread(target=probe, args=(url, 20)) for _ in range(3)]
    for thread in load:
        thread.start()
    time.sleep(0.3)
    process.send_signal(number)
    assert process.wait(timeout=60) == 0
    assert wait_until_gone(pids)
    assert not regions & set(os.listdir("/dev/shm")) and not list(temporary.iterdir())
    for thread in load:
        thread.join()


def test_killed_it_takes_its_children_along(start: Serve) -> None:
    process = start("--allow-shared-memory")
    with SlimSam(ready_url(process), shared_memory=True) as sam:  # else, a SharedMemoryError
        sam.embed(np.zeros((8, 8, 3), np.uint8))
    pids = descendants(process.pid)
    process.kill()
    assert wait_until_gone(pids)


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
    assert wait_until_gone(pids)
    thread.join()


def kib_of_large_pages(pid: int) -> int:
    """Memory of a process that lies in large pages, as far as the kernel has any free."""
    found = resident = 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "Rss":
            resident = int(value.split()[0])
        elif name == "THPeligible":
            found += resident * int(value)
    return found


def test_large_buffers_lie_in_large_pages(demo_server: EmbeddedServer) -> None:
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not enabled.exists() or "[never]" in enabled.read_text():
        pytest.skip("this kernel gives no large pages")
    with SlimSam(demo_server.grpc_url) as sam:
        sam.embed(np.zeros((8, 8, 3), np.uint8))
    assert max(map(kib_of_large_pages, demo_server.processes())) > 100 << 10


def test_a_dead_model_process_is_noticed(start: Serve, temporary: Path) -> None:
    process = start("--no-restart")
    ready_url(process)
    regions = shared_memory(temporary)
    tritonserver = children(process.pid)[0]
    os.kill(children(tritonserver)[0], signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error == "slimsam-serve: error: a model's process has died\n"
    assert not regions & set(os.listdir("/dev/shm")) and not list(temporary.iterdir())


def test_a_dead_tritonserver_is_noticed(start: Serve) -> None:
    process = start("--no-restart")
    ready_url(process)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error == (
        "slimsam-serve: error: tritonserver ended with status -9 "
        "(SIGKILL; the kernel does so when memory runs out)\n"
    )


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("exit 1", "tritonserver ended with status 1; its log says: no room"),
        ("kill -9 $$", "tritonserver ended with status -9 (SIGKILL; the kernel does so when "),
    ],
    ids=["itself", "killed"],
)
def test_only_what_ends_by_itself_has_last_words(end: str, said: str, tmp_path: Path) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    shell = ["/bin/sh", "-c", f"echo '{now} E 1 x.cc:1] \"no room\"'; {end}"]
    process = TritonProcess(shell, dict(os.environ), tmp_path / "log")
    while (failure := process.failure()) is None:
        time.sleep(0.01)
    process.end(0)
    assert failure.startswith(said) and ("no room" in failure) == ("no room" in said)


def test_a_log_that_somebody_has_removed(tmp_path: Path) -> None:
    process = TritonProcess(["/bin/sleep", "3600"], dict(os.environ), tmp_path / "log")
    (tmp_path / "log").unlink()
    process.end(0)
    assert "tritonserver ended with status " in (process.failure() or "")


def test_where_no_thread_is_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(ServerError, match="expected to start it, got .*can't start new thread"):
        TritonProcess(["/bin/true"], dict(os.environ), None)
    with pytest.raises(ServerError, match="thread for probes, got can't start new thread"):
        Monitor(SlimSam("127.0.0.1:9"), []).__enter__()


def test_a_thread_that_ends_while_children_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: ["0", *listed(path)])  # which no thread has
    with subprocess.Popen(["/bin/sleep", "3600"]) as process:
        assert process.pid in children(os.getpid())
        process.kill()
    assert children(process.pid) == []


def test_a_signal_during_the_start_ends_it(start: Serve, temporary: Path) -> None:
    output = "ready"
    while output.startswith("ready"):  # it was so before the signal came
        process = start()
        while not (pids := descendants(process.pid)):
            assert process.poll() is None
            time.sleep(0.02)
        process.terminate()
        output, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (0, "")
    assert output == ""
    assert wait_until_gone(pids)
    assert not list(temporary.iterdir())


def test_a_taken_port(start: Serve) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for option in ("--grpc-port", "--metrics-port"):
            process = start(option, str(taken.getsockname()[1]))
            _, error = process.communicate(timeout=60)
            assert process.returncode == 1
            assert "expected a free port" in error and option in error
            assert error.count("\n") == 1


def test_a_repository_without_artifacts(
    start: Serve, empty_repository: Path, tmp_path: Path
) -> None:
    process = start("--model-repository", str(empty_repository), "--target", "torchscript")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert (
        "slimsam_encoder/1/model.pt" in error and "slimsam-build build --checkpoint demo" in error
    )
    assert error.count("\n") == 1
    process = start("--model-repository", str(tmp_path / "nothing"))
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and "config.pbtxt" in error


@pytest.mark.parametrize("name", ["two words", "it's", "a(b)", "a;b", "a$b", "a&b", "ü"])
def test_a_path_that_triton_cannot_start_from(empty_repository: Path, name: str) -> None:
    unfit = empty_repository.rename(empty_repository.with_name(name))
    message = re.escape(name) + ".*: expected a path without spaces, .* give a link to it"
    with pytest.raises(ServerError, match=message):
        EmbeddedServer(unfit).start()


def test_a_temporary_directory_that_triton_cannot_start_from(
    demo_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "my dir"))
    with pytest.raises(ServerError, match=r"temporary directory .*my dir': .* by TMPDIR"):
        EmbeddedServer(demo_repository).start()


def test_a_damaged_artifact(empty_repository: Path) -> None:
    for model in ("slimsam_encoder", "slimsam_decoder", "slimsam_decoder_bulk"):
        for name in ("model.xml", "model.bin"):
            (empty_repository / model / "1" / name).write_bytes(b"not a model")
    # Which of the three is named is not promised.
    message = r"tritonserver ended with status 1; its log says: failed to load 'slimsam_\w+' "
    with pytest.raises(ServerError, match=message):
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


def test_an_interpreter_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="expected to start the interpreter .* No such file"):
        check_interpreter("openvino", tmp_path / "python3")


def test_a_missing_libpython(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from slimsam_server import tritonserver

    monkeypatch.setattr(tritonserver.sysconfig, "get_config_var", lambda name: str(tmp_path))
    monkeypatch.setattr(tritonserver.sys, "base_prefix", str(tmp_path))
    with pytest.raises(ServerError, match=r"expected libpython3\.\d+\.so\.1\.0"):
        tritonserver.libpython_directory()


def test_admin_protocols_are_restricted(demo_server: EmbeddedServer) -> None:
    with triton.InferenceServerClient(demo_server.grpc_url) as client:
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


def test_started_twice_it_goes_on_once(demo_server: EmbeddedServer) -> None:
    url, processes = demo_server.grpc_url, demo_server.processes()
    with pytest.raises(ServerError, match="expected a server that is not started"):
        demo_server.start()
    assert (demo_server.grpc_url, demo_server.processes()) == (url, processes)
    assert demo_server.failure() is None


def test_a_forked_process_neither_stops_nor_starts_its_parents_server(
    demo_server: EmbeddedServer,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            demo_server.stop()
            with pytest.raises(ServerError, match=f"by process {os.getppid()}"):
                demo_server.start()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert demo_server.failure() is None
    assert probe(demo_server.grpc_url, 30) is None


def test_a_second_server_at_a_path_with_signs_started_by_a_thread_that_ends(
    demo_server: EmbeddedServer, demo_repository: Path, tmp_path: Path
) -> None:
    link = tmp_path / "a-b_c~d#e=f,g@h+i%j^k:l.m"
    link.symlink_to(demo_repository)
    server = EmbeddedServer(link)
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    while Path(f"/proc/self/task/{starter.native_id}").exists():
        time.sleep(0.01)  # the kernel's thread outlives Python's by a moment
    try:
        assert server.failure() is None
        assert probe(server.grpc_url, 30) is None
        assert demo_server.grpc_url != server.grpc_url
        pids = server.processes()
    finally:
        server.stop()
    assert wait_until_gone(pids)
    assert probe(demo_server.grpc_url, 30) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "tensorrt"}, "target: expected one of openvino, .*got 'tensorrt'"),
        ({"target": None}, "target: expected one of .*got None"),
        ({"target": ["openvino"]}, "target: expected one of"),
        ({"grpc_port": "8001"}, "grpc_port: expected an integer within 0..65535, got '8001'"),
        ({"metrics_port": 8002.0}, "metrics_port: expected an integer"),
        ({"grpc_port": True}, "grpc_port: expected an integer"),
        ({"grpc_port": -1}, "grpc_port: expected an integer within 0..65535, got -1"),
        ({"metrics_port": 70_000}, "metrics_port: expected an integer within 0..65535"),
        ({"model_repository": None}, "model_repository: expected a path, got None"),
        ({"model_repository": b"models"}, "model_repository: expected a path"),
        ({"backends": 3}, "backends: expected a path, got 3"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_an_argument_of_a_wrong_type_or_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ServerError, match=message):
        EmbeddedServer(**{"model_repository": "models", **arguments})


def test_a_port_is_an_integer_of_any_type(demo_repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = np.int64(taken.getsockname()[1])
        with pytest.raises(ServerError, match=f"grpc port {port}: expected a free port"):
            EmbeddedServer(demo_repository, grpc_port=port).start()  # type: ignore[arg-type]


def test_a_temporary_directory_without_room(start: Serve, temporary: Path) -> None:
    process = start(shell='ulimit -f 100; exec "$@"')  # of 1,024 bytes in bash, of 512 in others
    output, error = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    assert f"temporary directory {temporary}: expected room" in error and "File too large" in error
    assert error.count("\n") == 1 and not list(temporary.iterdir())


def test_a_port_that_is_held_is_given_to_nobody_and_a_server_listens_there() -> None:
    with ports.hold_free_port() as held:
        address = held.getsockname()
        for _ in range(2):  # before it has listened, and after
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(address)
            with socket.create_server(address):  # which sets SO_REUSEADDR
                assert ports.listens("{}:{}".format(*address))
            assert not ports.listens("{}:{}".format(*address))


@pytest.mark.parametrize("ephemeral", ["20000 60999\n", "1024 65535\n", "", None])
def test_a_free_port_is_none_that_the_kernel_gives_to_connections(
    ephemeral: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "range"
    if ephemeral is not None:
        file.write_text(ephemeral)
    monkeypatch.setattr(ports, "EPHEMERAL", file)
    for _ in range(20):
        port = ports.free_port()
        ports.check_port(port, "grpc")
        assert 10_000 <= port < (20_000 if ephemeral == "20000 60999\n" else 2**16)
