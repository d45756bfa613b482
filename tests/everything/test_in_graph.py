"""Everything mode with slimsam_masks: the records of NumPy, and no logits in its own process."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from inference_counts import settled_counts
from masks_in_graph import check_same, with_masks
from numpy.typing import NDArray

from slimsam_client import GenerateSettings, SettingsError, SlimSam, UploadedImage
from slimsam_client.calls import Call
from slimsam_client.contract import BULK_DECODER, DECODED_MASKS, MASKS, Arrays
from slimsam_client.everything.generator import calls_in_graph
from slimsam_client.everything.remote import to_png
from slimsam_client.serving.ahead import answered_ahead
from slimsam_client.serving.automatic import MaskSettings
from slimsam_server import EmbeddedServer

# As in the comparison with transformers' pipeline and SAM's generator.
PLAIN = GenerateSettings(points_per_side=8, pred_iou_thresh=0.75, stability_score_thresh=0.85)
CROPS = GenerateSettings(
    points_per_side=8,
    pred_iou_thresh=0.75,
    stability_score_thresh=0.85,
    crop_n_layers=1,
    crop_n_points_downscale_factor=2,
)
REGIONS = GenerateSettings(
    points_per_side=8,
    pred_iou_thresh=0.75,
    stability_score_thresh=0.85,
    min_mask_region_area=2000,
)
ALL = GenerateSettings(
    points_per_side=3, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1
)


@pytest.fixture(scope="module")
def masks_server(
    demo_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedServer]:
    directory = tmp_path_factory.mktemp("masks") / "repository"
    repository = shutil.copytree(demo_repository, directory, symlinks=True)
    with EmbeddedServer(with_masks(repository)) as server:
        yield server


@pytest.fixture
def sam_in_graph(masks_server: EmbeddedServer) -> Iterator[SlimSam]:
    with SlimSam(masks_server.grpc_url, timeout=300) as client:
        yield client


@pytest.mark.parametrize(
    ("number", "settings"),
    [(0, PLAIN), (1, PLAIN), (2, PLAIN), (1, CROPS), (1, REGIONS), (2, ALL)],
    ids=["first", "second", "third", "crops", "regions", "all masks"],
)
def test_the_records_are_those_of_numpy(
    sam: SlimSam,
    sam_in_graph: SlimSam,
    scenes: list[NDArray[np.uint8]],
    number: int,
    settings: GenerateSettings,
) -> None:
    expected = sam.generate(scenes[number], settings, on_server=True)
    assert len(expected) >= 3
    check_same(sam_in_graph.generate(scenes[number], settings, on_server=True), expected)


def test_the_records_of_a_reduced_picture(
    sam: SlimSam, sam_in_graph: SlimSam, scenes: list[NDArray[np.uint8]]
) -> None:
    pixels = scenes[0].repeat(2, axis=0).repeat(2, axis=1)  # 1024 x 1024
    reduced = UploadedImage("0" * 64, to_png(pixels), (1500, 1500), is_reduced=True)
    expected = sam.generate(reduced, PLAIN, on_server=True)
    assert len(expected) >= 3 and expected[0].segmentation.shape == (1500, 1500)
    check_same(sam_in_graph.generate(reduced, PLAIN, on_server=True), expected)


def test_everything_modes_process_receives_no_logits(
    masks_server: EmbeddedServer, sam_in_graph: SlimSam, scenes: list[NDArray[np.uint8]]
) -> None:
    """It asks the ensemble, whose outputs have none, and the decoder is asked by that alone."""
    models = (DECODED_MASKS.name, BULK_DECODER.name, MASKS.name)
    before = [settled_counts(masks_server.grpc_url, model)[0] for model in models]
    records = sam_in_graph.generate(scenes[0], PLAIN, on_server=True)
    # 64 points, 16 at a time; and those again whose masks are records.
    calls = 64 // 16 + -(-len(records) // 16)
    expected = [old + calls for old in before]
    after = [
        settled_counts(masks_server.grpc_url, model, least)[0]
        for model, least in zip(models, expected, strict=True)
    ]
    assert after == expected
    assert "low_res_masks" not in {tensor.name for tensor in DECODED_MASKS.outputs}
    with triton.InferenceServerClient(masks_server.grpc_url) as client:
        metadata = client.get_model_metadata(DECODED_MASKS.name)
    assert {tensor.name for tensor in metadata.outputs} == {
        tensor.name for tensor in DECODED_MASKS.outputs
    }


def test_where_nobody_asks_for_it_it_is_not_loaded(demo_server: EmbeddedServer) -> None:
    unused = (MASKS.name, DECODED_MASKS.name)
    assert not set(unused) & set(demo_server.models())
    with triton.InferenceServerClient(demo_server.grpc_url) as client:
        assert not any(client.is_model_ready(model) for model in unused)
        assert all(client.is_model_ready(model) for model in demo_server.models())


def test_a_repository_without_the_models(
    demo_repository: Path, sam: SlimSam, scenes: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    repository = shutil.copytree(demo_repository, tmp_path / "repository", symlinks=True)
    with_masks(repository)
    for model in (MASKS, DECODED_MASKS):
        shutil.rmtree(repository / model.name)
    with EmbeddedServer(repository) as server, SlimSam(server.grpc_url, timeout=120) as client:
        check_same(
            client.generate(scenes[0], PLAIN, on_server=True),
            sam.generate(scenes[0], PLAIN, on_server=True),
        )


def test_one_call_begins_while_another_is_under_way() -> None:
    begun = threading.Event()

    def answer(call: Call) -> Arrays:
        if call is calls[0]:
            assert begun.wait(60), "the second call waited for the first one's answer"
        else:
            begun.set()
        return call.arrays

    calls = [Call(DECODED_MASKS, {"chosen": np.array([number])}) for number in range(5)]
    answers = answered_ahead(iter(calls), answer)
    assert [int(arrays["chosen"][0]) for arrays in answers] == [0, 1, 2, 3, 4]


def test_after_an_error_no_further_call_begins() -> None:
    taken = []

    def calls() -> Iterator[Call]:
        for number in range(100):
            taken.append(number)
            yield Call(DECODED_MASKS, {"chosen": np.array([number])})

    def answer(call: Call) -> Arrays:
        raise ValueError("no answer")

    with pytest.raises(ValueError, match="no answer"):
        list(answered_ahead(calls(), answer))
    assert len(taken) == 2


def test_calls_grow_with_the_pictures_side() -> None:
    settings = GenerateSettings(points_per_side=32)
    calls = [calls_in_graph((side, side), settings) for side in (2000, 4000, 8000, 9000)]
    # Of a picture that is too large for the graph, NumPy makes the masks of 16 points at a time.
    assert calls == [65, 257, 1025, 65]


def test_what_makes_masks_is_one_of_two() -> None:
    with pytest.raises(SettingsError, match="masks_by: expected slimsam_masks or numpy, got 'gpu'"):
        MaskSettings("gpu")
