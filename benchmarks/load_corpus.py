"""What perf_analyzer sends: the SDK's own requests, in its JSON format.

https://github.com/triton-inference-server/perf_analyzer/blob/main/docs/input_data.md
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from load_pictures import Picture, pictures
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import serialize_byte_tensor

from slimsam_client import GenerateSettings, SlimSam
from slimsam_client.calls import Call, Done, Steps, advance
from slimsam_client.operations import embed, generate, predict, segment

EMBEDDINGS = 8
"""Pictures that warm clicks are on: fewer than clicks, as users click a picture more than once."""


class Corpus:
    """An endless supply of requests for each workload, none of them twice.

    Args:
        url: host:port of the server, which encodes the pictures of warm clicks.
        settings: of everything mode.
        seed: equal seeds give equal requests.
    """

    def __init__(self, url: str, settings: GenerateSettings, seed: int = 0) -> None:
        self._url = url
        self._settings = settings
        self._rng = np.random.default_rng(seed)
        self._pictures = pictures(seed)
        self._calls = {
            "encoder": self._encoder(),
            "decoder": self._decoder(),
            "ensemble": self._ensemble(),
            "everything": self._everything(),
        }

    def write(self, workload: str, count: int, path: Path) -> None:
        """Write the next requests of a workload to a file."""
        # Line by line: a request has up to 4 MiB of text.
        with path.open("w") as file:
            file.write('{"data": [\n')
            for number, call in enumerate(islice(self._calls[workload], count)):
                file.write((",\n" if number else "") + json.dumps(to_json(call)))
            file.write("\n]}\n")

    def _encoder(self) -> Iterator[Call]:
        for picture in self._pictures:
            yield first_call(embed(picture))

    def _ensemble(self) -> Iterator[Call]:
        for picture in self._pictures:
            yield first_call(segment(picture, self._click(picture), None, None, None, True))

    def _decoder(self) -> Iterator[Call]:
        known = list(islice(self._pictures, EMBEDDINGS))
        with SlimSam(self._url, timeout=600) as sam:
            embeddings = [sam.embed(picture) for picture in known]
        for picture, embedding in cycle(zip(known, embeddings, strict=True)):
            yield first_call(predict(embedding, self._click(picture), None, None, None, True))

    def _everything(self) -> Iterator[Call]:
        for picture in self._pictures:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "JPEG", quality=90)
            yield first_call(generate(file.getvalue(), self._settings, None, on_server=True))

    def _click(self, picture: Picture) -> NDArray[np.float64]:
        """A point (1, 2) somewhere in the picture."""
        return self._rng.uniform(0, picture.shape[1::-1], (1, 2))


def first_call(steps: Steps[Any]) -> Call:
    """Take an operation's first request, and leave it there."""
    call = advance(steps, None)
    assert not isinstance(call, Done)
    return call


def to_json(call: Call) -> dict[str, Any]:
    """Write a request as perf_analyzer reads it: raw bytes in base64, shapes without batch axis."""
    return {
        name: {
            "content": {"b64": base64.b64encode(_raw(array)).decode()},
            "shape": list(array.shape),
        }
        for name, array in call.arrays.items()
    }


def _raw(array: NDArray[Any]) -> bytes:
    """As on the wire: strings have their length in front."""
    if array.dtype == np.object_:
        return bytes(serialize_byte_tensor(array).item())
    return array.tobytes()
