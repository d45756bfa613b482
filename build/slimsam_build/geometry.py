"""Checks that a configuration is of the geometry that the contract fixes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import SamConfig

from slimsam_build.errors import CheckpointError, one_line, reason
from slimsam_client.contract import (
    EMBEDDING_CHANNELS,
    IMAGE_SIZE,
    NUM_MASKS,
    PATCH_SIZE,
)


def read_config(path: Path) -> SamConfig:
    """Read a `config.json` and check it.

    Args:
        path: the file.

    Returns:
        The configuration, with transformers' defaults where the file is silent.

    Raises:
        CheckpointError: not JSON, not of a SAM model, or of another geometry.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: expected the JSON configuration of a SamModel, got {reason(error)}; "
            "download the checkpoint again"
        ) from error
    kind = raw.get("model_type") if isinstance(raw, dict) else None
    if kind != "sam":
        raise CheckpointError(
            f'{path}: expected model_type "sam", found {one_line(json.dumps(kind))[:80]}; '
            "give a SAM or SlimSAM checkpoint in Hugging Face format"
        )
    try:
        config = SamConfig.from_dict(raw)
    except Exception as error:  # transformers validates with exceptions of several families
        raise CheckpointError(
            f"{path}: expected a valid SamConfig, got {reason(error)}; "
            "download the checkpoint again"
        ) from error
    for name, found, expected in _fixed(config):
        if found != expected:
            raise CheckpointError(
                f"{path}: expected {name} = {expected!r}, found {found!r}; the contract fixes it: "
                "give a checkpoint of SAM's geometry, such as nielsr/slimsam-77-uniform"
            )
    for name, count, most in _counted(config):
        if not 1 <= count <= most:
            raise CheckpointError(
                f"{path}: expected {name} of 1 to {most}, found {count}; "
                "use the config.json that belongs to the weights"
            )
    return config


def _fixed(config: SamConfig) -> list[tuple[str, Any, Any]]:
    """What must be as in SAM: (name, found, expected)."""
    vision, prompt = config.vision_config, config.prompt_encoder_config
    decoder = config.mask_decoder_config
    return [
        ("vision_config.image_size", vision.image_size, IMAGE_SIZE),
        ("vision_config.patch_size", vision.patch_size, PATCH_SIZE),
        ("vision_config.num_channels", vision.num_channels, 3),
        ("vision_config.output_channels", vision.output_channels, EMBEDDING_CHANNELS),
        ("vision_config.hidden_act", vision.hidden_act, "gelu"),
        ("vision_config.num_pos_feats", vision.num_pos_feats, EMBEDDING_CHANNELS // 2),
        ("prompt_encoder_config.image_size", prompt.image_size, IMAGE_SIZE),
        ("prompt_encoder_config.patch_size", prompt.patch_size, PATCH_SIZE),
        ("prompt_encoder_config.hidden_size", prompt.hidden_size, EMBEDDING_CHANNELS),
        ("prompt_encoder_config.num_point_embeddings", prompt.num_point_embeddings, 4),
        ("prompt_encoder_config.hidden_act", prompt.hidden_act, "gelu"),
        ("mask_decoder_config.hidden_size", decoder.hidden_size, EMBEDDING_CHANNELS),
        ("mask_decoder_config.num_multimask_outputs", decoder.num_multimask_outputs, NUM_MASKS - 1),
        ("mask_decoder_config.hidden_act", decoder.hidden_act, "relu"),
    ]


def _counted(config: SamConfig) -> list[tuple[str, int, int]]:
    """What is built one by one, before the weights can show that it is wrong: (name, found, most).

    The largest SAM has 32 layers; a million would take minutes and all memory.
    """
    vision, decoder = config.vision_config, config.mask_decoder_config
    return [
        ("vision_config.num_hidden_layers", vision.num_hidden_layers, 128),
        ("vision_config.num_attention_heads", vision.num_attention_heads, 128),
        ("mask_decoder_config.num_hidden_layers", decoder.num_hidden_layers, 128),
        ("mask_decoder_config.num_attention_heads", decoder.num_attention_heads, 128),
        ("mask_decoder_config.iou_head_depth", decoder.iou_head_depth, 128),
    ]
