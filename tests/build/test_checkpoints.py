"""What slimsam-build says of checkpoints that it cannot use: one line, status 2, no traceback."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from slimsam_build.checkpoints import DEMO, Checkpoint, load_checkpoint
from slimsam_build.cli import main
from slimsam_build.errors import CheckpointError


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A copy of the demo checkpoint, to be spoilt."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((DEMO / name).read_bytes())
    return tmp_path


def edit_config(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text())
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            config[section][key] = value
        else:
            config[name] = value
    path.write_text(json.dumps(config))


def error_of(directory: Path | str) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(directory))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_loads_the_saved_model(slimsam_77_checkpoint: Checkpoint, slimsam_77: Any) -> None:
    expected = slimsam_77.state_dict()
    for name, value in slimsam_77_checkpoint.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert slimsam_77_checkpoint.model.config.vision_config.hidden_size == 168


def test_loads_pytorch_model_bin(damaged: Path) -> None:
    weights = load_file(damaged / "model.safetensors")
    torch.save(weights, damaged / "pytorch_model.bin")
    (damaged / "model.safetensors").unlink()
    model = load_checkpoint(str(damaged)).model
    expected = load_checkpoint("demo").model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_never_runs_code_of_a_pickle(damaged: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(damaged / "ran"),)

    (damaged / "model.safetensors").unlink()
    for protocol in (2, 4):
        (damaged / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Evil()}, protocol))
        assert "pytorch_model.bin" in error_of(damaged)
    torch.save({"x": Evil()}, damaged / "pytorch_model.bin")
    assert "pytorch_model.bin" in error_of(damaged)
    assert not (damaged / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "expected", "found"),
    [
        ({"model_type": "sam2"}, 'model_type "sam"', '"sam2"'),
        ({"vision_config__image_size": 512}, "image_size = 1024", "512"),
        ({"vision_config__patch_size": 8}, "patch_size = 16", "8"),
        ({"vision_config__output_channels": 128}, "output_channels = 256", "128"),
        ({"mask_decoder_config__num_multimask_outputs": 5}, "num_multimask_outputs = 3", "5"),
        ({"vision_config__hidden_act": "relu"}, "hidden_act = 'gelu'", "'relu'"),
    ],
)
def test_names_another_geometry(
    damaged: Path, changes: dict[str, Any], expected: str, found: str
) -> None:
    edit_config(damaged, **changes)
    message = error_of(damaged)
    assert expected in message
    assert f"found {found}" in message


def test_names_weights_of_another_config(damaged: Path) -> None:
    edit_config(damaged, vision_config__num_hidden_layers=7)
    assert "tensors missing" in error_of(damaged)
    edit_config(damaged, vision_config__num_hidden_layers=5)
    assert "tensors unknown" in error_of(damaged)
    edit_config(damaged, vision_config__num_hidden_layers=6, vision_config__mlp_dim=100)
    error_of(damaged)


def test_names_damaged_and_missing_files(damaged: Path) -> None:
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    assert str(weights) in error_of(damaged)
    weights.unlink()
    assert "model.safetensors or pytorch_model.bin" in error_of(damaged)
    (damaged / "config.json").write_text("{")
    assert "JSON" in error_of(damaged)
    (damaged / "config.json").unlink()
    assert "config.json" in error_of(damaged)


def test_names_tensors_that_are_missing(damaged: Path) -> None:
    path = damaged / "model.safetensors"
    weights = load_file(path)
    weights.pop("mask_decoder.iou_token.weight")
    save_file(weights, path, metadata={"format": "pt"})
    assert "mask_decoder.iou_token.weight" in error_of(damaged)


@pytest.mark.parametrize("name", ["nothing", "./no/such/dir", "a b/c", "../x/y"])
def test_names_what_a_checkpoint_may_be(name: str) -> None:
    assert "nielsr/slimsam-77-uniform" in error_of(name)


def test_command_line_prints_one_line_and_exits_2(
    damaged: Path, empty_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_config(damaged, vision_config__image_size=512)
    options = ["--checkpoint", str(damaged), "--target", "openvino"]
    assert main([*options, "--model-repository", str(empty_repository)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("slimsam-build: error: ")
    assert captured.err.count("\n") == 1
    assert main([*options, "--model-repository", str(damaged)]) == 2
    assert "model repository" in capsys.readouterr().err


def test_a_hub_that_cannot_be_reached(empty_repository: Path) -> None:
    result = subprocess.run(
        [
            *(sys.executable, "-m", "slimsam_build.cli"),
            *("--checkpoint", "nielsr/slimsam-77-uniform"),
            *("--target", "openvino", "--model-repository", empty_repository),
        ],
        # A port where nothing listens stands for a network that is down.
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(empty_repository)},
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert result.returncode == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("slimsam-build: error: checkpoint nielsr/")
    assert "hf download" in lines[0]


@pytest.mark.parametrize(
    ("target", "precision"),
    [("onnxruntime", "fp16"), ("onnxruntime", "bf16"), ("openvino", "fp16")],
)
def test_refuses_a_precision_with_its_reason(
    target: str, precision: str, empty_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--checkpoint", "demo", "--target", target, "--precision", precision]
    assert main([*options, "--model-repository", str(empty_repository)]) == 2
    assert "use fp32" in capsys.readouterr().err
