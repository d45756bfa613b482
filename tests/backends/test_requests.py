"""Requests of every sort to Triton's own backends: of several users, malformed, everything mode."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from inference_counts import settled_counts
from raw_requests import (
    IMPOSSIBLE_SIZES,
    LYING,
    MALFORMED,
    assert_forbidden_are_nan,
    decoder_inputs,
    ensemble_inputs,
    infer,
    lying_request,
    nan_prompts,
)
from skimage import data
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import InferenceServerException

from slimsam_build.demo.scenes import draw_scene
from slimsam_client import GenerateSettings, SlimSam, StaleEmbeddingError, UploadedImage
from slimsam_client.cli import main as slimsam
from slimsam_client.contract import AUTOMATIC, DECODER, ENCODER, ENSEMBLE, INFO, MODELS
from slimsam_server import EmbeddedServer
from slimsam_server.native_backends import BACKENDS

USERS = 16


def test_all_models_are_ready_on_the_real_backend(server: EmbeddedServer) -> None:
    with triton.InferenceServerClient(server.grpc_url) as client:
        for model in (*MODELS, AUTOMATIC, INFO):
            assert client.is_model_ready(model.name)
        # Triton calls no model ready whose warm-up failed.
        for model in (ENCODER, DECODER):
            config = client.get_model_config(model.name).config
            assert config.backend == BACKENDS[server.target] and config.model_warmup
    maps = Path(f"/proc/{server.processes()[0]}/maps").read_text()
    assert f"libtriton_{BACKENDS[server.target]}.so" in maps


def test_health(server: EmbeddedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert slimsam(["health", "--url", server.grpc_url]) == 0, capsys.readouterr()


def test_an_embedding_of_another_checkpoint_is_refused(server: EmbeddedServer) -> None:
    """By Triton itself: the backends know nothing of it."""
    with SlimSam(server.grpc_url, 120) as sam:
        embedding = sam.embed(draw_scene(0).image)
        assert sam.predict(embedding, [(500, 400)]).masks.shape[0] == 3
        other = dataclasses.replace(embedding, digest="0" * 64)
        with pytest.raises(StaleEmbeddingError, match="version 4503599627370496 is not found"):
            sam.predict(other, [(500, 400)])


@pytest.mark.parametrize("what", LYING)
def test_a_shape_that_lies_hurts_nobody_else(server: EmbeddedServer, what: str) -> None:
    if server.target == "torchscript":
        pytest.skip("PyTorch's backend of 24.10 ends the server, as docs/deployment.md says")
    good = decoder_inputs()
    expected = infer(server.grpc_url, DECODER.name, good).as_numpy("low_res_masks")
    with grpc.insecure_channel(server.grpc_url) as channel, pytest.raises(grpc.RpcError) as error:
        GRPCInferenceServiceStub(channel).ModelInfer(lying_request(*LYING[what]), timeout=60)
    assert error.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
    after = infer(server.grpc_url, DECODER.name, good).as_numpy("low_res_masks")
    assert np.array_equal(after, expected)


def test_clicks_on_uploads_are_those_on_embeddings(server: EmbeddedServer) -> None:
    """One at a time to the bit: models in Python that keep pictures, before real decoders."""
    prompts: list[dict[str, Any]] = [
        {"points": [[220, 130]]},
        {"points": [[220, 130], [300.5, 300]], "labels": [1, 0], "multimask_output": False},
        {"box": [[100, 80, 400, 320], [0, 0, 50, 60]]},
    ]
    with SlimSam(server.grpc_url, timeout=120) as sam:
        image, embedding = sam.upload(data.coffee()), sam.embed(data.coffee())
        assert isinstance(image, UploadedImage)
        for prompt in prompts:
            found, expected = sam.predict(image, **prompt), sam.predict(embedding, **prompt)
            assert np.array_equal(found.scores, expected.scores)
            assert np.array_equal(found.masks, expected.masks)
        first = sam.predict(image, [[220, 130]])
        refined = sam.predict(image, box=[100, 80, 400, 320], mask_input=first.best_mask_ids)
        logits = sam.predict(embedding, [[220, 130]]).best_logits
        expected = sam.predict(embedding, box=[100, 80, 400, 320], mask_input=logits)
        assert np.array_equal(refined.masks, expected.masks)
        calls = settled_counts(server.grpc_url, DECODER.name)
        with concurrent.futures.ThreadPoolExecutor(USERS) as pool:
            points = [[[30 * i + 20, 15 * i + 20]] for i in range(USERS)]
            together = list(pool.map(lambda point: sam.predict(image, point), points))
        assert [len(one.scores) for one in together] == [3] * USERS
        after = settled_counts(server.grpc_url, DECODER.name, calls[0] + USERS)
        assert after[0] - calls[0] == USERS


def test_clicks_of_several_users_are_answered_in_batches(server: EmbeddedServer) -> None:
    url, image = server.grpc_url, data.coffee()
    clicks = [(30 * i + 20, 15 * i + 20) for i in range(USERS)]
    with SlimSam(url, timeout=120) as sam:
        embeddings = [sam.embed(image), sam.embed(image[:, ::-1])]
        alone = [sam.predict(embeddings[i % 2], points=[clicks[i]]) for i in range(USERS)]

        def click(index: int) -> Any:
            return sam.predict(embeddings[index % 2], points=[clicks[index]])

        batched = False
        for _ in range(5):  # no batch forms where requests come one by one, on a busy machine
            before = settled_counts(url, DECODER.name)
            with concurrent.futures.ThreadPoolExecutor(USERS) as pool:
                together = list(pool.map(click, range(USERS)))
            after = settled_counts(url, DECODER.name, before[0] + USERS)
            for mine, expected in zip(together, alone, strict=True):
                assert np.abs(mine.scores - expected.scores).max() < 1e-3
                assert (mine.masks != expected.masks).mean() < 1e-3
            assert after[0] - before[0] == USERS
            batched = after[1] - before[1] < USERS
            if batched:
                break
    assert batched == (server.target != "openvino")


def test_a_malformed_request_hurts_no_other(server: EmbeddedServer) -> None:
    good = decoder_inputs()
    expected = infer(server.grpc_url, DECODER.name, good).as_numpy("low_res_masks")
    for name, make in MALFORMED.items():
        with pytest.raises(InferenceServerException) as caught:
            infer(server.grpc_url, DECODER.name, make())
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT", name
        again = infer(server.grpc_url, DECODER.name, good).as_numpy("low_res_masks")
        assert np.array_equal(again, expected), name


def test_forbidden_values_are_answered_with_nan(server: EmbeddedServer) -> None:
    assert_forbidden_are_nan(server.grpc_url)


@pytest.mark.parametrize("size", IMPOSSIBLE_SIZES)
def test_an_impossible_image_size_is_answered_with_nan(
    server: EmbeddedServer, size: tuple[int, int]
) -> None:
    arrays = {**ensemble_inputs(2), "input_size": np.array([size], np.int32)}
    assert nan_prompts(infer(server.grpc_url, ENSEMBLE.name, arrays)) == [True, True]


def test_everything_mode_equals_the_clients_own(server: EmbeddedServer) -> None:
    image = np.ascontiguousarray(draw_scene(900101, 512).image[:384])
    settings = GenerateSettings(
        points_per_side=7, pred_iou_thresh=0.75, stability_score_thresh=0.85
    )
    with SlimSam(server.grpc_url, timeout=300) as sam:
        here, there = (
            [dataclasses.astuple(record) for record in sam.generate(image, settings, on_server=on)]
            for on in (False, True)
        )
    assert len(here) >= 3 and here == there
