"""`make load`: its requests and its arithmetic, and a run of it with the real perf_analyzer."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.first_call import first_call
from benchmarks.load import __main__ as load
from benchmarks.load.corpus import Corpus, to_json
from benchmarks.load.perf_analyzer import (
    LoadError,
    poisson_intervals,
    read_report,
    run_closed,
)
from benchmarks.load.pictures import pictures
from benchmarks.load.point import MODELS, closed_throughput
from slimsam_client import GenerateSettings
from slimsam_client.contract import CLICK, ENCODER, ENSEMBLE, IMAGE
from slimsam_client.operations import embed, generate, segment_in_one_call
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def some_pictures() -> list[NDArray[np.uint8]]:
    return list(islice(pictures(seed=0), 60))


def test_no_picture_comes_twice(some_pictures: list[NDArray[np.uint8]]) -> None:
    assert len({picture.tobytes() for picture in some_pictures}) == 60
    for picture in some_pictures:
        assert picture.dtype == np.uint8 and picture.shape[2] == 3
        assert max(picture.shape) == 1024 and picture.std() > 1


def test_a_seed_gives_the_same_pictures_again(some_pictures: list[NDArray[np.uint8]]) -> None:
    for picture, again in zip(islice(pictures(seed=0), 5), some_pictures, strict=False):
        np.testing.assert_array_equal(picture, again)


def test_requests_are_the_sdks_own(some_pictures: list[NDArray[np.uint8]]) -> None:
    call = first_call(segment_in_one_call(some_pictures[0], [(5, 7)]))
    entry = to_json(call)
    assert list(entry) == [tensor.name for tensor in ENSEMBLE.inputs]
    for tensor in ENSEMBLE.inputs:
        shape, array = entry[tensor.name]["shape"], call.arrays[tensor.name]
        assert len(shape) == len(tensor.dims) and tuple(shape) == array.shape
        raw = base64.b64decode(entry[tensor.name]["content"]["b64"])
        np.testing.assert_array_equal(np.frombuffer(raw, array.dtype).reshape(shape), array)


def test_strings_have_their_length_in_front(some_pictures: list[NDArray[np.uint8]]) -> None:
    file = io.BytesIO()
    Image.fromarray(some_pictures[0]).save(file, "JPEG")
    settings = GenerateSettings(8)
    entry = to_json(first_call(generate(file.getvalue(), settings, None, on_server=True)))
    for name, value in (
        ("image_bytes", file.getvalue()),
        ("settings", settings.to_json().encode()),
    ):
        raw = base64.b64decode(entry[name]["content"]["b64"])
        assert entry[name]["shape"] == [1]
        assert raw == len(value).to_bytes(4, "little") + value


def test_a_corpus_goes_on_where_it_stopped(tmp_path: Path) -> None:
    corpus = Corpus("no server is asked", GenerateSettings(8))
    images = []
    for number in range(2):
        path = tmp_path / f"{number}.json"
        corpus.write("encoder", 3, path)
        for entry in json.loads(path.read_text())["data"]:
            assert list(entry) == [tensor.name for tensor in ENCODER.inputs]
            images.append(entry["image"]["content"]["b64"])
    assert len(set(images)) == 6
    expected = to_json(first_call(embed(next(pictures(seed=0)))))
    assert images[0] == expected["image"]["content"]["b64"]


def written(corpus: Corpus, workload: str, count: int, path: Path) -> list[dict[str, bytes]]:
    corpus.write(workload, count, path)
    return [
        {name: base64.b64decode(value["content"]["b64"])[4:] for name, value in entry.items()}
        for entry in json.loads(path.read_text())["data"]
    ]


def test_uploads_are_hits_as_often_as_asked_for(
    demo_server: EmbeddedServer, tmp_path: Path
) -> None:
    corpus = Corpus(demo_server.grpc_url, GenerateSettings(8))
    for workload, misses in (("upload", 10), ("upload_90", 1), ("upload_100", 0)):
        seen: set[bytes] = set()
        for _ in range(2):  # after the first time, every picture that is kept has been sent
            sent = written(corpus, workload, 10, tmp_path / workload)
            assert all([*entry] == [IMAGE.inputs[0].name] for entry in sent)
            files = {entry["image_bytes"] for entry in sent}
            new, seen = files - seen, files | seen
        assert len(new) == misses


def test_clicks_are_on_kept_pictures(demo_server: EmbeddedServer, tmp_path: Path) -> None:
    corpus = Corpus(demo_server.grpc_url, GenerateSettings(8))
    sent = written(corpus, "click", 10, tmp_path / "click")
    assert all([*entry] == [tensor.name for tensor in CLICK.inputs[:2]] for entry in sent)
    assert len({entry["image_id"] for entry in sent}) == 8
    assert len({entry["prompt"] for entry in sent}) == 10
    assert all(json.loads(entry["prompt"])["format"] == "rle" for entry in sent)


def test_intervals_are_a_poisson_process_of_exactly_the_rate() -> None:
    intervals = np.array(poisson_intervals(2000, rate=5))
    assert intervals.mean() == pytest.approx(200_000, abs=1)
    # An exponential distribution's deviation is its mean, and its median is ln 2 of it.
    assert intervals.std() == pytest.approx(200_000, rel=0.1)
    assert np.median(intervals) == pytest.approx(200_000 * np.log(2), rel=0.1)
    np.testing.assert_allclose(poisson_intervals(2000, rate=10), intervals / 2, atol=1)


@pytest.mark.parametrize(("concurrency", "requests"), [(1, 4), (2, 12), (4, 40), (8, 32)])
def test_throughput_of_a_closed_loop(concurrency: int, requests: int) -> None:
    """A server that takes one request after another, 0.25 s each, answers four per second."""
    sent = [0.0] * concurrency
    latencies = []
    for number in range(requests):
        ended = 0.25 * (number + 1)
        latencies.append(ended - sent[number])
        sent.append(ended)
    found = closed_throughput(concurrency, float(np.mean(latencies)), requests)
    assert found == pytest.approx(4, rel=0.01)


COLUMNS = (
    "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,"
    "Server Compute Input,Server Compute Infer,Server Compute Output,Client Recv,p50 latency,"
    "p90 latency,p95 latency,p99 latency,Avg latency,request/response,response wait\n"
)
ROW = "2,9.99681,556,5793,43464,904,51470,771,5,104241,110707,111184,114829,102966,561,102230\n"


def test_report_is_read(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.write_text(COLUMNS + ROW)
    latency = read_report(path)
    assert latency.mean == 102.966
    assert latency.percentiles == {50: 104.241, 90: 110.707, 95: 111.184, 99: 114.829}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected one row, got 0"),
        (COLUMNS, "expected one row, got 0"),
        (COLUMNS + ROW + ROW, "expected one row, got 2"),
        (COLUMNS + "2,9.9\n", "expected latencies"),
        (COLUMNS.replace("p90", "p91") + ROW, "expected latencies"),
    ],
)
def test_report_that_says_something_else(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "report.csv"
    path.write_text(text)
    with pytest.raises(LoadError, match=message):
        read_report(path)


@pytest.fixture(scope="module")
def perf_analyzer() -> None:
    """Install it; not its environment's environment, in which this test may run."""
    done = subprocess.run(
        ["make", "--old-file=.venv/ready", ".load/ready"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def run_load(monkeypatch: pytest.MonkeyPatch, *options: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["load", *map(str, options)])
    return load.main()


@pytest.mark.slow
@pytest.mark.usefixtures("perf_analyzer")
def test_load(
    demo_server: EmbeddedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = run_load(
        monkeypatch, "--url", demo_server.grpc_url, "--results", tmp_path,
        "--seconds", "1", "--most-requests", "4", "--concurrency", "2", "--shares", "0.8",
        "--points-per-side", "2",
    )  # fmt: skip
    captured = capsys.readouterr()
    assert status == 0, captured.err
    lines = captured.out.splitlines()
    assert Counter(line.split()[0] for line in lines[1:-2]) == dict.fromkeys(MODELS, 2)
    directory = tmp_path / demo_server.grpc_url.replace(":", "-")
    for workload, model in MODELS.items():
        points = json.loads((directory / f"{workload}.json").read_text())["points"]
        for point, loop, level in zip(points, ("closed", "open"), ("2", "80"), strict=True):
            assert (point["loop"], point["requests"]) == (loop, 4)
            assert read_report(directory / f"{workload}-{loop}-{level}.csv").mean == pytest.approx(
                point["latency_ms"]["mean"], abs=0.01
            )
            served = point["models"][model]
            assert served["requests"] == served["inferences"] == 4 and served["failures"] == 0
            assert point["stages_ms"]["rest"] > 0
        assert points[0]["level"] == 2
        with Image.open(directory / f"{workload}.png") as chart:
            assert min(chart.size) > 400
    ensemble = json.loads((directory / "ensemble.json").read_text())["points"][0]["models"]
    took_part = [MODELS["encoder"], MODELS["decoder"], MODELS["ensemble"]]
    assert {name: served["requests"] for name, served in ensemble.items()} == dict.fromkeys(
        took_part, 4
    )


@pytest.mark.slow
@pytest.mark.usefixtures("perf_analyzer")
def test_batches_on_a_server_of_its_own(
    demo_torchscript: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "built_repository", lambda *_: nullcontext(demo_torchscript))
    assert 0 == run_load(
        monkeypatch, "--target", "torchscript", "--workloads", "decoder", "--results", tmp_path,
        "--seconds", "1", "--most-requests", "16", "--concurrency", "1", "4", "--shares",
    )  # fmt: skip
    (path,) = tmp_path.glob("*/demo-torchscript/decoder.json")
    points = json.loads(path.read_text())["points"]
    lone, four = (point["models"][MODELS["decoder"]] for point in points)
    assert lone["batch"] == 1 < four["batch"] <= 4


@pytest.mark.slow
@pytest.mark.usefixtures("perf_analyzer")
def test_a_request_that_fails_is_an_error(demo_server: EmbeddedServer, tmp_path: Path) -> None:
    request = {
        name: {"content": {"b64": base64.b64encode(value).decode()}, "shape": [1]}
        for name, value in (("image_bytes", b"\3\0\0\0GIF"), ("settings", b"\2\0\0\0{}"))
    }
    corpus = tmp_path / "corpus.json"
    corpus.write_text(json.dumps({"data": [request, request]}))
    with pytest.raises(LoadError, match="expected an image of one of the formats"):
        run_closed(
            demo_server.grpc_url, MODELS["everything"], corpus, 2, 1, tmp_path / "report.csv", 60
        )


def test_a_server_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--url", "127.0.0.1:1", "--workloads", "encoder", "--results", tmp_path)
    assert run_load(monkeypatch, *options) == 1
    assert "failed to connect to all addresses" in capsys.readouterr().err.lower()
    assert not list(tmp_path.rglob("*.json"))


def test_a_checkpoint_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_load(monkeypatch, "--checkpoint", "nonsense", "--results", tmp_path) == 1
    assert "checkpoint 'nonsense': expected" in capsys.readouterr().err


def test_without_perf_analyzer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.load.perf_analyzer.DIRECTORY", tmp_path)
    with pytest.raises(LoadError, match="not there; `make load` makes it"):
        run_closed("127.0.0.1:1", "any", tmp_path / "corpus.json", 1, 1, tmp_path / "r.csv", 1)
