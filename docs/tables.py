"""Tables of the documentation that come from the code; `make docs` has cog write them."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from slimsam_client import contract, errors
from slimsam_client.cli import COMMANDS
from slimsam_client.cli.options import add_connection
from slimsam_client.contract import ModelSpec, TensorSpec
from slimsam_client.everything import GenerateSettings

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
}
AUTOMATIC_MEANINGS = {
    "image_bytes": "an encoded picture: JPEG, PNG, WebP, ...",
    "image": "RGB, in its own size; instead of `image_bytes`",
    "settings": "a JSON object of everything mode's settings",
    "boxes": "x, y, width, height of each mask in pixels",
    "areas": "pixels of each mask",
    "predicted_iou": "the model's own estimate",
    "stability_score": "IoU of the mask with itself at shifted thresholds",
    "point_coords": "(x, y) of the grid point that it comes from",
    "crop_boxes": "x, y, width, height of the crop that it comes from",
    "rles": "counts of COCO's compressed RLE",
    "original_size": "(height, width) of the picture: the RLEs' size",
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
    meanings = AUTOMATIC_MEANINGS if spec is contract.AUTOMATIC else MEANINGS
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


def labels() -> str:
    """List the labels of points."""
    known = sorted(contract.POINT_LABELS, key=list(LABELS).index)
    rows = [(f"`{label}`", LABELS[label]) for label in known]
    return markdown(("label", "meaning"), rows)


def limits() -> str:
    """List what a request may hold."""
    prompts = contract.MAX_PROMPTS
    per_prompt = _count(contract.DECODER.outputs[0], {"P": 1}) * 2
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
        ("INVALID_ARGUMENT", "a tensor's name, dtype, shape, size or value is wrong", "", True),
        ("NOT_FOUND", "no model of this name or version", "", True),
        ("UNAVAILABLE", "nobody listens", "", False),
        ("UNAVAILABLE", "a model is not ready", "", True),
        ("UNAVAILABLE", "a restricted call lacks its key", "This protocol is restricted", True),
        ("UNAUTHENTICATED", "a proxy before the server wants other metadata", "", True),
        ("PERMISSION_DENIED", "the same", "", True),
        ("DEADLINE_EXCEEDED", "no answer before the client's deadline", "", True),
        ("CANCELLED", "the client cancelled, or the server is going", "", True),
        ("RESOURCE_EXHAUSTED", "the answer is above the client's own limit", "", True),
        ("UNIMPLEMENTED", "the server lacks what a setting needs, such as scipy", "", True),
        ("INTERNAL", "the server failed", "", True),
    ]
    rows = []
    for status, meaning, said, lives in known:
        error = InferenceServerException(said, status=f"StatusCode.{grpc.StatusCode[status].name}")
        kind = type(errors.from_triton(error, "", lives)).__name__
        rows.append((f"`{status}`", meaning, f"[`{kind}`](errors.md#{kind.lower()})"))
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


def options(command: str) -> str:
    """List a command's arguments, without those that say how to reach the server."""
    parser = argparse.ArgumentParser()
    COMMANDS[command][0].add_options(parser)
    known = {action.dest for action in _connection_parser()._actions} | {"help"}
    return _options(action for action in parser._actions if action.dest not in known)


def connection_options() -> str:
    """List the arguments that say how to reach the server."""
    return _options(_connection_parser()._actions)


def _connection_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    add_connection(parser, timeout=30)
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
    else:
        names = iter("PN")
    return [next(names) if dim == -1 else str(dim) for dim in tensor.dims]


def _bytes(spec: ModelSpec, tensor: TensorSpec) -> str:
    if tensor.dtype == "BYTES":
        return "any"
    size = math.prod(dim for dim in tensor.dims if dim != -1)
    size *= triton_to_np_dtype(tensor.dtype)().itemsize
    return " ".join([f"{size:,}", *(axis for axis in _axes(spec, tensor) if axis.isalpha())])


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
