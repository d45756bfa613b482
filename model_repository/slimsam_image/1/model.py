"""Encodes a picture, keeps its embedding in the cache, and hands out the id that it is kept by."""

from __future__ import annotations

import threading
from typing import Any, Final

import triton_python_backend_utils as pb_utils

from slimsam_client.calls import Done, advance
from slimsam_client.contract import IMAGE, Arrays
from slimsam_client.errors import ServerError
from slimsam_client.serving.backend import (
    infer,
    info_folder,
    inputs_of,
    parameters_of,
    refusal,
    response_of,
)
from slimsam_client.serving.cache.errors import CacheError
from slimsam_client.serving.cache.metrics import CacheMetrics
from slimsam_client.serving.cache.settings import CacheSettings
from slimsam_client.serving.limits import Watch
from slimsam_client.serving.parameters import read_parameters
from slimsam_client.serving.uploads import UploadLimits, answer_upload

SWEEP_SECONDS: Final = 10.0
"""So often what is too old is erased, if nobody asks for anything."""


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration's parameters and open the cache.

        A repository may have artifacts of before there was anything to know them by.
        """
        parameters = parameters_of(args)
        self.limits = read_parameters(UploadLimits, parameters)
        settings = read_parameters(CacheSettings, parameters)
        self.missing = ""
        try:
            self.keys = settings.keys(info_folder(args))
        except CacheError as error:
            self.missing = str(error)
        self.cache = settings.open()
        self.metrics = CacheMetrics(pb_utils, self.cache)
        self.ends = threading.Event()
        self.sweeper = threading.Thread(target=self._sweep, daemon=True)
        self.sweeper.start()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with an id, or with an error of its own."""
        responses = [self._response(request) for request in requests]
        self.metrics.publish()
        return responses

    def finalize(self) -> None:
        """End."""
        self.ends.set()
        self.sweeper.join()

    def _sweep(self) -> None:
        while not self.ends.wait(SWEEP_SECONDS):
            self.cache.sweep()

    def _response(self, request: Any) -> Any:
        advice = "send a smaller picture, or ask again later"
        watch = Watch(request.is_cancelled, self.limits.max_seconds, advice)
        try:
            return response_of(request, IMAGE, self._answer(request, watch))
        except Exception as error:
            return refusal(error)

    def _answer(self, request: Any, watch: Watch) -> Arrays:
        if self.missing:
            raise ServerError(self.missing)
        inputs = inputs_of(request, IMAGE)
        steps = answer_upload(inputs, self.cache, self.keys, self.limits, watch)
        step = advance(steps, None)
        while not isinstance(step, Done):
            step = advance(steps, infer(step, watch, request.trace()))
        return step.result
