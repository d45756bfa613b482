"""The masks of one picture of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import isnan
from typing import TypeVar

from slimsam_client.async_client import AsyncSlimSam
from slimsam_client.batch.answer import Answer, FoundMask, found_mask
from slimsam_client.batch.embeddings import KeptEmbeddings
from slimsam_client.batch.patience import SECONDS, outlast
from slimsam_client.batch.pictures import Picture
from slimsam_client.batch.plan import Task
from slimsam_client.batch.reading import read_picture
from slimsam_client.batch.store import Store
from slimsam_client.errors import OF_AN_IMAGE, StaleEmbeddingError
from slimsam_client.image.load import load_image
from slimsam_client.integrations.coco import CATEGORY_ID
from slimsam_client.results import Embedding

T = TypeVar("T")


@dataclass(frozen=True)
class Computing:
    """How a worker computes.

    Attributes:
        sam: the client.
        task: what is computed.
        digest: of the checkpoint that the batch has begun with; None where no server says.
        on_server: as for `SlimSam.generate`.
        timeout: as for `SlimSam.generate`.
        kept: embeddings of earlier batches, to be used and added to.
        patience: seconds that the server may be away.
    """

    sam: AsyncSlimSam
    task: Task
    digest: str | None
    on_server: bool | None = None
    timeout: float | None = None
    kept: KeptEmbeddings | None = None
    patience: float = SECONDS

    async def answer(self, picture: Picture, store: Store) -> Answer:
        """Read a picture and find its masks, or say why there are none.

        Args:
            picture: the picture.
            store: where the batch lies.

        Raises:
            SlimSamError: no other picture will fare better: the server is away, serves another
                checkpoint, or wants other headers; or the batch's own store fails.
        """
        try:
            content = await read_picture(picture, store)
            return await self._answer(picture, content)
        except OF_AN_IMAGE as error:
            reason = str(error).removeprefix("image bytes: ")
            return Answer(picture.name, error=reason)
        except MemoryError:
            return Answer(picture.name, error="expected a picture that fits into memory")

    async def _answer(self, picture: Picture, content: bytes) -> Answer:
        if self.task.prompts is None:
            size, masks = await self._everything(content)
        else:
            embedding = await self._embedding(content)
            size, masks = embedding.original_size, await self._prompted(picture, embedding)
        return Answer(picture.name, *size, masks=masks)

    async def _everything(self, content: bytes) -> tuple[tuple[int, int], list[FoundMask]]:
        height, width = (await asyncio.to_thread(load_image, content)).shape[:2]
        records = await self._outlast(
            lambda: self.sam.generate(
                content, self.task.settings, on_server=self.on_server, timeout=self.timeout
            )
        )
        return (height, width), [
            found_mask(
                record.rle,
                record.predicted_iou,
                CATEGORY_ID,
                None if isnan(record.stability_score) else record.stability_score,
            )
            for record in records
        ]

    async def _embedding(self, content: bytes) -> Embedding:
        if self.kept is not None:
            found = await asyncio.to_thread(self.kept.find, content)
            if found is not None:
                return found
        embedding = await self._outlast(lambda: self.sam.embed(content))
        if embedding.digest != self.digest and None not in (embedding.digest, self.digest):
            raise other_checkpoint(self.digest, embedding.digest)
        if self.kept is not None:
            await asyncio.to_thread(self.kept.keep, content, embedding)
        return embedding

    async def _prompted(self, picture: Picture, embedding: Embedding) -> list[FoundMask]:
        prompts = picture.prompts
        if not prompts:
            return []
        prediction = await self._outlast(
            lambda: self.sam.predict(
                embedding,
                **prompts.arguments(embedding.original_size),
                multimask_output=self.task.multimask_output,
                masks="rle",
            )
        )
        categories = prompts.categories or [CATEGORY_ID] * len(prompts)
        return [
            found_mask(rle, score, category)
            for rle, score, category in zip(
                prediction.rles, prediction.best_scores.tolist(), categories, strict=True
            )
        ]

    async def _outlast(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await outlast(self.sam, ask, self.patience)


def other_checkpoint(expected: str | None, got: str | None) -> StaleEmbeddingError:
    """Make the error for a server that has changed its checkpoint since the batch was begun."""
    return StaleEmbeddingError(
        f"expected the checkpoint that the batch was begun with, {str(expected)[:16]}, the server "
        f"has {str(got)[:16]}; serve the former, or give another folder for the results"
    )
