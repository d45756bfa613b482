"""Tables of the documentation that come from the code; `make docs` has cog write them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import triton_to_np_dtype

from slimsam_client import contract, errors
from slimsam_client.cli import COMMANDS
from slimsam_client.cli.options import add_connection
from slimsam_client.cli.status import MEANINGS as EXIT_STATUSES
from slimsam_client.clicks.request import SCHEMA
from slimsam_client.contract import ModelSpec, TensorSpec
from slimsam_client.everything import GenerateSettings
from slimsam_client.transport.status import Status, from_status
from slimsam_gateway.cli import command_parser
from slimsam_gateway.problems import KINDS

ROOT = Path(__file__).parents[1]
DEFAULT_LIMIT = 4 * 2**20
"""Bytes of an answer that a gRPC client takes unless told otherwise, in every language."""

MEANINGS = {
    "image": "RGB; the picture top-left, zeros elsewhere",
    "input_size": "(height, width) of the picture in `image`",
    "image_embeddings": "what the decoder needs of the image",
    "point_coords": "(x, y) in the 1024 frame",
    "point_labels": "what each point is: see below",
    "mask_input": "logits of an earlier answer, for all P; zeros if there are none",
    "has_mask_input": "1 if `mask_input` counts, 0 if not",
    "low_res_masks": "logits; a pixel above 0 is inside",
    "iou_predictions": "the model's own estimate of each mask's IoU",
    "info": "a JSON object of what is served",
    "reference": "the answer that the build kept, an npz file",
}
AUTOMATIC_MEANINGS = {
    "image_bytes": "an encoded picture: JPEG, PNG, WebP, TIFF, BMP or GIF",
    "settings": "a JSON object of everything mode's settings",
    "boxes": "x, y, width, height of each mask in pixels",
    "areas": "pixels of each mask",
    "predicted_iou": "the model's own estimate",
    "stability_score": "IoU of the mask with itself at shifted thresholds",
    "point_coords": "(x, y) of the grid point that it comes from",
    "crop_boxes": "x, y, width, height of the crop that it comes from",
    "rles": "counts of COCO's compressed RLE",
    "original_size": "(height, width) of the picture; of one that was reduced, before that",
}
CLICK_MEANINGS = {
    "image_bytes": "an encoded picture: JPEG, PNG, WebP, TIFF, BMP or GIF",
    "original_size": "(height, width) of the picture; of one that was reduced, before that",
    "image_id": "64 hexadecimal digits, by which the picture is found",
    "prompt": "a JSON object: see below",
    "mask_input": "logits of the mask that is refined, where the prompt has no `mask_id`",
    "masks": "each mask in the form that the prompt asks for",
    "scores": "the model's own estimate of each mask's IoU",
    "boxes": "x0, y0, x1, y1 of each mask in pixels, the latter two exclusive; zeros if empty",
    "areas": "pixels of each mask",
    "mask_ids": "64 hexadecimal digits each, by which a mask can be refined",
}
AUTOMATIC_LIMITS = {
    "max_points": "points of the grids, in all crops together",
    "max_calls": "calls of the encoder and the decoder: one per crop, and one per batch of points",
    "max_points_per_batch": "points in one call of the decoder; a setting above it is lowered",
    "max_pixels": "pixels of the picture, by its header",
    "max_original_pixels": "pixels that a reduced picture had",
    "max_image_bytes": "bytes of the encoded picture",
    "formats": "formats of pictures, by Pillow's names; JPEG includes MPO",
    "max_settings_bytes": "bytes of the settings' JSON",
    "max_seconds": "seconds from the start to the answer",
}
MASKS_MEANINGS = {
    **MEANINGS,
    "row_weights": "the matrix of both resizes for rows; rows of zeros up to a multiple of 8",
    "column_weights": "the same for columns",
    "stability_offset": "by which the threshold moves for `stability_score`, in logits; 0 or more",
    "chosen": "3 * prompt + mask of those that come as bits; mask 0 is index 1 of the logits",
    "stability_score": "IoU of the mask with itself at shifted thresholds; NaN if nothing is there",
    "boxes": "x0, y0, x1, y1, the first and last pixels; zeros if empty",
    "areas": "pixels of each mask",
    "bits": "8 pixels of a row in a byte, the first in the highest bit",
}
MASKS_AXES = {
    "row_weights": ("H",),
    "column_weights": ("W",),
    "chosen": ("K",),
    "bits": ("K", "H", "W/8"),
}
OTHER_MEANINGS = {
    contract.MASKS.name: MASKS_MEANINGS,
    contract.DECODED_MASKS.name: MASKS_MEANINGS,
    contract.AUTOMATIC.name: AUTOMATIC_MEANINGS,
    contract.IMAGE.name: CLICK_MEANINGS,
    contract.CLICK.name: CLICK_MEANINGS,
}
LABELS = {
    contract.FOREGROUND: "a point of the object",
    contract.BACKGROUND: "a point outside the object",
    contract.BOX_TOP_LEFT: "a box's top left corner",
    contract.BOX_BOTTOM_RIGHT: "a box's bottom right corner",
    contract.NOT_A_POINT: "SAM's padding point at (0, 0): the last point of a prompt without a box",
    contract.ABSENT: "padding to make N equal; changes no answer, its coordinates do not matter",
}


def tensors(spec: ModelSpec) -> str:
    """List a model's tensors: dtype, shape, and bytes of one row."""
    meanings = OTHER_MEANINGS.get(spec.name, MEANINGS)
    rows = []
    for arrow, side in (("", spec.inputs), ("→\u00a0", spec.outputs)):
        for tensor in side:
            shape = [*("B" * spec.batched), *_axes(spec, tensor)]
            optional = ", optional" if tensor.optional else ""
            rows.append(
                (
                    f"{arrow}`{tensor.name}`",
                    tensor.dtype + optional,
                    f"`{', '.join(shape)}`",
                    _bytes(spec, tensor),
                    meanings[tensor.name],
                )
            )
    size = "bytes per row" if spec.batched else "bytes"
    return markdown(("tensor", "dtype", "shape", size, ""), rows)


def prompt() -> str:
    """List the fields of a prompt of slimsam_click."""
    rows = []
    for name, schema in SCHEMA["properties"].items():
        default = json.dumps(schema["default"]) if "default" in schema else ""
        rows.append((f"`{name}`", schema["title"], default, schema["description"]))
    return markdown(("field", "", "default", ""), rows)


def labels() -> str:
    """List the labels of points."""
    known = sorted(contract.POINT_LABELS, key=list(LABELS).index)
    rows = [(f"`{label}`", LABELS[label]) for label in known]
    return markdown(("label", "meaning"), rows)


def limits() -> str:
    """List what a request may hold."""
    prompts = contract.MAX_PROMPTS
    logits = contract.DECODER.outputs[0]
    per_prompt = _count(logits, {"P": 1}) * np.dtype(triton_to_np_dtype(logits.dtype)).itemsize
    buckets = ", ".join(map(str, contract.POINT_BUCKETS))
    batches = sorted({_max_batch_size(config) for config in _configs()})
    rows = [
        (
            "P, prompts per image",
            f"0 to {prompts}; TensorRT's plans take 1 to {prompts}; the Python client sends more "
            "in several requests",
        ),
        (
            "N, points per prompt",
            f"1 to {contract.MAX_POINTS}, box corners and padding included; the Python client "
            f"pads to {buckets}, and only requests of equal P and N share a batch",
        ),
        (
            "B, rows",
            f"{batches[0]} to {batches[-1]}, as the served configuration says: send 1 row, "
            "and let the server batch",
        ),
        (
            "an answer's `low_res_masks`",
            f"{per_prompt:,} bytes per prompt; the default limit of gRPC clients, "
            f"{DEFAULT_LIMIT:,} bytes, is reached at P = {DEFAULT_LIMIT // per_prompt}",
        ),
    ]
    return markdown(("", "limit"), rows)


def statuses() -> str:
    """List gRPC's statuses, and what the Python client makes of each."""
    known: list[tuple[str, str, str, bool]] = [  # status, meaning, message, server lives
        (
            "INVALID_ARGUMENT",
            "a tensor's name, dtype, rank or size is wrong, or a picture or setting",
            "",
            True,
        ),
        ("NOT_FOUND", "no model of this name", "", True),
        (
            "NOT_FOUND",
            "[another checkpoint](#an-embeddings-checkpoint) is served",
            "version 5812345678901234 is not found",
            True,
        ),
        ("UNAVAILABLE", "nobody listens", "", False),
        ("UNAVAILABLE", "a model is not ready", "", True),
        ("UNAVAILABLE", "a restricted call lacks its key", "This protocol is restricted", True),
        ("UNAUTHENTICATED", "a proxy before the server wants other metadata", "", True),
        ("PERMISSION_DENIED", "the same", "", True),
        ("DEADLINE_EXCEEDED", "no answer before the client's deadline", "", True),
        ("CANCELLED", "the client cancelled, or the server is going", "", True),
        ("UNAVAILABLE", "a model's queue is full", "Exceeds maximum queue size", True),
        ("RESOURCE_EXHAUSTED", "a proxy before the server takes no more requests", "", True),
        ("RESOURCE_EXHAUSTED", "a message is above a limit of its length", "larger than max", True),
        ("UNIMPLEMENTED", "the server lacks what a setting needs, such as scipy", "", True),
        (
            "INTERNAL",
            "the edge is short of memory and has ended the request: `RST_STREAM with error code 0`",
            "RST_STREAM with error code 0",
            True,
        ),
        ("INTERNAL", "the server failed", "", True),
    ]
    rows = []
    for code, meaning, said, lives in known:
        status = Status(grpc.StatusCode[code].name, said)
        kind = type(from_status(status, "", lives)).__name__
        rows.append((f"`{code}`", meaning, f"[`{kind}`](errors.md#{kind.lower()})"))
    return markdown(("status", "when", "in Python"), rows)


def error_tree() -> str:
    """Draw the tree of the client's errors."""
    text = errors.__doc__ or ""
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    return "\n```text\n" + "\n".join(lines) + "\n```\n"


def settings() -> str:
    """List the settings of everything mode."""
    rows = []
    for setting in dataclasses.fields(GenerateSettings):
        low, high = setting.metadata["low"], setting.metadata["high"]
        default: Any = setting.default
        shown = f"{default:.4g}" if isinstance(default, float) else str(default)
        rows.append((f"`{setting.name}`", shown, f"{low:,} to {high:,}", setting.metadata["text"]))
    return markdown(("setting", "default", "range", ""), rows)


def automatic_limits() -> str:
    """List what the server's model of everything mode takes, by its two configurations."""
    folder = ROOT / "model_repository" / contract.AUTOMATIC.name
    gpu, cpu = (
        text_format.Parse((folder / path).read_text("utf-8"), ModelConfig()).parameters
        for path in ("config.pbtxt", "configs/openvino.pbtxt")
    )
    rows = []
    for name, meaning in AUTOMATIC_LIMITS.items():
        values = dict.fromkeys(
            f"{int(text):,}" if text.isdigit() else text
            for text in (gpu[name].string_value, cpu[name].string_value)
        )
        rows.append((f"`{name}`", "; OpenVINO: ".join(values), meaning))
    return markdown(("parameter", "value", ""), rows)


def options(command: str) -> str:
    """List a command's arguments, without those that say how to reach the server."""
    parser = _command_parser(command)
    known = {action.dest for action in _connection_parser()._actions} | {"help"}
    return _options(action for action in parser._actions if action.dest not in known)


def connection_options() -> str:
    """List the arguments that say how to reach the server, with each command's defaults."""
    shared = _connection_parser()._actions
    for action in shared:
        commands: dict[Any, list[str]] = {}
        for command in COMMANDS:
            parser = _command_parser(command)
            if any(other.dest == action.dest for other in parser._actions):
                commands.setdefault(repr(parser.get_default(action.dest)), []).append(command)
        if len(commands) > 1:
            named = [f"{default} for {', '.join(names)}" for default, names in commands.items()]
            action.default = "; ".join(named)
    return _options(shared)


def gateway_options() -> str:
    """List the arguments of slimsam-gateway, without those of the connection but its address."""
    known = {action.dest for action in _connection_parser()._actions} - {"url", "timeout"}
    hidden = known | {"help", "version"}
    return _options(one for one in command_parser()._actions if one.dest not in hidden)


def problems() -> str:
    """List the kinds of problems that the gateway answers."""
    rows = [(str(kind.status), f"`{kind.name}`", kind.title, kind.advice) for kind in KINDS]
    return markdown(("status", "kind", "", "what to do"), rows)


def exit_statuses() -> str:
    """List the command's exit statuses."""
    return markdown(
        ("exit status", ""), [(str(code), text) for code, text in EXIT_STATUSES.items()]
    )


def _command_parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    COMMANDS[command][0].add_options(parser)
    return parser


def _connection_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    add_connection(parser, timeout=0)  # each command has its own
    return parser


def _options(actions: Iterable[argparse.Action]) -> str:
    rows = []
    for action in actions:
        value = "" if action.nargs == 0 else _value(action)
        names = [f"{name} {value}".strip() for name in action.option_strings] or [value]
        rows.append((", ".join(map(_code, names)), (action.help or "") % vars(action)))
    return markdown(("argument", ""), rows)


def _value(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    metavar = action.metavar or action.dest.upper()
    return metavar if isinstance(metavar, str) else " ".join(metavar)


def _code(text: str) -> str:
    """Code in a table, where a bar would end the cell."""
    return f"<code>{text.replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def _axes(spec: ModelSpec, tensor: TensorSpec) -> list[str]:
    if spec is contract.AUTOMATIC:
        names = iter("HW" if tensor in spec.inputs else "K")
    elif spec is contract.CLICK:
        names = iter("PM")
    elif tensor.name in MASKS_AXES:
        names = iter(MASKS_AXES[tensor.name])
    else:
        names = iter("PN")
    return [next(names) if dim == -1 else str(dim) for dim in tensor.dims]


def _bytes(spec: ModelSpec, tensor: TensorSpec) -> str:
    if tensor.dtype == "BYTES":
        return "any"
    size = math.prod(dim for dim in tensor.dims if dim != -1)
    size *= triton_to_np_dtype(tensor.dtype)().itemsize
    return " ".join([f"{size:,}", *(axis for axis in _axes(spec, tensor) if not axis.isdigit())])


def _count(tensor: TensorSpec, free: dict[str, int]) -> int:
    return math.prod(dim if dim != -1 else next(iter(free.values())) for dim in tensor.dims)


def _configs() -> list[Path]:
    folder = ROOT / "model_repository" / contract.ENSEMBLE.name
    return [folder / "config.pbtxt", *(folder / "configs").glob("*.pbtxt")]


def _max_batch_size(path: Path) -> int:
    return int(text_format.Parse(path.read_text("utf-8"), ModelConfig()).max_batch_size)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Draw a table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
