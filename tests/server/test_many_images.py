"""Lists of images and of prompts, on a real tritonserver."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from clicking import click as ask_for_masks, masks_of, upload
from inference_counts import settled_counts
from numpy.typing import NDArray
from skimage import data

from slimsam_client import (
    BatchError,
    Embedding,
    ImageError,
    Prediction,
    PromptError,
    SlimSam,
)
from slimsam_client.contract import CLICK, DECODER, ENCODER
from slimsam_client.everything.remote import to_png
from slimsam_server import EmbeddedServer

TIMEOUT = 120.0
TRIES = 10


@pytest.fixture(scope="module")
def serve_demo(
    demo_torchscript: Path, demo_server: EmbeddedServer
) -> Iterator[Callable[[str], EmbeddedServer]]:
    """Serve the demo checkpoint for openvino or torchscript, once."""
    with EmbeddedServer(demo_torchscript, "torchscript") as server:
        yield {"openvino": demo_server, "torchscript": server}.__getitem__


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    coffee = data.coffee()
    return [np.ascontiguousarray(np.roll(coffee, 90 * i, axis=1)[: 400 - 9 * i]) for i in range(6)]


@pytest.fixture(scope="module")
def alone(
    serve_demo: Callable[[str], EmbeddedServer], pictures: list[NDArray[np.uint8]]
) -> tuple[list[Embedding], list[Prediction]]:
    """Each picture encoded, and segmented by its click, in a request of its own."""
    with SlimSam(serve_demo("torchscript").grpc_url, TIMEOUT) as sam:
        embeddings = [sam.embed(picture) for picture in pictures]
        return embeddings, [
            sam.predict(embedding, click(index)) for index, embedding in enumerate(embeddings)
        ]


def click(index: int) -> list[tuple[int, int]]:
    return [(60 * index + 30, 30 * index + 20)]


def test_the_server_batches_a_list(
    serve_demo: Callable[[str], EmbeddedServer],
    pictures: list[NDArray[np.uint8]],
    alone: tuple[list[Embedding], list[Prediction]],
    connect: Any,
) -> None:
    url = serve_demo("torchscript").grpc_url
    sam, batched = connect(url, TIMEOUT), False
    for _ in range(TRIES):  # no batch forms where requests come one by one, on a busy machine
        before = settled_counts(url, ENCODER.name)
        together = sam.embed(pictures)
        after = settled_counts(url, ENCODER.name, before[0] + len(pictures))
        assert after[0] - before[0] == len(pictures)
        batched = after[1] - before[1] < len(pictures)
        if batched:
            break
    assert batched
    for index, embedding in enumerate(together):  # in order: each is nearest to its own
        assert embedding.original_size == pictures[index].shape[:2]
        distances = [
            np.abs(embedding.image_embeddings.astype(np.float32) - other.image_embeddings).max()
            for other in alone[0]
        ]
        assert int(np.argmin(distances)) == index
        assert distances[index] < 1e-2 < sorted(distances)[1]


def test_a_list_with_a_bad_image_and_a_bad_prompt(
    serve_demo: Callable[[str], EmbeddedServer],
    pictures: list[NDArray[np.uint8]],
    alone: tuple[list[Embedding], list[Prediction]],
    connect: Any,
) -> None:
    images: list[Any] = list(pictures)
    images[1] = b"no image"
    points = [click(index) for index in range(len(images))]
    points[4] = [(9999, 5)]
    with pytest.raises(BatchError) as caught:
        connect(serve_demo("torchscript").grpc_url, TIMEOUT).segment(images, points=points)
    errors = {index: type(error) for index, error in caught.value.errors.items()}
    assert errors == {1: ImageError, 4: PromptError}
    for index, (expected, found) in enumerate(zip(alone[1], caught.value.results, strict=True)):
        if index in errors:
            assert found is None
        else:
            assert found.masks.shape == expected.masks.shape
            assert (found.masks != expected.masks).mean() < 1e-3
            assert np.abs(found.scores - expected.scores).max() < 1e-3


def prompts_of_many_lengths(height: int, width: int) -> tuple[Any, Any, Any]:
    """Points and labels of 1, 3, 7, 2 and 12 points, and a box for each."""
    rng = np.random.default_rng(0)
    lengths = (1, 3, 7, 2, 12)
    points = [(rng.uniform(0, 1, (count, 2)) * [width, height]).tolist() for count in lengths]
    labels = [rng.integers(0, 2, count).tolist() for count in lengths]
    corners = np.sort(rng.uniform(0, 1, (len(lengths), 2, 2)) * [width, height], axis=1)
    return points, labels, corners.reshape(-1, 4)


@pytest.mark.parametrize("with_boxes", [False, True])
@pytest.mark.parametrize("target", ["torchscript", "openvino"])
def test_prompts_of_different_lengths_are_answered_as_if_alone(
    target: str,
    with_boxes: bool,
    serve_demo: Callable[[str], EmbeddedServer],
    connect: Any,
) -> None:
    image = data.coffee()
    sam = connect(serve_demo(target).grpc_url, TIMEOUT)
    embedding = sam.embed(image)
    points, labels, boxes = prompts_of_many_lengths(*image.shape[:2])
    if with_boxes:
        points[0], labels[0] = [], []
        together = sam.predict(embedding, points, labels, boxes)
    else:
        together = sam.predict(embedding, points, labels)
    assert together.masks.shape == (5, 3, *image.shape[:2])
    for index in range(5):
        box = boxes[index] if with_boxes else None
        prompt = (points[index], labels[index]) if points[index] else (None, None)
        alone = sam.predict(embedding, *prompt, box)
        assert np.abs(alone.scores - together.scores[index]).max() < 1e-5
        # Logits travel as float16, where the least difference may round to the next number.
        logits = alone.low_res_logits, together.low_res_logits[index]
        step = np.spacing(np.maximum(*map(np.abs, logits)).astype(np.float16)).astype(np.float32)
        assert (np.abs(logits[0] - logits[1]) <= np.maximum(step, 5e-5)).all()
        assert (alone.masks != together.masks[index]).mean() < 1e-4
    # They differ from one another, so that a mix-up would show.
    scores = together.scores
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(scores, scores[1:], strict=False))


def test_clicks_of_several_users_make_batches(
    serve_demo: Callable[[str], EmbeddedServer],
    pictures: list[NDArray[np.uint8]],
    alone: tuple[list[Embedding], list[Prediction]],
) -> None:
    """On pictures that the server keeps; and each gets its own masks."""
    url = serve_demo("torchscript").grpc_url
    with triton.InferenceServerClient(url) as client:
        ids = [upload(client, to_png(picture)) for picture in pictures]
        before = [settled_counts(url, model.name) for model in (CLICK, DECODER)]
        with concurrent.futures.ThreadPoolExecutor(len(ids)) as pool:
            answers = [
                pool.submit(ask_for_masks, client, image_id, points=click(index), masks="all")
                for _ in range(8)
                for index, image_id in enumerate(ids)
            ]
        after = [
            settled_counts(url, model.name, counted[0] + len(answers))
            for model, counted in zip((CLICK, DECODER), before, strict=True)
        ]
    for (inferences, executions), (more, executed) in zip(before, after, strict=True):
        assert more - inferences == len(answers)
        assert executed - executions < len(answers)
    for place, answer in enumerate(answers):
        expected = alone[1][place % len(ids)]
        assert np.abs(answer.result()["scores"][0] - expected.scores).max() < 1e-3
        masks = masks_of(answer.result(), expected.masks.shape[-2:])[0]
        assert (masks != expected.masks).mean() < 1e-3
