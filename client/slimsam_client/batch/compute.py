"""The masks of one picture of a batch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from math import isnan
from typing import Final

from slimsam_client.async_client import AsyncSlimSam
from slimsam_client.batch.answer import Answer, FoundMask, found_mask
from slimsam_client.batch.embeddings import KeptEmbeddings
from slimsam_client.batch.patience import FAILED, SECONDS, outlast
from slimsam_client.batch.pictures import Picture
from slimsam_client.batch.plan import Task
from slimsam_client.errors import (
    ImageError,
    InvalidRequestError,
    MaskError,
    PromptError,
    StaleEmbeddingError,
)
from slimsam_client.image.load import load_image
from slimsam_client.integrations.coco import CATEGORY
from slimsam_client.results import Embedding

OF_THE_PICTURE: Final = (ImageError, InvalidRequestError, MaskError, PromptError, *FAILED)
"""After these errors the next picture may succeed; after any other, none will."""


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

    async def answer(self, picture: Picture) -> Answer:
        """Read a picture and find its masks, or say why there are none.

        Raises:
            SlimSamError: no other picture will fare better: the server is away, serves another
                checkpoint, or wants other headers.
        """
        try:
            content = await asyncio.to_thread(picture.read)
            return await outlast(self.sam, lambda: self._answer(picture, content), self.patience)
        except OF_THE_PICTURE as error:
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
        records = await self.sam.generate(
            content, self.task.settings, on_server=self.on_server, timeout=self.timeout
        )
        category = int(str(CATEGORY["id"]))
        return (height, width), [
            found_mask(
                record.rle,
                record.predicted_iou,
                category,
                None if isnan(record.stability_score) else record.stability_score,
            )
            for record in records
        ]

    async def _embedding(self, content: bytes) -> Embedding:
        if self.kept is not None:
            found = await asyncio.to_thread(self.kept.find, content)
            if found is not None:
                return found
        embedding = await self.sam.embed(content)
        if embedding.digest != self.digest and None not in (embedding.digest, self.digest):
            raise other_checkpoint(self.digest, embedding.digest)
        if self.kept is not None:
            await asyncio.to_thread(self.kept.keep, content, embedding)
        return embedding

    async def _prompted(self, picture: Picture, embedding: Embedding) -> list[FoundMask]:
        if not picture.prompts:
            return []
        prediction = await self.sam.predict(
            embedding,
            **picture.prompts.arguments(embedding.original_size),
            multimask_output=self.task.multimask_output,
            masks="rle",
        )
        categories = picture.prompts.categories or [int(str(CATEGORY["id"]))] * len(picture.prompts)
        return [
            found_mask(rle, score, category)
            for rle, score, category in zip(
                prediction.rles, prediction.best_scores.tolist(), categories, strict=True
            )
        ]


def other_checkpoint(expected: str | None, got: str | None) -> StaleEmbeddingError:
    """Make the error for a server that has changed its checkpoint since the batch was begun."""
    return StaleEmbeddingError(
        f"expected the checkpoint that the batch was begun with, {str(expected)[:16]}, the server "
        f"has {str(got)[:16]}; serve the former, or give another folder for the results"
    )
