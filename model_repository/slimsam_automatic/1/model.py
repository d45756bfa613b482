"""Everything mode inside the server: drives the SDK's generator by calls to the other models."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from slimsam_client.calls import Done, advance
from slimsam_client.contract import AUTOMATIC, DECODED_MASKS, IMAGE, Arrays
from slimsam_client.serving.ahead import answered_ahead
from slimsam_client.serving.automatic import IN_GRAPH, MaskSettings, answer_request
from slimsam_client.serving.backend import (
    infer,
    info_folder,
    inputs_of,
    parameters_of,
    refusal,
    response_of,
)
from slimsam_client.serving.cache.errors import CacheError
from slimsam_client.serving.cache.pictures import PictureCache
from slimsam_client.serving.cache.settings import CacheSettings
from slimsam_client.serving.limits import Limits, Watch
from slimsam_client.serving.parameters import read_parameters


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration's parameters, and open the cache where there is slimsam_image."""
        parameters = parameters_of(args)
        self.limits = Limits.from_parameters(parameters)
        repository = Path(args["model_repository"]).parent
        self.in_graph = read_parameters(MaskSettings, parameters).masks_by == IN_GRAPH
        if self.in_graph and not (repository / DECODED_MASKS.name).is_dir():
            pb_utils.Logger.log_warn(f"there is no {DECODED_MASKS.name}: masks are made in NumPy")
            self.in_graph = False
        self.cache: PictureCache | None = None
        if (repository / IMAGE.name).is_dir():
            settings = read_parameters(CacheSettings, parameters)
            try:
                self.keys = settings.keys(info_folder(args))
                self.cache = settings.open()
            except CacheError as error:  # slimsam_image says so to whom it concerns
                pb_utils.Logger.log_warn(f"no embedding of an uploaded picture is used: {error}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its records, or with an error of its own."""
        return [self._response(request) for request in requests]

    def _response(self, request: Any) -> Any:
        watch = Watch(request.is_cancelled, self.limits.max_seconds)
        try:
            return response_of(request, AUTOMATIC, self._records(request, watch))
        except Exception as error:
            return refusal(error)

    def _records(self, request: Any, watch: Watch) -> Arrays:
        inputs = inputs_of(request, AUTOMATIC)
        trace = request.trace()
        ask = partial(answered_ahead, answer=partial(infer, watch=watch, trace=trace))
        steps = answer_request(
            inputs, self.limits, watch, self._embedding_of, ask if self.in_graph else None
        )
        step = advance(steps, None)
        while not isinstance(step, Done):
            step = advance(steps, infer(step, watch, trace))
        return step.result

    def _embedding_of(
        self, content: bytes, stated: tuple[int, int] | None
    ) -> NDArray[np.float16] | None:
        if self.cache is None:
            return None
        picture = self.cache.get_picture(self.keys.key_of(content, stated))
        return None if picture is None else picture.image_embeddings
