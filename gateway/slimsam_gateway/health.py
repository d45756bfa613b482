"""`/health`: whether the server serves what the gateway asks for, by inferences of each model."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from slimsam_client import ServerUnavailableError, SlimSam
from slimsam_client.cli.health import examine
from slimsam_client.contract import AUTOMATIC, CLICK, ENSEMBLE, IMAGE
from slimsam_gateway.record import record_of
from slimsam_gateway.settings import GatewaySettings

ASKED: Final = (ENSEMBLE.name, IMAGE.name, CLICK.name, AUTOMATIC.name)
"""The ensemble is asked because it is encoder and decoder, by which the others live."""
NEEDED: Final = (ENSEMBLE.name, IMAGE.name, CLICK.name)
"""Without everything mode, the rest of the gateway is of use."""
Found = tuple[dict[str, Any], str | None]
"""What is answered, and what the operator is to know; None if all is well."""
FRESH_SECONDS: Final = 1.0
SECONDS: Final = 5.0
"""Each model may take so long."""


class Health:
    """Looks at the server, at most once at a time, whoever asks how often.

    Args:
        settings: the gateway's.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._looking: asyncio.Task[Found] | None = None
        self._ended = 0.0

    async def response(self, request: Request) -> Response:
        """Answer 200 if all that is needed answers, else 503."""
        record = record_of(request.scope)
        record.kind = "health"
        found, record.error = await self._look()
        return JSONResponse(found, 200 if found["healthy"] else 503)

    async def _look(self) -> Found:
        looking = self._looking
        if looking is None or (looking.done() and time.monotonic() - self._ended > FRESH_SECONDS):
            looking = self._looking = asyncio.create_task(asyncio.to_thread(self._examine))
            looking.add_done_callback(self._end)
        # Others wait for the same look, and a caller who leaves does not end it.
        return await asyncio.shield(looking)

    def _end(self, _: object) -> None:
        self._ended = time.monotonic()

    def _examine(self) -> Found:
        models = []
        for name in ASKED:
            # As for `slimsam health`, a client that had an answer would wait for a missing model.
            with SlimSam(
                self._settings.url,
                SECONDS,
                tls=self._settings.tls,
                headers=self._settings.headers,
            ) as sam:
                try:
                    models.append(examine(sam, name, SECONDS))
                except ServerUnavailableError as error:
                    return _found(False, "the server cannot be reached", []), str(error)
        missing = [one.model for one in models if one.model in NEEDED and one.ready is False]
        wrong = {one.model: one.error for one in models if one.error and one.model not in missing}
        said = [f"{name} is not served" for name in missing]
        said += [f"{name} does not answer as it should" for name in wrong]
        # What exactly is wrong names the server's address, which is none of a stranger's business.
        shown = [
            {**dataclasses.asdict(one), "error": f"{one.model} is wrong" if one.error else None}
            for one in models
        ]
        reasons = "; ".join((*said[: len(missing)], *wrong.values()))
        return _found(True, "; ".join(said) or None, shown), reasons or None


def _found(live: bool, error: str | None, models: list[dict[str, Any]]) -> dict[str, Any]:
    return {"healthy": error is None, "live": live, "error": error, "models": models}
