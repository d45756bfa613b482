"""Answers prompts on pictures that are kept: the clicks of all users that wait, together."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import triton_python_backend_utils as pb_utils

from slimsam_client.calls import Done, advance
from slimsam_client.contract import CLICK, Arrays
from slimsam_client.serving.backend import (
    infer,
    infer_async,
    info_folder,
    inputs_of,
    parameters_of,
    refusal,
    response_of,
)
from slimsam_client.serving.cache.errors import CacheError
from slimsam_client.serving.cache.identity import PictureKeys
from slimsam_client.serving.cache.metrics import CacheMetrics
from slimsam_client.serving.cache.settings import CacheSettings
from slimsam_client.serving.clicks import ClickLimits, answer_prompt
from slimsam_client.serving.heap import keep_freed_memory
from slimsam_client.serving.limits import Watch
from slimsam_client.serving.parameters import read_parameters


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration's parameters and open the cache.

        A repository may have artifacts of before there was anything to know them by.
        """
        keep_freed_memory()
        parameters = parameters_of(args)
        self.limits = read_parameters(ClickLimits, parameters)
        settings = read_parameters(CacheSettings, parameters)
        self.keys: PictureKeys | None = None
        with contextlib.suppress(CacheError):  # slimsam_image says so to whom it concerns
            self.keys = settings.keys(info_folder(args))
        self.cache = settings.open()
        self.metrics = CacheMetrics(pb_utils, self.cache)
        self.loop = asyncio.new_event_loop()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its masks, or with an error of its own.

        Were this a coroutine, Triton's stub would run it in another thread, and a click would wait
        for one more that wakes up, twice.
        """
        responses: list[Any] = self.loop.run_until_complete(self._responses(requests))
        self.metrics.publish()
        return responses

    def finalize(self) -> None:
        """End."""
        self.loop.close()

    async def _responses(self, requests: list[Any]) -> list[Any]:
        alone = len(requests) == 1
        return await asyncio.gather(*(self._response(request, alone) for request in requests))

    async def _response(self, request: Any, alone: bool) -> Any:
        advice = "ask for fewer masks, or again later"
        watch = Watch(request.is_cancelled, self.limits.max_seconds, advice)
        try:
            return response_of(request, CLICK, await self._answer(request, watch, alone))
        except Exception as error:
            return refusal(error)

    async def _answer(self, request: Any, watch: Watch, alone: bool) -> Arrays:
        inputs = inputs_of(request, CLICK)
        steps = answer_prompt(inputs, self.cache, self.keys, self.limits, watch)
        step = advance(steps, None)
        while not isinstance(step, Done):
            call = step, watch, request.trace()
            # Called from a thread of its own, a model answers later: only others gain by that.
            step = advance(steps, infer(*call) if alone else await infer_async(*call))
        return step.result
