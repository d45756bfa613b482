"""What slimsam-build says of checkpoints that it cannot use: one line, status 2, no traceback."""

from __future__ import annotations

import json
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
from safetensors.torch import load_file, save_file
from transformers import SamModel
from transformers.utils import logging as transformers_logging

from slimsam_build.checkpoints import DEMO, Checkpoint, load_checkpoint
from slimsam_build.cli import main
from slimsam_build.digest import sha256_of
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
    assert message.isprintable()
    return message


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any, **__: Any) -> None:
        pytest.fail("the hub was asked")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", asked)


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


def as_bin(directory: Path, content: Any) -> None:
    (directory / "model.safetensors").unlink(missing_ok=True)
    torch.save(content, directory / "pytorch_model.bin")


def test_a_pickled_model_is_named_in_words_of_our_own(damaged: Path) -> None:
    def check(message: str) -> None:
        assert "found other pickled objects, such as a whole model" in message
        assert "save_pretrained" in message
        assert "still be loaded" not in message and "weights_only" not in message

    as_bin(damaged, torch.nn.Linear(2, 2))
    check(error_of(damaged))
    as_bin(damaged, {"model": torch.nn.Linear(2, 2)})
    check(error_of(damaged))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(damaged / "pytorch_model.bin"))
        check(error_of(damaged))


@pytest.mark.parametrize("content", [b"", b"not a pickle\x1b[1m\n", b"PK\x03\x04", b"\x80\x02."])
def test_a_damaged_pickle_is_one_line(damaged: Path, content: bytes) -> None:
    (damaged / "model.safetensors").unlink()
    (damaged / "pytorch_model.bin").write_bytes(content)
    assert "pytorch_model.bin: expected plain tensors" in error_of(damaged)


@pytest.mark.parametrize("content", [[1, 2], {1: torch.zeros(2)}, {"model": {}}, torch.zeros(2)])
def test_a_pickle_of_other_plain_objects(damaged: Path, content: Any) -> None:
    as_bin(damaged, content)
    assert "pytorch_model.bin: expected" in error_of(damaged)


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    "name",
    ["checkpoints/SlimSAM-50.pth", "sam_vit_b.pth", "a/model", "a/b.safetensors", "./a/b.bin"],
)
def test_an_existing_file_is_named_with_what_to_give(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(b"not looked at")
    message = error_of(name)
    assert "found a file" in message and "directory in Hugging Face format" in message
    assert f"`slimsam-build convert {Path(name)} DIR`" in message and "spelling" not in message


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_of_a_checkpoint_leads_to_its_directory(damaged: Path, name: str) -> None:
    assert error_of(damaged / name).endswith(f"give {damaged}")


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("name", ["a/SlimSAM-50.pth", "a/model.safetensors", "", "a" * 300, "~x/y"])
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(name: str) -> None:
    assert "check the spelling" in error_of(name)


def test_spellings_of_a_directory(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    (tmp_path / "with a space").symlink_to(damaged)
    for name in (f"{damaged}/", f"~/{tmp_path.name}", str(tmp_path / "with a space")):
        checkpoint = load_checkpoint(name)
        assert (checkpoint.name, checkpoint.sha256) == (name, sha256_of(DEMO / "model.safetensors"))


def in_shards(directory: Path, safetensors: bool) -> list[Path]:
    """Spread the weights over two files and an index."""
    tensors = sorted(load_file(directory / "model.safetensors").items())
    (directory / "model.safetensors").unlink()
    stem, ending = ("model", ".safetensors") if safetensors else ("pytorch_model", ".bin")
    files = [directory / f"{stem}-0000{i}-of-00002{ending}" for i in (1, 2)]
    weight_map = {}
    for path, part in zip(files, (tensors[::2], tensors[1::2]), strict=True):
        weight_map.update({name: path.name for name, _ in part})
        if safetensors:
            save_file(dict(part), path, metadata={"format": "pt"})
        else:
            torch.save(dict(part), path)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (directory / f"{stem}{ending}.index.json").write_text(json.dumps(index))
    return files


@pytest.mark.parametrize("safetensors", [True, False], ids=["safetensors", "bin"])
def test_loads_weights_in_several_files(damaged: Path, safetensors: bool) -> None:
    files = in_shards(damaged, safetensors)
    checkpoint = load_checkpoint(str(damaged))
    expected = load_checkpoint("demo").model.state_dict()
    for name, value in checkpoint.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert checkpoint.sha256 == sha256_of(*files) != sha256_of(*files[::-1])
    files[1].unlink()
    assert files[1].name in error_of(damaged)


@pytest.fixture
def sharded(tmp_path: Path, demo_model: SamModel) -> Path:
    """The demo checkpoint as transformers itself spreads it over files."""
    demo_model.save_pretrained(tmp_path / "sharded", max_shard_size="5MB")
    return tmp_path / "sharded"


def test_loads_the_shards_that_transformers_writes(sharded: Path, demo_model: SamModel) -> None:
    shards = sorted(sharded.glob("model-*.safetensors"))
    assert len(shards) > 2
    checkpoint = load_checkpoint(str(sharded))
    expected = demo_model.state_dict()
    for name, value in checkpoint.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert checkpoint.sha256 == sha256_of(*shards)


def test_every_shard_counts_in_the_digest(sharded: Path) -> None:
    before = load_checkpoint(str(sharded)).sha256
    last = max(sharded.glob("model-*.safetensors"))
    tensors = load_file(last)
    first = min(tensors)
    save_file({**tensors, first: tensors[first] + 1}, last, metadata={"format": "pt"})
    assert load_checkpoint(str(sharded)).sha256 != before


def test_names_a_shard_that_is_missing_and_one_that_the_index_does_not_name(sharded: Path) -> None:
    shards = sorted(sharded.glob("model-*.safetensors"))
    extra = sharded / "model-00007-of-00007.safetensors"
    extra.write_bytes(shards[0].read_bytes())
    assert f"no other shards, found {extra.name}" in error_of(sharded)
    extra.unlink()
    shards[1].unlink()
    assert f"found no {shards[1].name}" in error_of(sharded)


def test_names_tensors_that_shards_and_index_do_not_share(sharded: Path) -> None:
    shard = min(sharded.glob("model-*.safetensors"))
    tensors = load_file(shard)
    name = min(tensors)
    save_file({**tensors, "unknown": tensors[name].clone()}, shard, metadata={"format": "pt"})
    assert "unknown" in error_of(sharded)
    del tensors[name]
    save_file(tensors, shard, metadata={"format": "pt"})
    assert name in error_of(sharded)


@pytest.mark.parametrize(
    "index",
    [
        "{",
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": ["b"]}}',
        '{"weight_map": {"a": "../elsewhere.safetensors"}}',
    ],
)
def test_names_an_index_that_is_none(damaged: Path, index: str) -> None:
    (damaged / "model.safetensors").unlink()
    (damaged / "model.safetensors.index.json").write_text(index)
    assert "weight_map" in error_of(damaged)


def test_logging_of_other_libraries_is_left_as_it_was(damaged: Path) -> None:
    before = transformers_logging.get_verbosity(), hub_logging.get_verbosity()
    enable_progress_bars()
    transformers_logging.enable_progress_bar()
    transformers_logging.set_verbosity_info()
    hub_logging.set_verbosity_info()
    try:
        load_checkpoint(str(damaged))
        (damaged / "model.safetensors").write_bytes(b"")
        error_of(damaged)
        assert transformers_logging.get_verbosity() == transformers_logging.INFO
        assert hub_logging.get_verbosity() == hub_logging.INFO
        assert transformers_logging.is_progress_bar_enabled()
        assert not are_progress_bars_disabled()
    finally:
        transformers_logging.set_verbosity(before[0])
        hub_logging.set_verbosity(before[1])


@pytest.mark.parametrize(
    ("changes", "expected", "found"),
    [
        ({"model_type": "sam2"}, 'model_type "sam"', '"sam2"'),
        ({"vision_config__image_size": 512}, "image_size = 1024", "512"),
        ({"vision_config__patch_size": 8}, "patch_size = 16", "8"),
        ({"vision_config__output_channels": 128}, "output_channels = 256", "128"),
        ({"mask_decoder_config__num_multimask_outputs": 5}, "num_multimask_outputs = 3", "5"),
        ({"vision_config__hidden_act": "relu"}, "hidden_act = 'gelu'", "'relu'"),
        ({"vision_config__num_hidden_layers": 1000000}, "num_hidden_layers of 1 to", "1000000"),
        ({"vision_config__num_hidden_layers": -1}, "num_hidden_layers of 1 to", "-1"),
        ({"vision_config__num_attention_heads": 0}, "num_attention_heads of 1 to", "0"),
        ({"mask_decoder_config__num_hidden_layers": 10**6}, "num_hidden_layers of 1 to", "1000000"),
        ({"mask_decoder_config__iou_head_depth": 10**9}, "iou_head_depth of 1 to", "1000000000"),
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
    assert "tensors of another shape" in error_of(damaged)


@pytest.mark.parametrize(
    "changes",
    [
        {"vision_config__hidden_size": 10**9},
        {"vision_config__hidden_size": "96"},
        {"vision_config__num_attention_heads": 7},
        {"vision_config__window_size": 10**9},
        {"vision_config__global_attn_indexes": [10**9]},
        {"vision_config": []},
        {"prompt_encoder_config__mask_input_channels": 10**9},
        {"mask_decoder_config__attention_downsample_rate": 0},
    ],
    ids=str,
)
def test_a_config_with_senseless_sizes(damaged: Path, changes: dict[str, Any]) -> None:
    edit_config(damaged, **changes)
    assert "config.json" in error_of(damaged)


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
    options = ["build", "--checkpoint", str(damaged), "--target", "openvino"]
    assert main([*options, "--model-repository", str(empty_repository)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("slimsam-build: error: ")
    assert captured.err.count("\n") == 1
    assert main([*options, "--model-repository", str(damaged)]) == 2
    assert "model repository" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "precision"),
    [("onnxruntime", "fp16"), ("onnxruntime", "bf16"), ("openvino", "fp16")],
)
def test_refuses_a_precision_with_its_reason(
    target: str, precision: str, empty_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["build", "--checkpoint", "demo", "--target", target, "--precision", precision]
    assert main([*options, "--model-repository", str(empty_repository)]) == 2
    assert "use fp32" in capsys.readouterr().err
