from __future__ import annotations

import hashlib
import io
import itertools
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from slimsam_client import ServerUnavailableError, SlimSam
from slimsam_client.encodings import from_png, from_polygons, from_rle, to_box
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
CLICK = {"points": [[914, 256]]}
CACHED = 2  # images that the service's cache holds
UPLOAD_BYTES = 2_000_000


@contextmanager
def serving(url: str, *arguments: object) -> Iterator[httpx2.Client]:
    """Run the service as a user does; it must end well, and have nothing to complain about."""
    command = [sys.executable, "-u", ROOT / "examples" / "fastapi_service.py"]
    command += ["--url", url, "--port", 0, *arguments]
    with subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"running on (http://\S+)", line):
                    break
            else:
                raise AssertionError("the service did not start")
            with ThreadPoolExecutor(1) as reader:
                log = reader.submit(process.stderr.read)
                try:
                    with httpx2.Client(base_url=found[1], timeout=120) as http:
                        yield http
                    process.send_signal(signal.SIGINT)
                    assert "Traceback" not in log.result(30)
                    assert process.wait(30) == 0
                finally:
                    process.kill()  # or the reader would wait for more
        finally:
            process.kill()


@pytest.fixture(scope="module")
def service(demo_server: EmbeddedServer) -> Iterator[httpx2.Client]:
    limits = ["--cache-bytes", CACHED * 2**21, "--upload-bytes", UPLOAD_BYTES]
    with serving(demo_server.grpc_url, *limits) as http:
        yield http


@pytest.fixture(scope="module")
def scenes(scene_pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Pictures that no test has posted yet: the scene, moved to the left again and again."""
    return (np.roll(scene_pixels, -5 * number, axis=1) for number in itertools.count())


def png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def post(http: httpx2.Client, image: bytes) -> str:
    """Post an image and give its id."""
    answer = http.post("/images", content=image)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def send(http: httpx2.Client, request: bytes) -> socket.socket:
    """Send bytes to the service."""
    connection = socket.create_connection((http.base_url.host, http.base_url.port), timeout=120)
    connection.sendall(request)
    return connection


def posting(path: str, length: int) -> bytes:
    """The head of a request."""
    return f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n".encode()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def encodings(metric: Callable[..., int]) -> int:
    """How many images were encoded, once the server has counted what it has answered."""
    before = -1
    while (count := metric("nv_inference_request_success")) != before:
        before = count
        time.sleep(0.3)
    return count


def test_masks_in_each_format(
    service: httpx2.Client, sam: SlimSam, scenes: Iterator[NDArray[np.uint8]]
) -> None:
    image = next(scenes)
    posted = service.post("/images", content=png(image)).json()
    assert posted == {"id": hashlib.sha256(png(image)).hexdigest(), "width": 1024, "height": 768}
    url = f"/images/{posted['id']}/masks"
    embedding = sam.embed(image)
    expected = sam.predict(embedding, **CLICK)
    mask = expected.best_masks

    (found,) = service.post(url, json=CLICK).json()["masks"]
    assert found["score"] == pytest.approx(expected.scores.max(), abs=1e-4)
    assert (found["area"], tuple(found["box"])) == (mask.sum(), to_box(mask))
    np.testing.assert_array_equal(from_rle(found["rle"]), mask)

    (found,) = service.post(url, params={"format": "polygons"}, json=CLICK).json()["masks"]
    drawn = from_polygons(found["polygons"]["coordinates"], image.shape[:2])
    np.testing.assert_array_equal(drawn, mask)

    answer = service.post(url, params={"format": "png"}, json=CLICK)
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(from_png(answer.content), mask)

    boxes = [[411, 463, 673, 619], [670, 268, 841, 446]]
    several = {"box": boxes, "multimask_output": False}
    masks = service.post(url, json=several).json()["masks"]
    expected = sam.predict(embedding, **several)
    np.testing.assert_array_equal([from_rle(found["rle"]) for found in masks], expected.best_masks)


def test_health(service: httpx2.Client) -> None:
    answer = service.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_mistakes_of_callers(service: httpx2.Client, scene: Path) -> None:
    url = f"/images/{post(service, scene.read_bytes())}/masks"
    boxes = [[1, 1, 9, 9], [1, 1, 99, 99]]
    large = io.BytesIO()
    Image.new("1", (5000, 4000)).save(large, "PNG")

    def said(status: int, path: str, **request: Any) -> str:
        answer = service.post(path, **request)
        assert answer.status_code == status, answer.text
        return str(answer.json()["detail"])

    assert "expected an image" in said(400, "/images", content=b"no picture")
    assert "16,000,000 pixels" in said(400, "/images", content=large.getvalue())
    assert "got (1025, 5)" in said(400, url, json={"points": [[1025, 5]]})
    assert "none of them" in said(400, url, json={})
    assert "one prompt" in said(400, f"{url}?format=png", json={"box": boxes})
    assert "post it" in said(404, "/images/unknown/masks", json=CLICK)
    assert "ponts" in said(422, url, json={"ponts": [[1, 1]]})
    assert "at most 16" in said(422, url, json={"box": [[1, 1, 9, 9]] * 17})
    assert "timeout" in said(422, f"{url}?timeout=-1", json=CLICK)
    typed = {"content-type": "application/json"}
    assert "JSON" in said(422, url, content=b"{", headers=typed)


def test_size_of_uploads(service: httpx2.Client) -> None:
    just_allowed = service.post("/images", content=bytes(UPLOAD_BYTES))
    assert just_allowed.status_code == 400  # and no picture
    for path, limit in (("/images", UPLOAD_BYTES), ("/images/unknown/masks", 2**16)):
        in_chunks = service.post(path, content=iter([bytes(limit), b"."]))
        assert in_chunks.status_code == 413
        # Who says beforehand how much it will be is told at once.
        request = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {limit + 1}\r\n\r\n"
        with send(service, request.encode()) as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_deadline(service: httpx2.Client, scenes: Iterator[NDArray[np.uint8]]) -> None:
    image = png(next(scenes))
    late = service.post("/images?timeout=0.001", content=image)
    assert late.status_code == 504
    assert late.json() == {"detail": "expected an answer within 0.001 s, got none"}
    post(service, image)


def test_callers_who_go_away(
    service: httpx2.Client, scenes: Iterator[NDArray[np.uint8]], metric: Callable[..., int]
) -> None:
    def waiting() -> int:
        return metric("nv_inference_pending_request_count")

    images = [png(next(scenes)) for _ in range(8)]
    encoded = encodings(metric)
    cancelled = metric("nv_inference_request_failure", "CANCELED")
    url = "/images?timeout=60"
    connections = [send(service, posting(url, len(image)) + image) for image in images]
    connections.append(send(service, posting(url, 1000)))  # without its body
    wait_for(lambda: waiting() >= 3)  # of which Triton has fetched some already, and keeps them
    for connection in connections:
        connection.close()
    wait_for(lambda: waiting() == 0)
    post(service, png(next(scenes)))  # the service and the server go on
    assert metric("nv_inference_request_failure", "CANCELED") - cancelled >= 1
    assert encodings(metric) - encoded <= 1 + len(images) - 1


def test_the_same_image_is_encoded_once(
    service: httpx2.Client, scenes: Iterator[NDArray[np.uint8]], metric: Callable[..., int]
) -> None:
    image = png(next(scenes))
    encoded = encodings(metric)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: post(service, image), range(4)))) == 1
    assert encodings(metric) - encoded == 1


def test_another_takes_over_who_posted_the_same_image(
    service: httpx2.Client, scenes: Iterator[NDArray[np.uint8]], metric: Callable[..., int]
) -> None:
    image = png(next(scenes))
    encoded = encodings(metric)
    first = send(service, posting("/images?timeout=60", len(image)) + image)
    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(post, service, image) for _ in range(3)]
        time.sleep(0.1)
        first.close()
        assert len({other.result() for other in others}) == 1
    assert encodings(metric) - encoded <= 2


def test_more_images_than_the_cache_holds(
    service: httpx2.Client, sam: SlimSam, scenes: Iterator[NDArray[np.uint8]]
) -> None:
    """Masks asked for while embeddings come and go: right ones or a 404, never another image's."""
    images = [next(scenes) for _ in range(CACHED + 1)]
    encoded = [png(image) for image in images]
    ids = [hashlib.sha256(data).hexdigest() for data in encoded]
    expected = [sam.segment(image, **CLICK).best_masks for image in images]
    statuses: list[int] = []

    def click(number: int) -> None:
        which = number % len(images)
        for _ in range(2):
            answer = service.post(f"/images/{ids[which]}/masks?timeout=60", json=CLICK)
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                (found,) = answer.json()["masks"]
                np.testing.assert_array_equal(from_rle(found["rle"]), expected[which])
                return
            assert answer.status_code == 404
            assert service.post("/images?timeout=60", content=encoded[which]).status_code == 200

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(click, range(24)))
    assert statuses.count(404) > CACHED
    assert statuses.count(200) > CACHED


def test_without_a_server(scene: Path) -> None:
    with serving("127.0.0.1:1") as service:
        for answer in (
            service.get("/health"),
            service.post("/images", content=scene.read_bytes()),
        ):
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "2"
            assert answer.json() == {"detail": ServerUnavailableError.__doc__}
