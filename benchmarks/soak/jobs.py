"""Requests of clients, each with the answer that one client alone got."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skimage import data

from slimsam_client import AsyncSlimSam, Embedding, Prediction, SlimSam, UploadedImage

TIMEOUT: Final = 120.0
KINDS: Final = ("click", "points", "box", "both", "many", "refine", "segment", "upload")


@dataclass(frozen=True, eq=False)
class Job:
    """One request and the answer that belongs to it."""

    kind: str
    image: NDArray[np.uint8] | Embedding | UploadedImage
    prompts: dict[str, Any]
    expected: Prediction

    async def run(self, sam: AsyncSlimSam) -> bool:
        """Send it; whether the answer is its own."""
        if isinstance(self.image, np.ndarray):
            answer = await sam.segment(self.image, **self.prompts)
        else:
            answer = await sam.predict(self.image, **self.prompts)
        return (
            answer.scores.shape == self.expected.scores.shape
            and float(np.abs(answer.scores - self.expected.scores).max()) < 1e-3
            and float((answer.masks != self.expected.masks).mean()) < 1e-3
        )


def mixed_jobs(url: str, most: int) -> list[Job]:
    """Ask one by one for every kind of prompt on several images, until there are enough."""
    rng = np.random.default_rng(0)
    jobs = []
    with SlimSam(url, timeout=TIMEOUT) as sam:
        images = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
        embeddings = [sam.embed(image) for image in images]
        uploads = [sam.upload(image) for image in images]
        for _ in range(3):
            for image, embedding, upload in zip(images, embeddings, uploads, strict=True):
                height, width = image.shape[:2]
                points = rng.uniform(5, (width - 5, height - 5), (6, 2)).round(1)
                box = [*(points.min(0) - 4), *(points.max(0) + 4)]
                click = sam.predict(embedding, points=points[:1])
                prompts: dict[str, dict[str, Any]] = {
                    "click": {"points": points[:1]},
                    "points": {"points": points[:3], "labels": [1, 0, 1]},
                    "box": {"box": box},
                    "both": {"points": points[:2], "box": box},
                    "many": {"points": [points[:1], points[1:4], points[4:]]},
                    "refine": {"points": points[:1], "mask_input": click.low_res_logits[0]},
                    "segment": {"points": points[:2]},
                    "upload": {"points": points[:3], "labels": [1, 0, 1]},
                }
                sources = {"segment": image, "upload": upload}
                for kind in KINDS:
                    source = sources.get(kind, embedding)
                    expected = sam.predict(embedding, **prompts[kind])
                    jobs.append(Job(kind, source, prompts[kind], expected))
                if len(jobs) >= most:
                    return jobs
    return jobs


def upload_jobs(url: str, pictures: int) -> list[Job]:
    """Upload so many pictures, and ask for a click and a box on each, by its embedding."""
    rng = np.random.default_rng(0)
    jobs = []
    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    with SlimSam(url, timeout=TIMEOUT) as sam:
        for index in range(pictures):
            photo = photos[index % len(photos)]
            image = np.ascontiguousarray(np.roll(photo, 3 * index, axis=1)[:256, :384])
            upload, embedding = sam.upload(image), sam.embed(image)
            height, width = image.shape[:2]
            points = rng.uniform(5, (width - 5, height - 5), (2, 2)).round(1)
            box = [*(points.min(0) - 4), *(points.max(0) + 4)]
            prompts: dict[str, dict[str, Any]] = {
                "upload": {"points": points[:1]},
                "upload, box": {"box": box, "masks": "best"},
            }
            for kind, prompt in prompts.items():
                jobs.append(Job(kind, upload, prompt, sam.predict(embedding, **prompt)))
    return jobs
