"""Servers of two checkpoints that are asked by turns, as during a roll-out: no mask is of both."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import copy_repository, start_faster

from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.pipeline import build
from slimsam_client import GenerateSettings, SlimSam, StaleEmbeddingError
from slimsam_client.contract import DECODED_MASKS, MASKS
from slimsam_server import EmbeddedServer

PICTURE = Path(__file__).parents[2] / "examples" / "scene.png"
POINTS = [(914, 256)]
SETTINGS = GenerateSettings(points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0)
ROUNDS, MOST_ROUNDS = 2, 20
"""The server that is connected to first has all requests until the other one is, too."""


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server of the demo's geometry with other weights."""
    directory = tmp_path_factory.mktemp("other")
    model = copy.deepcopy(load_checkpoint("demo").model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            weights *= 1 + 0.15 * torch.randn(weights.shape, generator=generator)
    model.save_pretrained(directory / "checkpoint")
    repository = copy_repository(directory / "models")
    for spec in (MASKS, DECODED_MASKS):  # which have nothing of a checkpoint
        shutil.rmtree(repository / spec.name)
    build(load_checkpoint(str(directory / "checkpoint")), "openvino", "fp32", repository)
    start_faster(*repository.glob("*/config.pbtxt"), *repository.glob("*/configs/*.pbtxt"))
    with EmbeddedServer(repository) as server:
        yield server


def masks_of(sam: Any) -> dict[str, np.ndarray]:
    """What each way to a mask gives."""
    embedding = sam.embed(PICTURE)
    picture = sam.upload(PICTURE)
    records = sam.generate(PICTURE, SETTINGS, on_server=False)
    return {
        "predict": sam.predict(embedding, POINTS).masks,
        "segment": sam.segment(PICTURE, POINTS).masks,
        "segment many": sam.segment(PICTURE, [[point] for point in POINTS * 17]).masks,
        "upload": sam.predict(picture, POINTS).masks,
        "everything": np.stack([record.segmentation for record in records]),
    }


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether masks are of one checkpoint: what shares a batch may differ at edges."""
    return one.shape == other.shape and bool(np.mean(one != other) < 1e-3)


def test_each_mask_is_of_one_checkpoint(
    demo_server: EmbeddedServer, other_server: EmbeddedServer, connect: Callable[..., Any]
) -> None:
    urls = [demo_server.grpc_url, other_server.grpc_url]
    kept, expected = [], []
    for url in urls:
        with SlimSam(url, 120) as direct:
            kept.append((direct.embed(PICTURE), direct.upload(PICTURE)))
            expected.append(masks_of(direct))
    assert kept[0][0].digest != kept[1][0].digest
    assert not any(same(expected[0][way], expected[1][way]) for way in expected[0])
    seen: set[int] = set()
    sam = connect(f"ipv4:{','.join(urls)}", 120)
    for number in range(1, MOST_ROUNDS + 1):
        for way, masks in masks_of(sam).items():
            of = [same(masks, one[way]) for one in expected]
            assert sum(of) == 1, way
            seen.add(of.index(True))
        for (embedding, picture), one in zip(kept, expected, strict=True):
            assert same(sam.predict(embedding, POINTS).masks, one["predict"])
            assert same(sam.predict(picture, POINTS).masks, one["upload"])
        if number >= ROUNDS and seen == {0, 1}:
            break
    assert seen == {0, 1}


def test_what_no_server_has_any_more_is_said(
    demo_server: EmbeddedServer, other_server: EmbeddedServer, connect: Callable[..., Any]
) -> None:
    with SlimSam(demo_server.grpc_url, 120) as old:
        embedding, picture = old.embed(PICTURE), old.upload(PICTURE)
    sam = connect(other_server.grpc_url, 120)
    with pytest.raises(StaleEmbeddingError, match="embed the image again"):
        sam.predict(embedding, POINTS)
    again = sam.predict(sam.embed(PICTURE), POINTS).masks
    assert same(sam.predict(picture, POINTS).masks, again)  # it was sent again
