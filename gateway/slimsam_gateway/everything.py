"""`/v1/images/{id}/everything`: masks of all that is in a picture.

The server's model of everything mode takes a picture's file, not its id, and what the server keeps
is no file. So the file is the body here, too: it goes to the server once more, which makes the id
of it, for the comparison, and uses the embedding that it keeps. Files that the gateway kept would
be a second cache of strangers' pictures, to be bounded, erased and shared by all gateways; to send
a few megabytes again costs little beside a grid of a thousand points. Settings are parameters of
the query, since the body is taken.

A server without slimsam_automatic gets a problem: the client's own everything mode would put each
caller's picture, and minutes of computing, into the gateway's process.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from slimsam_client.contract import AUTOMATIC, IMAGE
from slimsam_client.everything import MaskRecord
from slimsam_client.relay import KeptImage, Relay
from slimsam_gateway.exchange import Exchange
from slimsam_gateway.images import REDUCE, image_id_of
from slimsam_gateway.models import require
from slimsam_gateway.queries import (
    SETTINGS,
    SIZE,
    TIMEOUT,
    check_names,
    original_size_of,
    settings_of,
)
from slimsam_gateway.record import record_of


async def everything(request: Request, exchange: Exchange) -> Response:
    """Segment everything in the picture that is the body."""
    record_of(request.scope).kind = "everything"
    check_names(request.query_params, TIMEOUT, *SIZE, *SETTINGS)
    image_id = image_id_of(request)
    settings = settings_of(request.query_params)
    size = original_size_of(request.query_params)

    async def ask(relay: Relay, body: bytes) -> dict[str, Any]:
        await require(relay, IMAGE, AUTOMATIC)
        answer = await relay.generate(image_id, body, settings, size)
        return await asyncio.to_thread(_as_json, *answer)

    limits = exchange.settings
    return await exchange.answer(
        request, ask, limits.max_image_bytes, REDUCE, seconds=limits.max_timeout
    )


def _as_json(kept: KeptImage, records: list[MaskRecord]) -> dict[str, Any]:
    height, width = kept.original_size
    return {
        "width": width,
        "height": height,
        "records": [record.as_dict("coco_rle") for record in records],
    }
