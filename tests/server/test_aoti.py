"""AOTInductor's packages on a real tritonserver, with the stand-in for Triton's PyTorch backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from raw_requests import decoder_inputs, infer, nan_prompts
from skimage import data

from slimsam_build.parity import BOUNDS
from slimsam_client import SlimSam
from slimsam_client.contract import DECODER
from slimsam_client.parity.figures import largest_difference
from slimsam_server import EmbeddedServer, ServerError

pytestmark = pytest.mark.slow


def test_clicks_are_torchscripts_and_batches_rows_of_their_own(demo_aoti: Path) -> None:
    masks, scores, rows = [], [], []
    several = [decoder_inputs(2, 2) for _ in range(3)]
    for index, inputs in enumerate(several):
        inputs["point_coords"] = inputs["point_coords"] * (index + 1) / 3
    batch = {name: np.concatenate([one[name] for one in several]) for name in several[0]}
    for target in ("torchscript", "torch_aoti"):
        with EmbeddedServer(demo_aoti, target) as server:
            with SlimSam(server.grpc_url, timeout=120) as sam:
                found = sam.segment(data.coffee(), points=[[300, 200]])
            masks.append(found.masks)
            scores.append(found.scores)
            rows.append(infer(server.grpc_url, DECODER.name, batch).as_numpy("low_res_masks"))
            assert nan_prompts(infer(server.grpc_url, DECODER.name, decoder_inputs(17))) == (
                [True] * 16
            )
            assert nan_prompts(infer(server.grpc_url, DECODER.name, decoder_inputs(0))) == []
    bounds = BOUNDS["fp32"]
    union = np.logical_or(*masks).sum(axis=(-2, -1))
    overlap = np.logical_and(*masks).sum(axis=(-2, -1)) / np.maximum(union, 1)
    assert overlap[union > 0].min() >= bounds.mask_iou_min
    assert largest_difference(*scores) <= bounds.score_error
    for found, expected in zip(rows[1], rows[0], strict=True):
        assert largest_difference(found, expected) <= 2e-3 * np.abs(expected).max()


def test_tritons_backends_of_24_10_do_not_take_it(demo_aoti: Path, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"got torch_aoti, which .* from 26\.07 on"):
        EmbeddedServer(demo_aoti, "torch_aoti", backends=tmp_path).start()
