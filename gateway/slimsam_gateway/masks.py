"""`/v1/images/{id}/masks`: a prompt, and the masks that it gives."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from slimsam_client import ContractError
from slimsam_client.clicks.request import ClickRequest, MaskFormat
from slimsam_client.contract import CLICK
from slimsam_client.errors import OTHER_CONTRACT
from slimsam_client.relay import Relay, RelayedMasks
from slimsam_gateway.exchange import Exchange
from slimsam_gateway.images import image_id_of
from slimsam_gateway.queries import TIMEOUT, check_names
from slimsam_gateway.record import record_of


async def click(request: Request, exchange: Exchange) -> Response:
    """Segment a picture that the server keeps."""
    record_of(request.scope).kind = "click"
    check_names(request.query_params, TIMEOUT)
    image_id = image_id_of(request)
    most = exchange.settings.max_prompt_bytes

    async def ask(relay: Relay, body: bytes) -> dict[str, Any]:
        prompt = ClickRequest.from_json(body, most)
        answer = await relay.click(image_id, body)
        return await asyncio.to_thread(as_json, answer, prompt.format)

    return await exchange.answer(request, ask, most, "ask for fewer objects at once")


def as_json(answer: RelayedMasks, form: MaskFormat) -> dict[str, Any]:
    """Give masks as JSON can have them.

    Args:
        answer: P objects with M masks each.
        form: the form of its masks.

    Returns:
        `format`, and lists of P lists of M: `masks` (the counts of an RLE as text, a MultiPolygon
        of GeoJSON, or else base64), `scores`, `boxes`, `areas` and `mask_ids`,
        which are null where masks are not kept.

    Raises:
        ContractError: the server sent something else.
    """
    try:
        masks = [[_ENCODERS[form](mask) for mask in row] for row in answer.masks]
    except (TypeError, ValueError) as error:
        raise ContractError(
            f"{CLICK.name}: expected the output masks as {form}, got something else; "
            f"{OTHER_CONTRACT}"
        ) from error
    return {
        "format": form,
        "masks": masks,
        "scores": answer.scores.tolist(),
        "boxes": answer.boxes.tolist(),
        "areas": answer.areas.tolist(),
        "mask_ids": answer.mask_ids.tolist(),
    }


def _base64(mask: bytes) -> str:
    return base64.b64encode(mask).decode("ascii")


_ENCODERS: Final[dict[MaskFormat, Callable[[bytes], Any]]] = {
    "rle": lambda mask: mask.decode("ascii"),
    "png": _base64,
    "polygons": json.loads,
    "bits": _base64,
    "logits": _base64,
}
