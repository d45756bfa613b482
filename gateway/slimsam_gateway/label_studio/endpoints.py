"""The addresses that Label Studio asks for, below /label-studio."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from slimsam_client import ContractError, MaskError, NotKeptError
from slimsam_client.contract import CLICK, IMAGE
from slimsam_client.encodings import from_rle
from slimsam_client.errors import OTHER_CONTRACT
from slimsam_client.relay import KeptImage, Relay, RelayedMasks
from slimsam_client.version import __version__
from slimsam_gateway.dialects import LABEL_STUDIO as PREFIX
from slimsam_gateway.exchange import Exchange
from slimsam_gateway.fetching import Fetched, Fetcher
from slimsam_gateway.label_studio.brush import MAX_PIXELS, to_brush
from slimsam_gateway.label_studio.memo import Known, Memo
from slimsam_gateway.label_studio.prediction import Prediction, read_prediction
from slimsam_gateway.label_studio_settings import LabelStudioSettings
from slimsam_gateway.models import require
from slimsam_gateway.problems import PICTURE_FETCH, PICTURE_SOURCE, Problem
from slimsam_gateway.record import record_of

WEBHOOK: Final = f"{PREFIX}/webhook"
"""Label Studio tells here, without a key, what was annotated; nothing is done with it."""
VERSION: Final = f"slimsam-{__version__}"
MAX_BODY_BYTES: Final = 2**24
"""A task comes with all that was annotated on it, brush masks among it."""


class LabelStudio:
    """An ML backend of Label Studio.

    Args:
        settings: where pictures are, and by which token.
        exchange: how requests are passed on.
    """

    def __init__(self, settings: LabelStudioSettings, exchange: Exchange) -> None:
        self._exchange = exchange
        self._fetcher = Fetcher(
            settings.sources,
            settings.token,
            exchange.settings.max_image_bytes,
            settings.fetch_seconds,
        )
        self._memo = Memo()

    @property
    def routes(self) -> list[Route]:
        """The addresses."""
        up = {"status": "UP", "model_class": "SlimSAM"}
        version = {"model_version": VERSION}
        return [
            Route(PREFIX, _fixed(up)),
            Route(f"{PREFIX}/", _fixed(up)),
            Route(f"{PREFIX}/health", _fixed(up)),
            Route(f"{PREFIX}/versions", _fixed({"versions": [VERSION]})),
            # What is in their bodies, an access token among it, is of no use here and is not read.
            Route(f"{PREFIX}/setup", _fixed(version), methods=["POST"]),
            Route(WEBHOOK, _fixed({"status": "ok"}, 201), methods=["POST"]),
            Route(f"{PREFIX}/predict", self.predict, methods=["POST"]),
        ]

    async def predict(self, request: Request) -> Response:
        """Give the mask of what was clicked, and nothing where nothing was."""
        record = record_of(request.scope)
        record.kind = "label-studio"

        async def ask(relay: Relay, body: bytes) -> dict[str, Any]:
            prediction = await asyncio.to_thread(read_prediction, body)
            if prediction is None:
                # Without results Label Studio keeps no empty prediction for each task.
                return {"results": []}
            masks = await self._masks(relay, prediction)
            return {"results": [await asyncio.to_thread(_result, prediction, masks)]}

        try:
            return await self._exchange.answer(
                request, ask, MAX_BODY_BYTES, "delete some of the task's annotations"
            )
        except Problem as problem:
            # Label Studio shows its user the status alone, so it is the log that says more.
            if problem.kind in (PICTURE_FETCH, PICTURE_SOURCE):
                record.error = problem.detail
            raise

    async def _masks(self, relay: Relay, prediction: Prediction) -> RelayedMasks:
        url, known = prediction.url, self._memo.get(prediction.url)
        if known is not None and known.kept.original_size != prediction.size:
            known = None
        with self._exchange.admission.room() as take:
            fetched = await self._fetcher.fetch(url, None if known is None else known.etag, take)
            kept = await self._kept(relay, prediction, fetched, known)
            try:
                return await relay.click(kept.image_id, prediction.prompt)
            except NotKeptError:
                if fetched.content is None:
                    fetched = await self._fetcher.fetch(url, None, take)
                kept = await self._kept(relay, prediction, fetched, None)
                return await relay.click(kept.image_id, prediction.prompt)

    async def _kept(
        self, relay: Relay, prediction: Prediction, fetched: Fetched, known: Known | None
    ) -> KeptImage:
        """Have the server keep the picture, if it is not the one that is known."""
        content = fetched.content
        if content is None:
            assert known is not None
            return known.kept
        digest = await asyncio.to_thread(lambda: hashlib.sha256(content).digest())
        if known is not None and known.digest == digest:
            kept = known.kept
        else:
            await require(relay, IMAGE, CLICK)
            kept = await relay.upload(content)
            if kept.original_size != prediction.size:
                # What was fetched is a reduction of what is shown, or the server says what it is.
                kept = await relay.upload(content, prediction.size)
        self._memo.put(prediction.url, Known(fetched.etag, digest, kept))
        return kept


def _result(prediction: Prediction, answer: RelayedMasks) -> dict[str, Any]:
    height, width = prediction.size
    try:
        [[counts]] = answer.masks
        rle = {"size": [height, width], "counts": counts}
        brush = to_brush(from_rle(rle, MAX_PIXELS))  # type: ignore[arg-type]
    except (MaskError, ValueError) as error:
        raise ContractError(
            f"{CLICK.name}: expected one mask of {height} x {width} pixels as RLE, got something "
            f"else; {OTHER_CONTRACT}"
        ) from error
    score = float(answer.scores[0, 0])
    region = {
        "type": "brushlabels",
        "from_name": prediction.brush,
        "to_name": prediction.picture,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": brush, "brushlabels": list(prediction.names)},
        "score": score,
        "readonly": False,
    }
    # A brush without a pixel would be a region that nobody can see or choose.
    regions = [region] if answer.areas[0, 0] else []
    return {"result": regions, "score": score, "model_version": VERSION}


def _fixed(content: dict[str, Any], status: int = 200) -> Any:
    async def answer(request: Request) -> Response:
        record_of(request.scope).kind = "label-studio"
        return JSONResponse(content, status)

    return answer
