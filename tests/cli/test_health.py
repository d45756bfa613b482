"""`slimsam health`, on real servers, and on fake ones that are unwell."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from slimsam_client.contract import AUTOMATIC, MODELS
from slimsam_client.testing import FakeServer
from slimsam_server import EmbeddedServer

NAMES = [model.name for model in (*MODELS, AUTOMATIC)]

Run = Callable[..., subprocess.CompletedProcess[str]]
Main = Callable[..., tuple[int, str, str]]


def test_a_server_that_is_well(slimsam: Run, url: str) -> None:
    done = slimsam("health")
    assert done.returncode == 0, done.stdout
    *models, last = done.stdout.splitlines()
    assert [line.split()[0] for line in models] == NAMES
    assert all("ready, as in the contract, answered in" in line for line in models)
    assert last == f"healthy: {url}"
    said = json.loads(slimsam("health", "--json").stdout)
    assert said["healthy"] and said["live"] and said["url"] == url
    for model in said["models"]:
        assert model["ready"] and model["contract"] and 0 < model["seconds"] < 60


def test_no_server(main: Main) -> None:
    status, out, _ = main("health", "--url", "127.0.0.1:1")
    assert status == 1
    assert out.startswith("unhealthy: 127.0.0.1:1: ") and "nothing answers" in out
    said = json.loads(main("health", "--url", "127.0.0.1:1", "--json")[1])
    assert (said["healthy"], said["live"], said["models"]) == (False, False, [])
    assert "nothing answers" in said["error"]


def test_a_server_may_do_without_everything_mode(main: Main) -> None:
    with FakeServer() as server:
        server.unready.add(AUTOMATIC.name)
        status, out, _ = main("health", "--url", server.url)
        assert status == 0
        assert "not served, which is fine" in out
        status, out, _ = main("health", "--json", "--url", server.url)
    assert status == 0
    said = json.loads(out)
    assert said["healthy"] and said["models"][-1] == {
        "model": AUTOMATIC.name, "ready": False, "contract": None, "seconds": None, "error": None,
    }  # fmt: skip


@pytest.mark.parametrize("missing", [model.name for model in MODELS])
def test_a_model_that_is_missing(main: Main, missing: str) -> None:
    with FakeServer() as server:
        server.unready.add(missing)
        status, out, _ = main("health", "--json", "--url", server.url)
    said = json.loads(out)
    assert status == 1 and not said["healthy"] and said["live"]
    models = {model["model"]: model for model in said["models"]}
    assert not models[missing]["ready"] and missing in models[missing]["error"]
    assert all(model["error"] is None for name, model in models.items() if name != missing)


def test_a_model_that_fails(main: Main) -> None:
    with FakeServer() as server:
        server.fail("slimsam_decoder", grpc.StatusCode.INTERNAL, "out of memory")
        status, out, _ = main("health", "--url", server.url)
    assert status == 1
    assert "slimsam_decoder    wrong:" in out and "out of memory" in out
    assert out.splitlines()[-1] == f"unhealthy: {server.url}"


def test_what_the_server_did_not_say(main: Main) -> None:
    with FakeServer() as server:
        server.fail(AUTOMATIC.name, grpc.StatusCode.PERMISSION_DENIED, "who are you?")
        status, out, _ = main("health", "--json", "--url", server.url)
    assert status == 1
    last = json.loads(out)["models"][-1]
    assert "who are you?" in last.pop("error")
    assert last == {"model": AUTOMATIC.name, "ready": None, "contract": None, "seconds": None}


def test_another_contract(main: Main, demo_repository: Path, tmp_path: Path) -> None:
    repository = shutil.copytree(demo_repository, tmp_path / "repository")
    for config in (repository / AUTOMATIC.name).rglob("*.pbtxt"):
        config.write_text(config.read_text().replace('"areas"', '"surfaces"'))
    with EmbeddedServer(repository) as server:
        status, out, _ = main("health", "--json", "--url", server.grpc_url)
    assert status == 1
    said = json.loads(out)
    assert not said["healthy"] and said["live"]
    *well, wrong = said["models"]
    assert all(model["contract"] and model["error"] is None for model in well)
    assert wrong["ready"] and wrong["contract"] is False
    assert "expected output areas" in wrong["error"]
