"""The parity gate: it passes what is right, and fails and removes what is wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slimsam_build import parity
from slimsam_build.checkpoints import Checkpoint, load_checkpoint
from slimsam_build.cli import main
from slimsam_build.digest import sha256_of
from slimsam_build.errors import ParityError
from slimsam_build.graphs import Decoder, Encoder
from slimsam_build.pipeline import build, gate
from slimsam_build.scratch import find_leftovers
from slimsam_build.targets import TARGETS
from slimsam_build.targets.target import Job
from slimsam_client.contract import DECODER, ENCODER, ModelSpec

pytestmark = pytest.mark.slow

FILES = {
    "openvino": ["model.bin", "model.xml", "model.xml.json"],
    "torchscript": ["model.pt", "model.pt.json"],
    "onnxruntime": ["model.onnx", "model.onnx.json"],
}


@pytest.fixture(scope="module")
def demo() -> Checkpoint:
    return load_checkpoint("demo")


def artifacts(repository: Path, spec: ModelSpec) -> dict[str, str]:
    folder = repository / spec.name / "1"
    return {file.name: sha256_of(file) for file in folder.iterdir() if file.name != ".gitkeep"}


def test_targets_pass_and_do_not_disturb_each_other(
    demo: Checkpoint, demo_repository: Path, tmp_path: Path
) -> None:
    repository = shutil.copytree(demo_repository, tmp_path / "copy", symlinks=True)
    seen: dict[str, str] = {}
    for target, files in FILES.items():
        if target != "openvino":  # which is built
            build(demo, target, "fp32", repository)
        found = artifacts(repository, ENCODER)
        assert set(found) == set(seen) | set(files)
        assert all(found[name] == digest for name, digest in seen.items())
        seen = found
        report = json.loads((repository / DECODER.name / "1" / files[-1]).read_text())
        assert report["target"] == target
        assert report["checkpoint"]["sha256"] == demo.sha256
        assert report["parity"]["mask_iou_mean"] >= 0.999
        for name, entry in report["files"].items():
            path = repository / DECODER.name / "1" / name
            assert entry == {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    assert find_leftovers(repository) == []


def test_bf16_is_gated_by_its_own_bounds(
    slimsam_77_checkpoint: Checkpoint, empty_repository: Path
) -> None:
    built = build(slimsam_77_checkpoint, "openvino", "bf16", empty_repository)
    assert built.measured.figures.mask_iou_mean >= parity.BOUNDS["bf16"].mask_iou_mean
    report = json.loads((empty_repository / ENCODER.name / "1" / "model.xml.json").read_text())
    assert report["precision"] == "bf16"


class Swapped(Decoder):
    """A decoder whose masks are in another order."""

    def forward(self, *inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        masks, scores = super().forward(*inputs)
        return masks.flip(2), scores.flip(2)


class Changed(Decoder):
    """A decoder whose weights are not the checkpoint's."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        random = torch.Generator().manual_seed(0)
        self.output_tokens += 0.2 * torch.randn(self.output_tokens.shape, generator=random)


class NotANumber(Decoder):
    """A decoder that overflows."""

    def forward(self, *inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        masks, scores = super().forward(*inputs)
        return masks * float("nan"), scores


@pytest.mark.parametrize("wrong", [Swapped, Changed, NotANumber])
def test_a_wrong_decoder_fails(
    wrong: type[Decoder], demo: Checkpoint, demo_repository: Path, tmp_path: Path
) -> None:
    target = TARGETS["openvino"]
    graph = wrong(demo.model).eval()
    target.export(graph, DECODER, tmp_path / target.artifact, "fp32")
    right = demo_repository / ENCODER.name / "1"
    with pytest.raises(ParityError, match="parity gate, fp32: .*mask_iou_mean .*at least"):
        gate(Job(demo, target, "fp32", tmp_path), {ENCODER: right, DECODER: tmp_path})


def test_what_fails_is_removed(
    demo_repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    repository = shutil.copytree(demo_repository, tmp_path / "copy", symlinks=True)
    before = artifacts(repository, DECODER)
    target = TARGETS["openvino"]
    target = replace(target, graphs={**target.graphs, DECODER: Swapped})
    monkeypatch.setitem(TARGETS, "openvino", target)
    options = ["build", "--checkpoint", "demo", "--target", "openvino"]
    assert main([*options, "--model-repository", str(repository)]) == 1
    error = capsys.readouterr().err
    assert "parity gate, fp32: " in error and "mask_iou_mean" in error and "at least" in error
    # The earlier build is whole, of both models, and nothing of the failed one is there.
    assert artifacts(repository, DECODER) == before
    assert find_leftovers(repository) == []


def test_a_wrong_encoder_fails(demo: Checkpoint, tmp_path: Path) -> None:
    target = TARGETS["torchscript"]
    paths = {}
    other = load_checkpoint("demo")
    other.model.vision_encoder.neck.layer_norm2.weight.mul_(1.05)
    for spec, graph in ((ENCODER, Encoder(other.model)), (DECODER, Decoder(demo.model))):
        paths[spec] = tmp_path / spec.name
        paths[spec].mkdir()
        target.export(graph.eval(), spec, paths[spec] / target.artifact, "fp32")
    with pytest.raises(ParityError, match="embedding_error"):
        gate(Job(demo, target, "fp32", tmp_path), paths)


@pytest.mark.parametrize(
    "figures",
    [
        (1.0, 1, 1, 0),
        (0, 0.5, 1, 0),
        (0, 1, 0.5, 0),
        (0, 1, 1, 1),
        (np.nan, np.nan, np.nan, np.nan),
    ],
)
def test_every_figure_has_a_bound(figures: tuple[float, float, float, float]) -> None:
    parity.check(parity.Figures(0, 1, 1, 0), "fp32")
    with pytest.raises(ParityError):
        parity.check(parity.Figures(*figures), "fp32")
