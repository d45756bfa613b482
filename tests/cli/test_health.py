"""`slimsam health`, on real servers, and on fake ones that are unwell."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from slimsam_client.contract import AUTOMATIC, CLICK, IMAGE, INFO, MODELS
from slimsam_client.testing import FakeServer

NAMES = [model.name for model in (*MODELS, AUTOMATIC, IMAGE, CLICK)]

Run = Callable[..., subprocess.CompletedProcess[str]]
Main = Callable[..., tuple[int, str, str]]


def test_a_server_that_is_well(demo_server: object, slimsam: Run, url: str) -> None:
    done = slimsam("health")
    assert done.returncode == 0, done.stdout
    *models, precision, last = done.stdout.splitlines()
    assert [line.split()[0] for line in models] == NAMES
    assert all("ready, as in the contract, answered in" in line for line in models)
    assert last == f"healthy: {url}"
    assert precision.startswith("precision ") and "fp32 of demo for openvino" in precision
    said = json.loads(slimsam("health", "--json").stdout)
    assert said["healthy"] and said["live"] and said["url"] == url
    measured = said["precision"]
    assert measured["checked"] and measured["error"] is None
    assert (measured["checkpoint"], measured["precision"]) == ("demo", "fp32")
    assert measured["figures"]["mask_iou_min"] >= 0.98
    for model in said["models"]:
        assert model["ready"] and model["contract"] and 0 < model["seconds"] < 60


def test_no_server(main: Main) -> None:
    status, out, _ = main("health", "--url", "127.0.0.1:1")
    assert status == 1
    assert out.startswith("unhealthy: 127.0.0.1:1: ") and "nothing answers" in out
    said = json.loads(main("health", "--url", "127.0.0.1:1", "--json")[1])
    assert (said["healthy"], said["live"], said["models"]) == (False, False, [])
    assert "nothing answers" in said["error"]


@pytest.mark.parametrize("model", [AUTOMATIC.name, IMAGE.name, CLICK.name])
def test_a_server_may_do_without_a_model(model: str, main: Main) -> None:
    with FakeServer() as server:
        server.unready.add(model)
        status, out, _ = main("health", "--url", server.url)
        assert status == 0
        assert "not served, which is fine: clients " in out
        status, out, _ = main("health", "--json", "--url", server.url)
    assert status == 0
    said = json.loads(out)
    assert said["healthy"] and said["models"][NAMES.index(model)] == {
        "model": model, "ready": False, "contract": None, "seconds": None, "error": None,
    }  # fmt: skip


def test_quick_asks_the_ensemble_alone(main: Main) -> None:
    with FakeServer() as server:
        status, out, _ = main("health", "--quick", "--json", "--url", server.url)
        assert status == 0 and [model["model"] for model in json.loads(out)["models"]] == [
            "slimsam"
        ]
        assert {request.model for request in server.requests} == {"slimsam"}
        server.unready.add("slimsam")
        status, out, _ = main("health", "--quick", "--url", server.url)
    assert status == 1 and out.splitlines()[-1].startswith("unhealthy: ")


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
    assert "slimsam_decoder       wrong:" in out and "out of memory" in out
    assert out.splitlines()[-1] == f"unhealthy: {server.url}"


def test_what_the_server_did_not_say(main: Main) -> None:
    with FakeServer() as server:
        server.fail(AUTOMATIC.name, grpc.StatusCode.PERMISSION_DENIED, "who are you?")
        status, out, _ = main("health", "--json", "--url", server.url)
    assert status == 1
    last = json.loads(out)["models"][NAMES.index(AUTOMATIC.name)]
    assert "who are you?" in last.pop("error")
    assert last == {"model": AUTOMATIC.name, "ready": None, "contract": None, "seconds": None}


def test_another_contract(main: Main, demo_repository: Path, tmp_path: Path) -> None:
    from slimsam_server import EmbeddedServer

    repository = shutil.copytree(demo_repository, tmp_path / "repository", symlinks=True)
    for config in (repository / AUTOMATIC.name).rglob("*.pbtxt"):
        config.write_text(config.read_text().replace('"areas"', '"surfaces"'))
    with EmbeddedServer(repository) as server:
        status, out, _ = main("health", "--json", "--url", server.grpc_url)
    assert status == 1
    said = json.loads(out)
    assert not said["healthy"] and said["live"]
    wrong = said["models"].pop(NAMES.index(AUTOMATIC.name))
    well = said["models"]
    assert all(model["contract"] and model["error"] is None for model in well)
    assert wrong["ready"] and wrong["contract"] is False
    assert "expected output areas" in wrong["error"]


def test_a_server_that_does_not_say_what_it_serves(main: Main) -> None:
    with FakeServer() as server:
        server.unready.add(INFO.name)
        status, out, _ = main("health", "--url", server.url)
        assert status == 0
        assert "precision             not checked: slimsam_info is not served" in out
        said = json.loads(main("health", "--json", "--url", server.url)[1])
    assert said["healthy"] and not said["precision"]["checked"]


def rounded_to_bf16(model: Any) -> Any:
    """The same with weights that have lost what bf16 cannot hold."""
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.copy_(parameter.bfloat16().float())
    return model


def test_another_precision_than_the_proved_one_is_named(
    main: Main, demo_repository: Path, demo_model: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """Weights rounded to bf16 stand for a runtime that rounds, which not every processor has."""
    pytest.importorskip("slimsam_build")
    from slimsam_build.pipeline import export
    from slimsam_build.repository import BUILT
    from slimsam_build.targets import find_target
    from slimsam_server import EmbeddedServer, ServerError, launch

    repository = shutil.copytree(demo_repository, tmp_path / "repository", symlinks=True)
    folders = {spec: repository / spec.name / "1" for spec in BUILT}
    export(rounded_to_bf16(demo_model), find_target("openvino", "fp32"), "fp32", folders)
    with pytest.raises(ServerError, match="fp32.*embedding_error"):
        EmbeddedServer(repository).start()

    monkeypatch.setattr(launch, "check_parity", lambda url: None)
    with EmbeddedServer(repository) as server:
        status, out, _ = main("health", "--url", server.grpc_url)
        assert status == 1
        assert "precision             wrong: expected answers of demo in fp32" in out
        assert "embedding_error" in out
        status, out, _ = main("health", "--json", "--url", server.grpc_url)
    said = json.loads(out)
    assert status == 1 and not said["healthy"]
    assert all(model["error"] is None for model in said["models"])
    assert said["precision"]["checked"] and "embedding_error" in said["precision"]["error"]


def test_busy_is_healthy_where_that_is_allowed(main: Main) -> None:
    quick = ("health", "--quick", "--timeout", "1")
    for fault, word in (("busy", "Exceeds maximum queue size"), ("slow", "1 s")):
        with FakeServer() as server:
            if fault == "busy":
                server.fail("slimsam", grpc.StatusCode.UNAVAILABLE, word, times=1000)
            else:
                server.delay("slimsam", 60, times=1000)
            status, out, _ = main(*quick, "--url", server.url)
            assert status == 1, out
            status, out, _ = main(*quick, "--allow-busy", "--url", server.url)
            assert status == 0 and "busy: gave no answer in time" in out


def test_broken_and_away_are_not_busy(main: Main) -> None:
    quick = ("health", "--quick", "--timeout", "30", "--allow-busy", "--url")
    with FakeServer() as server:
        server.fail("slimsam", grpc.StatusCode.INTERNAL, "Stub process is not healthy", times=9)
        status, out, _ = main(*quick, server.url)
        assert status == 1 and "Stub process" in out
    assert main(*quick, "127.0.0.1:1")[0] == 1
