"""Checkpoints of the original SAM and SlimSAM code, converted to Hugging Face's format.

Sizes are those of the tensors; nothing is asked of the user, nothing is known by a file's name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import SamConfig

from slimsam_build.checkpoints import Checkpoint, load_checkpoint
from slimsam_build.errors import CheckpointError, reason
from slimsam_build.pickled import read_tensors

RENAMED: Final = (
    (r"image_encoder\.patch_embed\.proj", "vision_encoder.patch_embed.projection"),
    (r"image_encoder\.blocks", "vision_encoder.layers"),
    (r"image_encoder\.neck\.0", "vision_encoder.neck.conv1"),
    (r"image_encoder\.neck\.1", "vision_encoder.neck.layer_norm1"),
    (r"image_encoder\.neck\.2", "vision_encoder.neck.conv2"),
    (r"image_encoder\.neck\.3", "vision_encoder.neck.layer_norm2"),
    (r"image_encoder", "vision_encoder"),
    (
        r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
        "shared_image_embedding.positional_embedding",
    ),
    (r"prompt_encoder\.point_embeddings", "prompt_encoder.point_embed"),
    (r"prompt_encoder\.mask_downscaling\.0", "prompt_encoder.mask_embed.conv1"),
    (r"prompt_encoder\.mask_downscaling\.1", "prompt_encoder.mask_embed.layer_norm1"),
    (r"prompt_encoder\.mask_downscaling\.3", "prompt_encoder.mask_embed.conv2"),
    (r"prompt_encoder\.mask_downscaling\.4", "prompt_encoder.mask_embed.layer_norm2"),
    (r"prompt_encoder\.mask_downscaling\.6", "prompt_encoder.mask_embed.conv3"),
    (r"mask_decoder\.output_upscaling\.0", "mask_decoder.upscale_conv1"),
    (r"mask_decoder\.output_upscaling\.1", "mask_decoder.upscale_layer_norm"),
    (r"mask_decoder\.output_upscaling\.3", "mask_decoder.upscale_conv2"),
)
"""Beginnings of names, original and Hugging Face's; the first that fits counts."""
MLP: Final = re.compile(
    r"(mask_decoder\.(?:iou_prediction_head|output_hypernetworks_mlps\.\d+))\.layers\.(\d+)\.(.+)"
)
"""A layer of a small MLP of the decoder, whose first and last have names of their own."""
UNUSED: Final = ("pixel_mean", "pixel_std")
DECODER_HEADS: Final = 8
"""Attention heads of the decoder: of all SAM models, and in no tensor's shape."""


def convert(file: Path, output: Path) -> Checkpoint:
    """Convert a checkpoint of the original SAM or SlimSAM code.

    Args:
        file: a state dict or a whole pickled model, as sam_vit_b_01ec64.pth or
            SlimSAM-77-uniform.pth. No code of it is run.
        output: a directory that is new or empty.

    Returns:
        The checkpoint, as it is loaded from the directory.

    Raises:
        CheckpointError: the file cannot be read, or is not of SAM's architecture and geometry.
    """
    tensors = _with_qkv({n: t for n, t in read_tensors(file).items() if n not in UNUSED})
    config = _config(file, tensors)
    try:
        output.mkdir(parents=True, exist_ok=True)
        if any(output.iterdir()):
            raise CheckpointError(
                f"{output}: expected a new or an empty directory, found files in it; give another"
            )
        try:
            config.save_pretrained(output)
            save_file(_renamed(tensors), output / "model.safetensors", metadata={"format": "pt"})
            return _loaded(file, output)
        except BaseException:
            for path in output.iterdir():
                path.unlink()
            raise
    except OSError as error:
        raise CheckpointError(
            f"{output}: expected a directory that this user may write to, got {reason(error)}; "
            "see to its space, owner and mode"
        ) from error


def _loaded(file: Path, output: Path) -> Checkpoint:
    """Load what was converted, which checks that it is whole and of the contract's geometry."""
    try:
        return load_checkpoint(str(output))
    except CheckpointError as error:
        raise CheckpointError(
            f"{file}: expected a SAM or SlimSAM model that can be served, got one that cannot, in "
            f"Hugging Face's names: {error}"
        ) from error


def _with_qkv(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join the projections to query, key and value, which SlimSAM's training code has apart."""
    joined = dict(tensors)
    for name in tensors:
        head, separator, kind = name.rpartition(".attn.q.")
        names = [f"{head}.attn.{part}.{kind}" for part in "qkv"]
        if separator and all(part in tensors for part in names):
            joined[f"{head}.attn.qkv.{kind}"] = torch.cat([joined.pop(part) for part in names])
    return joined


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors the names that `SamModel` has for them."""
    depths: dict[str, int] = {}
    for name in tensors:
        if match := MLP.fullmatch(name):
            depths[match[1]] = max(depths.get(match[1], 0), int(match[2]))
    renamed = {}
    for name, tensor in tensors.items():
        if match := MLP.fullmatch(name):
            mlp, layer, kind = match[1], int(match[2]), match[3]
            last = depths[mlp]
            part = {0: "proj_in", last: "proj_out"}.get(layer, f"layers.{layer - 1}")
            name = f"{mlp}.{part}.{kind}"
        for original, ours in RENAMED:
            if match := re.match(original + r"(?=\.|$)", name):
                name = ours + name[match.end() :]
                break
        name = re.sub(r"\.norm(?=\d|_)", ".layer_norm", name)
        renamed[name] = tensor.contiguous()
    return renamed


def _config(file: Path, tensors: dict[str, Tensor]) -> SamConfig:
    """Read a model's sizes off the shapes of its tensors."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        vision = _vision(file, shapes)
        decoder = "mask_decoder.transformer.layers"
        iou_head = "mask_decoder.iou_prediction_head.layers"
        hidden_size = shapes["mask_decoder.iou_token.weight"][1]
        cross = shapes[f"{decoder}.0.cross_attn_token_to_image.q_proj.weight"][0]
        return SamConfig(
            vision_config=vision,
            prompt_encoder_config={
                "hidden_size": shapes["prompt_encoder.no_mask_embed.weight"][1],
                "image_size": vision["image_size"],
                "patch_size": vision["patch_size"],
                "mask_input_channels": shapes["prompt_encoder.mask_downscaling.3.weight"][0],
                "num_point_embeddings": _count(shapes, "prompt_encoder.point_embeddings"),
            },
            mask_decoder_config={
                "hidden_size": hidden_size,
                "mlp_dim": shapes[f"{decoder}.0.mlp.lin1.weight"][0],
                "num_hidden_layers": _count(shapes, decoder),
                "num_attention_heads": DECODER_HEADS,
                "attention_downsample_rate": hidden_size // cross,
                "num_multimask_outputs": shapes["mask_decoder.mask_tokens.weight"][0] - 1,
                "iou_head_depth": _count(shapes, iou_head),
                "iou_head_hidden_dim": shapes[f"{iou_head}.0.weight"][0],
                # PyTorch's own, which the original code leaves as it is in this module alone.
                "layer_norm_eps": 1e-5,
            },
            architectures=["SamModel"],
        )
    except KeyError as error:
        raise CheckpointError(
            f"{file}: expected a checkpoint of the original SAM or SlimSAM, with a tensor "
            f"{error.args[0]}, found none among {len(shapes)} (first: {min(shapes)}); models of "
            "another architecture, such as MobileSAM or SAM 2, are not served"
        ) from error
    except (ArithmeticError, IndexError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{file}: expected tensors of the shapes of a SAM model, got {reason(error)}; "
            "download it again"
        ) from error


def _vision(file: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Sizes of the image encoder."""
    hidden_size, channels, patch_size, _ = shapes["image_encoder.patch_embed.proj.weight"]
    grid = shapes["image_encoder.pos_embed"][1]
    depth = _count(shapes, "image_encoder.blocks")
    blocks = [f"image_encoder.blocks.{index}" for index in range(depth)]
    mlp_dim = shapes[f"{blocks[0]}.mlp.lin1.weight"][0]
    for block in blocks:
        found = shapes[f"{block}.attn.qkv.weight"][0], shapes[f"{block}.mlp.lin1.weight"][0]
        if found != (3 * hidden_size, mlp_dim):
            raise CheckpointError(
                f"{file}: expected an attention {hidden_size} wide and an MLP {mlp_dim} wide in "
                f"every block, found {found[0] / 3:g} and {found[1]} in {block}; a SamModel has "
                "one width for all: give a checkpoint that was pruned uniformly, such as "
                "SlimSAM-77-uniform.pth"
            )
    # 2 * window - 1 relative positions, over the whole grid where attention is global.
    windows = [(shapes[f"{block}.attn.rel_pos_h"][0] + 1) // 2 for block in blocks]
    limited = sorted({window for window in windows if window != grid})
    if len(limited) > 1:
        raise CheckpointError(
            f"{file}: expected attention in windows of one size, found {limited}; a SamModel has "
            "one: give a checkpoint of SAM's geometry"
        )
    return {
        "hidden_size": hidden_size,
        "mlp_dim": mlp_dim,
        "num_hidden_layers": depth,
        "num_attention_heads": hidden_size // shapes[f"{blocks[0]}.attn.rel_pos_h"][1],
        "num_channels": channels,
        "image_size": grid * patch_size,
        "patch_size": patch_size,
        "output_channels": shapes["image_encoder.neck.0.weight"][0],
        "num_pos_feats": shapes["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"][1],
        "window_size": limited[0] if limited else 0,
        "global_attn_indexes": [i for i, window in enumerate(windows) if window == grid],
    }


def _count(shapes: dict[str, tuple[int, ...]], prefix: str) -> int:
    """How many numbered modules there are under a name, from 0 on."""
    behind = [name[len(prefix) + 1 :] for name in shapes if name.startswith(f"{prefix}.")]
    found = {name.partition(".")[0] for name in behind}
    count = 0
    while str(count) in found:
        count += 1
    if count == 0:
        raise KeyError(f"{prefix}.0")
    return count
