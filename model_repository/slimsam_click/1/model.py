"""Answers prompts on pictures that are kept: the clicks of all users that wait, together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Any, Final

import triton_python_backend_utils as pb_utils

from slimsam_client.calls import Call, Done, Steps, advance
from slimsam_client.contract import BULK_DECODER, CLICK, Arrays
from slimsam_client.errors import ServerBusyError
from slimsam_client.serving.backend import (
    FULL,
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

THREADS: Final = 2
"""So many requests of several prompts are worked on at once, beside the clicks."""


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
        self.threads = ThreadPoolExecutor(THREADS)
        self.places = BoundedSemaphore(self.limits.max_waiting)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its masks, or with an error of its own.

        One of several prompts, which may take a hundred times as long as a click, is answered later
        by a thread: its place in the list is None. Triton takes it as done when that has answered.

        Were this a coroutine, Triton's stub would run it in another thread, and a click would wait
        for one more that wakes up, twice.
        """
        if len(requests) == 1:  # a loop takes 0.15 ms
            responses = [_result(self._response(requests[0], alone=True))]
        else:
            responses = self.loop.run_until_complete(self._responses(requests))
        self.metrics.publish()
        return responses

    def finalize(self) -> None:
        """End, when all have their answers."""
        self.threads.shutdown()
        self.loop.close()

    async def _responses(self, requests: list[Any]) -> list[Any]:
        return await asyncio.gather(*(self._response(request) for request in requests))

    async def _response(self, request: Any, alone: bool = False) -> Any:
        advice = "ask for fewer masks, or again later"
        watch = Watch(request.is_cancelled, self.limits.max_seconds, advice)
        try:
            inputs = inputs_of(request, CLICK)
            steps = answer_prompt(inputs, self.cache, self.keys, self.limits, watch)
            step = advance(steps, None)
            if isinstance(step, Call) and step.spec is BULK_DECODER:
                self._answer_later(request, steps, step, watch)
                return None
            while not isinstance(step, Done):
                call = step, watch, request.trace()
                # Called from a thread of its own, a model answers later: only others gain by that.
                step = advance(steps, infer(*call) if alone else await infer_async(*call))
            return response_of(request, CLICK, step.result)
        except Exception as error:
            return refusal(error)

    def _answer_later(self, request: Any, steps: Steps[Arrays], call: Call, watch: Watch) -> None:
        """Have a thread do the rest, and answer.

        Raises:
            ServerBusyError: too many wait for that.
        """
        if not self.places.acquire(blocking=False):
            raise ServerBusyError(
                f"slimsam_click: {FULL} of {self.limits.max_waiting} requests of several prompts "
                "exceeded; ask again later, or for fewer prompts at once"
            )
        sender, trace = request.get_response_sender(), request.trace()

        def answer() -> None:
            try:
                watch.restart()
                watch.check()
                step: Call | Done[Arrays] = call
                while not isinstance(step, Done):
                    step = advance(steps, infer(step, watch, trace))
                response = response_of(request, CLICK, step.result)
            except Exception as error:
                response = refusal(error)
            end = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
            try:
                sender.send(response, end)
            except Exception as error:  # such as no room in shared memory
                sender.send(refusal(error), end)
            finally:
                self.places.release()

        self.threads.submit(answer)


def _result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Give what a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("expected a coroutine that waits for nothing, got one that does")
