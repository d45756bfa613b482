"""Files of the original SAM and SlimSAM: what they compute once they are converted, and no code."""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.cli import main
from slimsam_build.convert import convert
from slimsam_build.errors import CheckpointError
from slimsam_build.reference import decode, embed, make_prompts, sample_images

WIDTH, HEADS, MLP, WINDOW = 16, 2, 40, 14


@pytest.fixture(scope="module")
def sam() -> nn.Module:
    """segment-anything's own model, narrow, of two blocks, with weights of sane scale."""
    with pytest.MonkeyPatch.context() as patch:
        from references import stand_in_for_torchvision

        stand_in_for_torchvision(patch)
        from segment_anything.modeling import (
            ImageEncoderViT,
            MaskDecoder,
            PromptEncoder,
            Sam,
            TwoWayTransformer,
        )
    encoder = ImageEncoderViT(
        embed_dim=WIDTH, depth=2, num_heads=HEADS, mlp_ratio=MLP / WIDTH, out_chans=256,
        norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=WINDOW,
        global_attn_indexes=(1,),
    )  # fmt: skip
    decoder = MaskDecoder(
        transformer_dim=256,
        transformer=TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=64),
        iou_head_hidden_dim=32,
    )
    prompts = PromptEncoder(256, (64, 64), (1024, 1024), mask_in_chans=16)
    model = Sam(encoder, prompts, decoder).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            scale = tensor[0].numel() ** -0.5 if tensor.dim() > 1 else 0.1
            if "embed" in name or "rel_pos" in name or "token" in name:
                scale = 0.3
            tensor.copy_(scale * torch.randn(tensor.shape, generator=generator))
            if "norm" in name and name.endswith("weight"):
                tensor += 1
        prompts.pe_layer.positional_encoding_gaussian_matrix.normal_(generator=generator)
    return model


@pytest.fixture
def file(sam: nn.Module, tmp_path: Path) -> Path:
    torch.save(sam.state_dict(), tmp_path / "sam_vit_b.pth")
    return tmp_path / "sam_vit_b.pth"


def error_of(file: Path) -> str:
    output = file.with_name("converted")
    with pytest.raises(CheckpointError) as caught:
        convert(file, output)
    assert not output.exists() or not list(output.iterdir())
    message = str(caught.value)
    assert message.isprintable() and str(file) in message
    return message


def same_tensors(one: Path, other: Path) -> bool:
    first, second = (load_checkpoint(str(path)).model.state_dict() for path in (one, other))
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_computes_what_the_original_code_computes(
    sam: nn.Module, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "my sam"
    assert main(["convert", str(file), str(output)]) == 0
    assert f"--checkpoint '{output}'" in capsys.readouterr().out
    model = load_checkpoint(str(output)).model
    vision = model.config.vision_config
    assert (vision.hidden_size, vision.num_attention_heads, vision.mlp_dim) == (WIDTH, HEADS, MLP)
    assert (vision.window_size, vision.global_attn_indexes) == (WINDOW, [1])

    image, input_size = (array[1:] for array in sample_images())
    height, width = input_size[0]
    pixels = torch.from_numpy(image[:, :height, :width].transpose(0, 3, 1, 2).copy())
    expected = sam.image_encoder(sam.preprocess(pixels))
    embedding = embed(model, image, input_size)
    np.testing.assert_allclose(embedding, expected, atol=1e-4)

    points = np.array([[[300, 200], [90, 610]]], np.float32)
    labels = np.array([[1, 0]], np.int32)
    given = torch.from_numpy(points), torch.from_numpy(labels)
    sparse, dense = sam.prompt_encoder(points=given, boxes=None, masks=None)
    logits, scores = sam.mask_decoder.predict_masks(
        torch.from_numpy(embedding), sam.prompt_encoder.get_dense_pe(), sparse, dense
    )
    answer = decode(model, embedding[0], make_prompts("clicks", points, labels))
    assert expected.std() > 0.1 and logits.std() > 0.05
    np.testing.assert_allclose(answer.masks, logits, atol=1e-5)
    np.testing.assert_allclose(answer.scores, scores, atol=1e-5)


def test_a_whole_pickled_model_of_classes_that_are_not_there(
    sam: nn.Module, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SlimSAM's training code saves it: the encoder in DataParallel."""
    encoder = sam.image_encoder
    monkeypatch.setitem(sam._modules, "image_encoder", nn.DataParallel(encoder))
    torch.save(sam, tmp_path / "SlimSAM.pth")

    def imported(name: str, *_: Any, **__: Any) -> Any:
        assert not name.startswith("segment_anything"), "a class of the file was looked up"
        return original(name, *_, **__)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", imported)
    convert(tmp_path / "SlimSAM.pth", tmp_path / "whole")
    convert(file, tmp_path / "state dict")
    assert same_tensors(tmp_path / "whole", tmp_path / "state dict")


def test_query_key_and_value_apart(sam: nn.Module, file: Path, tmp_path: Path) -> None:
    state = dict(sam.state_dict())
    for name in list(state):
        if ".qkv." in name:
            for part, tensor in zip("qkv", state.pop(name).chunk(3), strict=True):
                state[name.replace(".qkv.", f".{part}.")] = tensor
    torch.save(state, tmp_path / "apart.pth")
    convert(tmp_path / "apart.pth", tmp_path / "apart")
    convert(file, tmp_path / "joined")
    assert same_tensors(tmp_path / "apart", tmp_path / "joined")


def test_the_format_of_old_versions_of_pytorch(sam: nn.Module, file: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.pth"
    torch.save(sam.state_dict(), old, _use_new_zipfile_serialization=False)
    convert(old, tmp_path / "old")
    convert(file, tmp_path / "new")
    assert same_tensors(tmp_path / "old", tmp_path / "new")


class Runs:
    """Pickled, a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize("kind", ["system", "subprocess", "exec", "partial"])
def test_code_of_a_file_is_not_run(sam: nn.Module, tmp_path: Path, kind: str, zipped: bool) -> None:
    ran = tmp_path / "ran"
    evil = {
        "system": Runs(os.system, f"touch {ran}"),
        "subprocess": Runs(subprocess.check_call, ["touch", str(ran)]),
        "exec": Runs(exec, f"open({str(ran)!r}, 'w')"),
        "partial": Runs(partial(subprocess.check_call, ["touch", str(ran)])),
    }[kind]
    file = tmp_path / "evil.pth"
    torch.save({"first": evil, **sam.state_dict()}, file, _use_new_zipfile_serialization=zipped)
    try:
        convert(file, tmp_path / "converted")  # which may leave the rest of the file alone
    except CheckpointError as error:
        assert str(file) in str(error) and str(error).isprintable()
    assert not ran.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_plain_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "evil.pth"
    file.write_bytes(pickle.dumps(Runs(os.mkdir, str(tmp_path / "ran")), protocol))
    assert "torch.save(model.state_dict(), FILE)" in error_of(file)
    assert not (tmp_path / "ran").exists()


def smaller(state: dict[str, Any]) -> None:
    """As a model of pictures of 512 pixels."""
    state["image_encoder.pos_embed"] = torch.zeros(1, 32, 32, WIDTH)
    for axis in "hw":
        state[f"image_encoder.blocks.1.attn.rel_pos_{axis}"] = torch.zeros(63, WIDTH // HEADS)


def narrow_one(state: dict[str, Any]) -> None:
    for name in ("lin1.weight", "lin1.bias"):
        state[f"image_encoder.blocks.1.mlp.{name}"] = torch.zeros(8, *([WIDTH] * ("w" in name[5:])))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.clear(), "without named tensors"),
        (lambda s: s.pop("image_encoder.pos_embed"), "with a tensor image_encoder.pos_embed"),
        (lambda s: s.pop("mask_decoder.iou_token.weight"), "mask_decoder.iou_token.weight"),
        (lambda s: s.pop("image_encoder.neck.3.bias"), "vision_encoder.neck.layer_norm2.bias"),
        (lambda s: s.update(hf_token=torch.zeros(1)), "hf_token"),
        (narrow_one, "pruned uniformly"),
        (smaller, "image_size = 1024, found 512"),
        (lambda s: s.update({"image_encoder.pos_embed": torch.zeros(1)}), "shapes of a SAM model"),
    ],
    ids=["nothing", "encoder", "decoder", "one", "unknown", "pruned", "size", "shape"],
)
def test_names_what_is_not_sams(
    sam: nn.Module, tmp_path: Path, change: Callable[[dict[str, Any]], object], expected: str
) -> None:
    state = dict(sam.state_dict())
    change(state)
    file = tmp_path / "other.pth"
    torch.save(state, file)
    assert expected in error_of(file)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a pickle\x1b[1m\n", b"\x80\x02."])
def test_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.pth"
    file.write_bytes(content)
    assert "download it again" in error_of(file)


def test_paths_that_cannot_be_used(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "check the spelling" in error_of(tmp_path / "none.pth")
    for output, expected in ((tmp_path, "found files in it"), (file, "File exists")):
        assert main(["convert", str(file), str(output)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("slimsam-build: error: ") and error.count("\n") == 1
        assert expected in error
    assert file.is_file()
