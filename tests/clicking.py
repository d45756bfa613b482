"""A client of the models of clicks that is as thin as one in another language: Triton's own."""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.request
from typing import Any, Final

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray

from slimsam_client.contract import CLICK, IMAGE, ModelSpec
from slimsam_client.encodings import from_rle
from slimsam_server import EmbeddedServer

Answer = dict[str, NDArray[Any]]
PUBLISHED_SECONDS: Final = 60
"""Within which a server publishes what it keeps, which it does every second while it is asked."""


def infer(client: Any, spec: ModelSpec, inputs: dict[str, NDArray[Any]]) -> Answer:
    """Ask a model; tensors without their batch axis."""
    tensors = []
    for tensor in spec.inputs:
        if tensor.name in inputs:
            array = inputs[tensor.name]
            array = array[None] if spec.batched else array
            tensors.append(triton.InferInput(tensor.name, list(array.shape), tensor.dtype))
            tensors[-1].set_data_from_numpy(array)
    answer = client.infer(spec.name, tensors, client_timeout=120)
    arrays = {tensor.name: answer.as_numpy(tensor.name) for tensor in spec.outputs}
    return {name: array[0] for name, array in arrays.items()} if spec.batched else arrays


def upload(client: Any, content: bytes, **more: NDArray[Any]) -> str:
    """Give the id of a picture."""
    inputs = {"image_bytes": np.array([content], np.object_), **more}
    image_id: bytes = infer(client, IMAGE, inputs)["image_id"][0]
    return image_id.decode()


def click(client: Any, image_id: str, **prompt: Any) -> Answer:
    """Give a prompt's masks."""
    inputs = {"image_id": np.array([image_id], np.object_)}
    inputs["prompt"] = np.array([json.dumps(prompt)], np.object_)
    return infer(client, CLICK, inputs)


def masks_of(answer: Answer, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode an answer's RLEs, (P, M, height, width)."""
    masks = [from_rle({"size": list(size), "counts": one}) for one in answer["masks"].ravel()]
    return np.reshape(masks, (*answer["masks"].shape, *size))


def kept_mask_bytes(server: EmbeddedServer, client: Any) -> float:
    """Bytes of the masks that a server keeps now."""

    def published(name: str) -> float:
        with urllib.request.urlopen(server.metrics_url, timeout=60) as answer:
            text = answer.read().decode()
        found = re.search(rf'^{name}{{kind="mask"}} (\S+)$', text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def published_anew() -> float:
        # What is published is at most a second old, and the oldest mask's age tells when it was.
        before = published("slimsam_cache_oldest_seconds")
        deadline = time.monotonic() + PUBLISHED_SECONDS
        while published("slimsam_cache_oldest_seconds") == before:
            assert time.monotonic() < deadline, f"the oldest mask's age stays {before}"
            with contextlib.suppress(triton.InferenceServerException):
                click(client, "0" * 64, points=[[1, 1]])
            time.sleep(0.1)
        return published("slimsam_cache_bytes")

    # Of the model's two instances one may have looked before, and publish what it saw after.
    found = published_anew()
    while found != (found := published_anew()):
        pass
    return found
