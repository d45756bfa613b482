"""What perf_analyzer sends: the SDK's own requests, in its JSON format.

https://github.com/triton-inference-server/perf_analyzer/blob/main/docs/input_data.md
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import serialize_byte_tensor

from benchmarks.first_call import first_call
from benchmarks.load.perf_analyzer import LoadError
from benchmarks.load.pictures import Picture, pictures
from slimsam_client import GenerateSettings, SlimSam, UploadedImage
from slimsam_client.calls import Call
from slimsam_client.clicks.upload import upload
from slimsam_client.operations import embed, generate, predict, segment_in_one_call

EMBEDDINGS = 8
"""Pictures that warm clicks are on: fewer than clicks, as users click a picture more than once."""


class Corpus:
    """An endless supply of requests for each workload, none twice but uploads that are hits.

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
            "click": self._kept_click(),
            "upload": self._upload(0),
            "upload_90": self._upload(90),
            "upload_100": self._upload(100),
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
            yield first_call(segment_in_one_call(picture, self._click(picture)))

    def _decoder(self) -> Iterator[Call]:
        known = list(islice(self._pictures, EMBEDDINGS))
        with SlimSam(self._url, timeout=600) as sam:
            embeddings = [sam.embed(picture) for picture in known]
        for picture, embedding in cycle(zip(known, embeddings, strict=True)):
            yield first_call(predict(embedding, self._click(picture), None, None, None, True))

    def _kept_click(self) -> Iterator[Call]:
        known = list(islice(self._pictures, EMBEDDINGS))
        kept = self._keep([_to_jpeg(picture) for picture in known])
        for picture, image in cycle(zip(known, kept, strict=True)):
            click = self._click(picture)
            yield first_call(predict(image, click, None, None, None, True, "rle"))

    def _upload(self, hits: int) -> Iterator[Call]:
        """Upload pictures, of which so many of a hundred are kept already."""
        misses = 100 - hits
        known = islice(self._pictures, EMBEDDINGS if hits else 0)
        files = [_to_jpeg(picture) for picture in known]
        self._keep(files)
        kept = cycle(files)
        for number in count():
            is_miss = number * misses % 100 < misses
            yield first_call(upload(_to_jpeg(next(self._pictures)) if is_miss else next(kept)))

    def _keep(self, files: list[bytes]) -> list[UploadedImage]:
        if not files:
            return []
        with SlimSam(self._url, timeout=600) as sam:
            kept = [sam.upload(file) for file in files]
        images = [image for image in kept if isinstance(image, UploadedImage)]
        if len(images) < len(files):
            raise LoadError(
                f"{self._url}: expected a server with slimsam_image and slimsam_click, got one "
                "without; name the other --workloads"
            )
        return images

    def _everything(self) -> Iterator[Call]:
        for picture in self._pictures:
            yield first_call(generate(_to_jpeg(picture), self._settings, None, on_server=True))

    def _click(self, picture: Picture) -> NDArray[np.float64]:
        """A point (1, 2) somewhere in the picture."""
        return self._rng.uniform(0, picture.shape[1::-1], (1, 2))


def to_json(call: Call) -> dict[str, Any]:
    """Write a request as perf_analyzer reads it: raw bytes in base64, shapes without batch axis."""
    return {
        name: {
            "content": {"b64": base64.b64encode(_raw(array)).decode()},
            "shape": list(array.shape),
        }
        for name, array in call.arrays.items()
    }


def _to_jpeg(picture: Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90)
    return file.getvalue()


def _raw(array: NDArray[Any]) -> bytes:
    """As on the wire: strings have their length in front."""
    if array.dtype == np.object_:
        return bytes(serialize_byte_tensor(array).item())
    return array.tobytes()
