"""A web service around the asynchronous client: post an image once, then clicks and boxes on it.

pip install "./client[polygons]" fastapi uvicorn cachetools
python examples/fastapi_service.py --url localhost:8001 --port 8000

curl --data-binary @photo.jpg localhost:8000/images
    {"id":"5891b5b5...","width":1024,"height":768}
curl --json '{"points": [[420, 310]]}' 'localhost:8000/images/5891b5b5.../masks?format=polygons'
    {"masks":[{"score":0.97,"area":20300,"box":[821,183,1003,331],"polygons":{...}}]}

An image's id is the hash of its bytes, so its embedding is never taken for another image's; restart
the service when the server gets another model. Embeddings not used for longest make room for new
ones: then the answer is 404, and the image is to be posted again. Every request may say how many
seconds it waits, `?timeout=2.5`. What takes longer, or has nobody waiting for it any more, is
cancelled down to the server's queue.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import uvicorn
from cachetools import LRUCache
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slimsam_client import (
    AsyncSlimSam,
    Embedding,
    ImageError,
    ModelNotReadyError,
    Prediction,
    PromptError,
    RequestCancelledError,
    RequestTimeoutError,
    ServerUnavailableError,
    SlimSamError,
    load_image,
)
from slimsam_client.encodings import to_box, to_geojson, to_json_rle, to_png, to_polygons, to_rle

MAX_PIXELS = 16_000_000  # of an image; its masks take as many bytes each
MAX_PROMPTS = 16  # in one request
PROMPT_BYTES = 64 * 2**10  # of one request
MAX_SECONDS = 60.0  # of one request
MAX_CONNECTIONS = 200
EMBEDDING_BYTES = 2 * 256 * 64 * 64
STATUS = {
    ImageError: 400,
    PromptError: 400,
    ServerUnavailableError: 503,
    ModelNotReadyError: 503,
    RequestCancelledError: 503,
    RequestTimeoutError: 504,
}  # of all else that the client raises: 502
FORMATS: dict[str, Callable[[NDArray[np.bool_]], Any]] = {
    "rle": lambda mask: to_json_rle(to_rle(mask)),
    "polygons": lambda mask: to_geojson(to_polygons(mask)),
}

Result = TypeVar("Result")
Timeout = Annotated[float, Query(gt=0, le=MAX_SECONDS, description="seconds")]
log = logging.getLogger("uvicorn.error")


class Prompts(BaseModel):
    """One prompt or several, as `SlimSam.predict` takes them."""

    model_config = ConfigDict(extra="forbid")
    points: list[Any] | None = Field(None, max_length=MAX_PROMPTS)
    labels: list[Any] | None = Field(None, max_length=MAX_PROMPTS)
    box: list[Any] | None = Field(None, max_length=MAX_PROMPTS)
    multimask_output: bool = True


class Embeddings:
    """The embeddings used last, up to a number of bytes, by the hash of their image's bytes."""

    def __init__(self, sam: AsyncSlimSam, limit: int) -> None:
        self._sam = sam
        self._cache: LRUCache[str, Embedding] = LRUCache(
            limit, lambda embedding: embedding.image_embeddings.nbytes
        )
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def get(self, key: str) -> Embedding:
        """Give an embedding, which the caller then holds, whatever is dropped meanwhile."""
        embedding = self._cache.get(key)
        if embedding is None:
            raise HTTPException(404, "this image is not here, or no longer: post it (again)")
        return embedding

    async def encode(self, data: bytes) -> tuple[str, Embedding]:
        """Encode an image that is not there yet."""
        key = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        # Who posts the same image meanwhile waits, and takes over if the first one goes away.
        async with self._locks.setdefault(key, asyncio.Lock()):
            embedding = self._cache.get(key)
            if embedding is None:
                image = await asyncio.to_thread(load_image, data, MAX_PIXELS)
                embedding = self._cache[key] = await self._sam.embed(image)
        return key, embedding


class BodyLimit:
    """Refuses a larger body: at once if it says so, else when too much has come.

    The limit is that of an image where one is posted, and of prompts elsewhere.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._image_limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        expected = int(Headers(scope=scope).get("content-length", 0)) if "headers" in scope else 0
        limit = self._image_limit if scope.get("path") == "/images" else PROMPT_BYTES
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = {} if expected > limit else await receive()
            received += len(message.get("body", b""))
            if max(expected, received) > limit:
                raise HTTPException(413, f"expected at most {limit} bytes")
            return message

        await self._app(scope, limited, send)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the one client that all requests share, and close it."""
    async with AsyncSlimSam(app.state.options.url, timeout=MAX_SECONDS) as sam:
        app.state.sam = sam
        app.state.embeddings = Embeddings(sam, app.state.options.cache_bytes)
        yield


app = FastAPI(title="SlimSAM", lifespan=lifespan)


@app.post("/images")
async def post_image(request: Request, timeout: Timeout = 10.0) -> dict[str, Any]:
    """Encode the image that is the body: any format that Pillow reads."""
    encoding = app.state.embeddings.encode(await request.body())
    key, embedding = await while_awaited(request, encoding, timeout)
    height, width = embedding.original_size
    return {"id": key, "width": width, "height": height}


@app.post("/images/{key}/masks", response_model=None)
async def post_prompts(
    request: Request,
    key: str,
    prompts: Prompts,
    format: Literal["rle", "polygons", "png"] = "rle",
    timeout: Timeout = 10.0,
) -> dict[str, Any] | Response:
    """Give the best mask for each prompt."""
    predicting = predict(app.state.embeddings.get(key), prompts, format)
    return await while_awaited(request, predicting, timeout)


@app.get("/health")
async def health() -> dict[str, str]:
    """Segment something: a Triton that has lost a model's process may still call itself ready."""
    sam = app.state.sam.with_options(timeout=10.0)
    await sam.segment(np.zeros((8, 8, 3), np.uint8), points=[(4, 4)])
    return {"status": "ok"}


@app.exception_handler(SlimSamError)
async def answer_error(request: Request, error: SlimSamError) -> JSONResponse:
    """Tell callers of their mistakes, and the log of the server's."""
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 502)
    if status < 500:
        return JSONResponse({"detail": str(error)}, status)
    log.warning("%s: %s", request.url.path, error)
    return JSONResponse({"detail": type(error).__doc__}, status, {"Retry-After": "2"})


@app.exception_handler(ClientDisconnect)
async def answer_nobody(request: Request, error: ClientDisconnect) -> Response:
    """End the request of a caller who has gone away, in the middle of the body or later."""
    return Response(status_code=499)  # as nginx calls it


async def while_awaited(
    request: Request, work: Coroutine[Any, Any, Result], timeout: float
) -> Result:
    """Give the work's result; cancel it if time is up, or the caller has gone away."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0] in done:
            return tasks[0].result()
        if tasks[1] in done:
            raise ClientDisconnect
        raise HTTPException(504, f"expected an answer within {timeout:g} s, got none")
    finally:
        for task in tasks:
            task.cancel()


async def predict(embedding: Embedding, prompts: Prompts, format: str) -> dict[str, Any] | Response:
    """Ask for masks and encode them."""
    prediction = await app.state.sam.predict(embedding, **prompts.model_dump())
    if format != "png":
        return {"masks": await asyncio.to_thread(described, prediction, format)}
    if prediction.masks.ndim > 3:
        raise PromptError("png: expected one prompt, got several")
    return Response(await asyncio.to_thread(to_png, prediction.best_masks), media_type="image/png")


def described(prediction: Prediction, format: str) -> list[dict[str, Any]]:
    """Give each prompt's best mask as JSON can have it."""
    masks = prediction.best_masks.reshape(-1, *prediction.masks.shape[-2:])
    return [
        {
            "score": float(score),
            "area": int(mask.sum()),
            "box": to_box(mask),
            format: FORMATS[format](mask),
        }
        for mask, score in zip(masks, prediction.scores.max(-1).ravel(), strict=True)
    ]


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="localhost:8001", help="of the server's gRPC service")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--cache-bytes", type=int, default=256 * 2**20, help="2 MiB an image")
    parser.add_argument("--upload-bytes", type=int, default=20 * 2**20, help="of one image")
    app.state.options = parser.parse_args()
    if app.state.options.cache_bytes < EMBEDDING_BYTES:
        parser.error(f"--cache-bytes: expected at least {EMBEDDING_BYTES}, for one image")

    app.add_middleware(BodyLimit, limit=app.state.options.upload_bytes)
    uvicorn.run(
        app, host=app.state.options.host, port=app.state.options.port,
        limit_concurrency=MAX_CONNECTIONS, timeout_graceful_shutdown=5,
    )  # fmt: skip


if __name__ == "__main__":
    main()
