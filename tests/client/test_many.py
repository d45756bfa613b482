"""Lists of images: their prompts, their limit, and what happens when some of them fail."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from slimsam_client import (
    AsyncSlimSam,
    BatchError,
    Embedding,
    ImageError,
    PromptError,
    ServerError,
    SettingsError,
    SlimSam,
)


def image(height: int, width: int) -> Any:
    return np.full((height, width, 3), 7, np.uint8)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_results_come_in_order(connect: Any, scripted: Any) -> None:
    _, url = scripted
    sam = connect(url)
    sizes = [(40 + i, 90 - i) for i in range(20)]
    embeddings = sam.embed([image(*size) for size in sizes])
    assert [embedding.original_size for embedding in embeddings] == sizes
    assert [one.original_size for one in sam.embed((image(4, 5),))] == [(4, 5)]
    predictions = sam.segment(
        [image(30, 40), image(50, 60), image(70, 80)],
        points=[[(1, 1)], [[(1, 1)]], None],
        box=[None, None, (1, 1, 9, 9)],
        multimask_output=False,
    )
    assert [prediction.masks.shape for prediction in predictions] == [
        (1, 30, 40),
        (1, 1, 50, 60),
        (1, 70, 80),
    ]
    assert sam.embed([]) == [] and sam.segment([], points=[]) == []


def test_no_more_than_concurrency_are_under_way(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    servicer.open.clear()
    sam = connect(url, concurrency=3)
    results: list[Embedding] = []
    call = threading.Thread(target=lambda: results.extend(sam.embed([image(8, 8)] * 7)))
    call.start()
    wait_until(lambda: len(servicer.seen) == 3)
    time.sleep(0.3)
    assert len(servicer.seen) == 3
    servicer.open.set()
    call.join()
    assert len(results) == len(servicer.seen) == 7


def test_bad_images_fail_alone(connect: Any, scripted: Any, tmp_path: Path) -> None:
    servicer, url = scripted
    images = [image(8, 9), tmp_path / "missing.jpg", image(8, 7), b"no image"]
    with pytest.raises(BatchError, match="2 of 4 images failed, the first at index 1: ImageError"):
        connect(url).embed(images)
    with pytest.raises(BatchError) as caught:
        connect(url).embed(images)
    error = caught.value
    assert {index: type(each) for index, each in error.errors.items()} == {
        1: ImageError,
        3: ImageError,
    }
    assert "missing.jpg" in str(error) and error.__cause__ is error.errors[1]
    sizes = [None if result is None else result.original_size for result in error.results]
    assert sizes == [(8, 9), None, (8, 7), None]
    assert len(servicer.seen) == 4
    again = pickle.loads(pickle.dumps(error))  # as a process pool does
    assert str(again) == str(error) and list(again.errors) == [1, 3]
    assert again.results[2].original_size == (8, 7)


def test_a_bad_prompt_and_a_failing_request_fail_alone(connect: Any, scripted: Any) -> None:
    servicer, url = scripted
    sam = connect(url, concurrency=1)
    sam.segment(image(8, 8), points=[(1, 1)])
    servicer.script["ModelInfer"] = [grpc.StatusCode.INTERNAL]
    with pytest.raises(BatchError) as caught:
        sam.segment([image(8, 8)] * 3, points=[[(1, 1)], [(9, 1)], [(2, 2)]])
    errors = {index: type(each) for index, each in caught.value.errors.items()}
    assert errors == {0: ServerError, 1: PromptError}
    assert caught.value.results[2].masks.shape == (3, 8, 8)


def test_wrong_prompts_of_an_image_lose_only_that_one(connect: Any, scripted: Any) -> None:
    _, url = scripted
    points: list[Any] = [
        [(1, 1)], "x", [(1, 1), (2,)], [[1, 10**400]], object(), [], [[[1, 1]], [[1, 99]]],
    ]  # fmt: skip
    with pytest.raises(BatchError) as caught:
        connect(url).segment([image(8, 8)] * len(points), points=points)
    errors = {index: type(each) for index, each in caught.value.errors.items()}
    assert errors == dict.fromkeys((1, 2, 3, 4, 6), PromptError)
    assert "prompt 1: point 0: " in str(caught.value.errors[6])
    shapes = [None if found is None else found.masks.shape for found in caught.value.results]
    assert shapes == [(3, 8, 8), None, None, None, None, (0, 3, 8, 8), None]


@pytest.mark.parametrize("concurrency", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_concurrency_is_an_integer_of_any_type(concurrency: Any, connect: Any) -> None:
    sam = connect(concurrency=concurrency)
    assert sam.concurrency == 3 and type(sam.concurrency) is int


@pytest.mark.parametrize("concurrency", [0, -1, 2.0, np.float32(2), "3", None, True, [3]])
def test_what_is_no_concurrency(concurrency: Any, connect: Any) -> None:
    with pytest.raises(SettingsError, match="concurrency: expected an integer of at least 1, got"):
        connect(concurrency=concurrency)


@pytest.mark.parametrize("client", [SlimSam, AsyncSlimSam])
def test_what_a_client_was_made_with_is_not_set_later(client: Any) -> None:
    sam = client("localhost:1", concurrency=2)
    for name, value in {"concurrency": 0, "url": "localhost:2"}.items():
        with pytest.raises(AttributeError):
            setattr(sam, name, value)
    other = sam.with_options(timeout=1)
    assert (sam.url, sam.concurrency) == (other.url, other.concurrency) == ("localhost:1", 2)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"points": [[(1, 1)]]}, "points: .* an entry for each of the 2 images, got 1"),
        ({"points": np.ones((2, 1, 2))}, "points: expected a list .* got ndarray"),
        ({"points": [[(1, 1)]] * 2, "labels": [1]}, "labels: expected a list .* got 1"),
        ({"box": (1, 1, 5, 5)}, "box: expected a list .* got 4"),
    ],
)
def test_prompts_of_other_lengths(prompts: Any, message: str, connect: Any) -> None:
    with pytest.raises(PromptError, match=message):
        connect().segment([image(8, 8)] * 2, **prompts)


def test_what_is_no_list_of_images(connect: Any) -> None:
    sam = connect()
    pixels = image(3, 4)
    rows = tuple(map(tuple, pixels[..., 0].tolist()))
    for numbers in (pixels.tolist(), rows, [1, 2, 3], list(pixels[0, :, 0]), [Fraction(1, 2)]):
        with pytest.raises(ImageError, match=r"got a list of numbers; .* numpy.asarray"):
            sam.embed(numbers)
        with pytest.raises(ImageError, match="got a list of numbers"):
            sam.segment(numbers, points=[[(1, 1)]] * len(numbers))
    with pytest.raises(ImageError, match=r"uint8 \(2, 3, 4, 3\).*several images as a list"):
        sam.embed(np.stack([pixels, pixels]))
    with pytest.raises(ImageError, match="got generator; give several images as a list"):
        sam.embed(pixels for _ in range(2))


def test_an_interrupt_begins_no_further_images(scripted: Any) -> None:
    servicer, url = scripted
    servicer.open.clear()
    program = f"""
import numpy
from slimsam_client import SlimSam
with SlimSam("{url}", concurrency=2) as sam:
    sam.embed([numpy.zeros((8, 8, 3), numpy.uint8)] * 40)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(servicer.seen) == 2)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: all(seen.ended.is_set() for seen in servicer.seen))
    servicer.open.set()
    _, said = process.communicate(timeout=60)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert len(servicer.seen) == 2
