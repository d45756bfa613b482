"""`/v1/images`: pictures that the server is to keep, and to keep no longer."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from slimsam_client.contract import CLICK, ID_PATTERN, IMAGE
from slimsam_client.quoting import quoted_value
from slimsam_client.relay import Relay
from slimsam_gateway.exchange import Exchange
from slimsam_gateway.models import require
from slimsam_gateway.problems import NOT_KEPT, Problem
from slimsam_gateway.queries import SIZE, TIMEOUT, check_names, original_size_of
from slimsam_gateway.record import record_of

REDUCE = (
    "reduce the picture to 1024 pixels on its longest side, and give its original_height and "
    "original_width"
)


async def upload(request: Request, exchange: Exchange) -> Response:
    """Have the server keep the picture that is the body."""
    record_of(request.scope).kind = "upload"
    check_names(request.query_params, TIMEOUT, *SIZE)
    size = original_size_of(request.query_params)

    async def ask(relay: Relay, body: bytes) -> dict[str, object]:
        # A server without them has no place to keep a picture, and the gateway is none either.
        await require(relay, IMAGE, CLICK)
        kept = await relay.upload(body, size)
        height, width = kept.original_size
        return {"id": kept.image_id, "width": width, "height": height}

    most = exchange.settings.max_image_bytes
    return await exchange.answer(request, ask, most, REDUCE, status=201)


async def forget(request: Request, exchange: Exchange) -> Response:
    """Have the server erase a picture and its masks."""
    record_of(request.scope).kind = "forget"
    check_names(request.query_params, TIMEOUT)
    image_id = image_id_of(request)

    async def ask(relay: Relay, body: bytes) -> None:
        await relay.forget(image_id)

    most = exchange.settings.max_prompt_bytes
    return await exchange.answer(request, ask, most, "send none", status=204)


def image_id_of(request: Request) -> str:
    """Give the id in a request's address.

    Raises:
        Problem: it is none, so no picture has it.
    """
    image_id: str = request.path_params["image_id"]
    if not re.fullmatch(ID_PATTERN, image_id):
        raise Problem(
            NOT_KEPT,
            "id: expected 64 hexadecimal digits, as the answer to a picture has them, "
            f"got {quoted_value(image_id)}",
        )
    return image_id
