"""Everything mode by slimsam_masks, on Triton's own backends."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from inference_counts import settled_counts
from masks_in_graph import check_same, with_masks

from slimsam_build.demo.scenes import draw_scene
from slimsam_client import GenerateSettings, SlimSam
from slimsam_client.contract import DECODED_MASKS
from slimsam_server import EmbeddedServer


def test_the_records_are_those_of_numpy(
    exported: Callable[[str, str], Path], backends: Path, target: str, tmp_path: Path
) -> None:
    image = np.ascontiguousarray(draw_scene(900101, 512).image[:384])
    settings = GenerateSettings(
        points_per_side=7,
        pred_iou_thresh=0.75,
        stability_score_thresh=0.85,
        crop_n_layers=1,
        crop_n_points_downscale_factor=2,
    )
    repository = with_masks(
        shutil.copytree(exported("demo", target), tmp_path / "repository", symlinks=True)
    )
    with (
        EmbeddedServer(repository, target, backends=backends) as server,
        SlimSam(server.grpc_url, timeout=300) as sam,
    ):
        expected = sam.generate(image, settings, on_server=False)
        assert len(expected) >= 3
        check_same(sam.generate(image, settings, on_server=True), expected)
        # 49 points of the picture, 9 of each crop; and those whose masks stay.
        assert settled_counts(server.grpc_url, DECODED_MASKS.name, 4 + 4)[0] >= 4 + 4
