"""`/api/functions` and `/api/function_invocations`: what CVAT asks Nuclio's dashboard.

CVAT's community edition knows functions by that dashboard alone. The gateway answers in its place,
as if two functions were deployed: one for clicks and boxes, one for whole pictures.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from slimsam_client import ContractError, GenerateSettings, MaskError, PromptError
from slimsam_client.contract import AUTOMATIC, CLICK, IMAGE
from slimsam_client.encodings import from_packed_bits, to_box
from slimsam_client.errors import OTHER_CONTRACT
from slimsam_client.everything import MaskRecord
from slimsam_client.quoting import quoted_value
from slimsam_client.relay import KeptImage, Relay, RelayedMasks
from slimsam_gateway import json_pictures
from slimsam_gateway.exchange import Exchange
from slimsam_gateway.models import require
from slimsam_gateway.problems import CONTENT, NOT_FOUND, Problem
from slimsam_gateway.queries import check_names
from slimsam_gateway.record import record_of

KIND: Final = "cvat"
CLICKS: Final = "slimsam"
EVERYTHING: Final = "slimsam-everything"
LABEL: Final = "object"
MAX_DETECTION_BYTES: Final = 2**26
"""Of all masks of a picture: a thousand that span a large one would be gigabytes."""
NAME_HEADER: Final = "x-nuclio-function-name"


def _function(name: str, title: str, description: str, **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "nuclio",
            "annotations": {"name": title, "framework": "triton", **annotations},
        },
        "spec": {"description": description},
        "status": {"state": "ready"},
    }


FUNCTIONS: Final = {
    CLICKS: _function(
        CLICKS,
        "SlimSAM",
        "Masks from clicks and boxes.",
        type="interactor",
        version="2",
        spec="",
        min_pos_points="0",
        min_neg_points="0",
        startswith_box_optional="true",
        help_message="Click on the object; click with the right button on what is not of it.",
        animated_gif="",
    ),
    EVERYTHING: _function(
        EVERYTHING,
        "SlimSAM everything",
        "Masks of all that is in a picture, without names.",
        type="detector",
        spec=json.dumps([{"id": 0, "name": LABEL, "type": "mask", "attributes": []}]),
    ),
}


async def functions(request: Request, exchange: Exchange) -> Response:
    """List the functions."""
    record_of(request.scope).kind = KIND
    return JSONResponse(FUNCTIONS)


async def function(request: Request, exchange: Exchange) -> Response:
    """Describe one function."""
    record_of(request.scope).kind = KIND
    return JSONResponse(FUNCTIONS[_known(request.path_params["name"])])


async def invocation(request: Request, exchange: Exchange) -> Response:
    """Run the function that the header names."""
    record_of(request.scope).kind = KIND
    check_names(request.query_params)
    name = _known(request.headers.get(NAME_HEADER, ""))
    limits = exchange.settings

    async def ask(relay: Relay, body: bytes) -> bytes:
        picture, content = await asyncio.to_thread(json_pictures.read, body, limits)
        if name == EVERYTHING:
            await require(relay, IMAGE, AUTOMATIC)
            # The server alone can make the id that it compares.
            kept = await relay.upload(picture)
            _, records = await relay.generate(kept.image_id, picture, GenerateSettings())
            return await asyncio.to_thread(_as_detections, records)
        prompt = json_pictures.written(prompt_of(content), limits.max_prompt_bytes)
        answer = await json_pictures.click(relay, picture, prompt)
        return await asyncio.to_thread(_as_rows, *answer)

    return await exchange.answer(
        request,
        ask,
        json_pictures.max_bytes(limits),
        json_pictures.ADVICE,
        seconds=limits.max_timeout if name == EVERYTHING else None,
    )


def prompt_of(content: dict[str, Any]) -> dict[str, Any]:
    """Give the prompt of an interactor's payload.

    Raises:
        PromptError: its lists are none, or the box has not two corners.
    """
    positive, negative = (_points(content, name) for name in ("pos_points", "neg_points"))
    corners = _points(content, "obj_bbox")
    prompt: dict[str, Any] = {"format": "bits"}
    if positive or negative:
        prompt["points"] = [*positive, *negative]
        prompt["labels"] = [1] * len(positive) + [0] * len(negative)
    if corners:
        if len(corners) != 2:
            raise PromptError(f"obj_bbox: expected two corners, got {len(corners)}")
        (x0, y0), (x1, y1) = corners
        prompt["box"] = [min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]
    if len(prompt) == 1:
        raise PromptError("pos_points, neg_points, obj_bbox: expected a point or a box, got none")
    return prompt


def _points(content: dict[str, Any], name: str) -> list[list[float]]:
    points = content.get(name) or []
    if not isinstance(points, list) or not all(map(_is_point, points)):
        raise PromptError(f"{name}: expected a list of [x, y], got {quoted_value(points)}")
    return points


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value)
    )


def _known(name: str) -> str:
    if name not in FUNCTIONS:
        raise Problem(
            NOT_FOUND, f"function: expected {', '.join(FUNCTIONS)}, got {quoted_value(name)}"
        )
    return name


def _as_rows(kept: KeptImage, answer: RelayedMasks) -> bytes:
    """Write {"mask": rows of 0 and 1}, as JSON of two bytes for each pixel."""
    try:
        mask = from_packed_bits(answer.masks[0, 0], kept.original_size)
    except (IndexError, MaskError, TypeError, ValueError) as error:
        raise ContractError(
            f"{CLICK.name}: expected the output masks as bits of the picture's size, got something "
            f"else; {OTHER_CONTRACT}"
        ) from error
    return b'{"mask":[' + b",".join(map(_row, mask)) + b"]}"


def _row(pixels: NDArray[np.bool_]) -> bytes:
    text = np.full(2 * len(pixels) + 1, ord(","), np.uint8)
    text[1::2] = pixels + np.uint8(ord("0"))
    text[0], text[-1] = b"[]"
    return text.tobytes()


def _as_detections(records: Iterable[MaskRecord]) -> bytes:
    """Write masks as a list of JSON objects.

    Raises:
        Problem: they are longer than `MAX_DETECTION_BYTES`: each pixel of each box takes two.
    """
    found, total = [], 0
    for record in records:
        found.append(_detection(record))
        total += len(found[-1])
        if total > MAX_DETECTION_BYTES:
            raise Problem(
                CONTENT,
                f"masks: expected at most {MAX_DETECTION_BYTES:,} bytes of JSON together, got "
                f"more; {json_pictures.ADVICE}",
            )
    return b"[" + b",".join(found) + b"]"


def _detection(record: MaskRecord) -> bytes:
    """Write a mask as CVAT has it: the pixels of its box, row after row, and the box's corners."""
    mask = record.segmentation
    x0, y0, x1, y1 = to_box(mask) or (0, 0, 1, 1)
    pixels = _row(mask[y0:y1, x0:x1].ravel())[:-1]
    content = {"confidence": str(record.predicted_iou), "label": LABEL, "type": "mask"}
    head = json.dumps(content, separators=(",", ":")).encode()[:-1]
    return head + b',"mask":' + pixels + f",{x0},{y0},{x1 - 1},{y1 - 1}]}}".encode()
