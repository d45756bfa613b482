"""The addresses below `/x-anylabeling`.

Every click brings the whole picture. The server knows it by its bytes, so it is encoded once.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from slimsam_client.relay import Relay, RelayedMasks
from slimsam_gateway import json_pictures
from slimsam_gateway.exchange import Exchange
from slimsam_gateway.health import Health
from slimsam_gateway.masks import as_json
from slimsam_gateway.queries import TIMEOUT, check_names
from slimsam_gateway.record import record_of
from slimsam_gateway.x_anylabeling.marks import MODEL, Asked
from slimsam_gateway.x_anylabeling.outlines import outlines

KIND: Final = "x-anylabeling"
LABEL: Final = "AUTOLABEL_OBJECT"
"""The label of a shape that the user is still to name."""
BUTTONS: Final = (
    "button_add_point",
    "button_remove_point",
    "button_add_rect",
    "button_clear",
    "button_finish_object",
)
FINENESS: Final = 10
WIDGETS: Final = [
    *({"name": name, "value": None} for name in BUTTONS),
    {"name": "mask_fineness_slider", "value": FINENESS},
    {"name": "mask_fineness_value_label", "value": None},
]
MODELS: Final[dict[str, Any]] = {
    MODEL: {
        "display_name": "SlimSAM",
        "widgets": WIDGETS,
        "params": {},
        "capabilities": {},
        "batch_processing_mode": None,
    }
}


async def healthy(request: Request, health: Health) -> Response:
    """Answer 200 if the server answers, else 503."""
    record = record_of(request.scope)
    record.kind = "health"
    found, record.error = await health.look()
    well = found["healthy"]
    content = {
        "status": "healthy" if well else "unhealthy",
        "models_loaded": int(well),
        "timestamp": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    return JSONResponse(content, 200 if well else 503)


async def models(request: Request, exchange: Exchange) -> Response:
    """Answer with the one model, and the tool's buttons that it has a use for."""
    record_of(request.scope).kind = "about"
    return JSONResponse(_success(MODELS))


async def predict(request: Request, exchange: Exchange) -> Response:
    """Segment what the marks say, in the picture that is beside them."""
    record_of(request.scope).kind = KIND
    check_names(request.query_params, TIMEOUT)
    limits = exchange.settings

    async def ask(relay: Relay, body: bytes) -> dict[str, Any]:
        asked = await asyncio.to_thread(Asked.from_json, body, limits)
        if asked.prompt is None:
            return _shapes([])
        _, answer = await json_pictures.click(relay, asked.picture, asked.prompt)
        return await asyncio.to_thread(_as_shapes, answer, asked.epsilon_factor)

    return await exchange.answer(
        request, ask, json_pictures.max_bytes(limits), json_pictures.ADVICE
    )


def _as_shapes(answer: RelayedMasks, epsilon_factor: float) -> dict[str, Any]:
    content = as_json(answer, "polygons")
    return _shapes(
        [
            {
                "label": LABEL,
                "shape_type": "polygon",
                # A closed shape ends where it begins.
                "points": [*ring.tolist(), ring[0].tolist()],
                "score": score,
            }
            for masks, scores in zip(content["masks"], content["scores"], strict=True)
            for mask, score in zip(masks, scores, strict=True)
            for ring in outlines(mask["coordinates"], epsilon_factor)
        ]
    )


def _shapes(shapes: list[dict[str, Any]]) -> dict[str, Any]:
    return _success({"shapes": shapes, "description": "", "replace": False})


def _success(data: Any) -> dict[str, Any]:
    return {"success": True, "data": data}
