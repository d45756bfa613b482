"""Answers prompts on pictures that are kept: the clicks of all users that wait, together."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import triton_python_backend_utils as pb_utils

from slimsam_client.calls import Done, advance
from slimsam_client.contract import CLICK, Arrays
from slimsam_client.serving.backend import (
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

    async def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its masks, or with an error of its own."""
        responses = await asyncio.gather(*map(self._response, requests))
        self.metrics.publish()
        return responses

    async def _response(self, request: Any) -> Any:
        advice = "ask for fewer masks, or again later"
        watch = Watch(request.is_cancelled, self.limits.max_seconds, advice)
        try:
            return response_of(request, CLICK, await self._answer(request, watch))
        except Exception as error:
            return refusal(error)

    async def _answer(self, request: Any, watch: Watch) -> Arrays:
        inputs = inputs_of(request, CLICK)
        steps = answer_prompt(inputs, self.cache, self.keys, self.limits, watch)
        step = advance(steps, None)
        while not isinstance(step, Done):
            step = advance(steps, await infer_async(step, watch, request.trace()))
        return step.result
