"""The sides of the comparison: each does the same things to the same scene, in its own way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import SamModel
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from benchmarks.comparison.mask_generation import make_pipeline
from benchmarks.comparison.scene import Scene
from benchmarks.in_process import InProcess
from slimsam_client import GenerateSettings, SlimSam
from slimsam_client.calls import Call
from slimsam_client.contract import DECODER, ENCODER, ENSEMBLE, NUM_MASKS, ModelSpec
from slimsam_client.prompts.encode import encode_prompts, prompt_arrays
from slimsam_client.transport.connection import Connection
from slimsam_client.transport.options import RequestOptions

if TYPE_CHECKING:  # it needs the runtimes of the plain exports, which nobody else does
    from benchmarks.comparison.plain_export import PlainModel

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Side:
    """What one side can do; each call computes anew.

    Attributes:
        precision: in which it computes, and whose bounds its answers must keep.
        encode: the photo's frame to `image_embeddings`.
        decode: clicks (P, 1, 2) on the known embedding to `masks` (P, 3, 256, 256), logits, and
            `scores` (P, 3).
        click: one click on the known embedding to `masks` (3, 768, 1024), bool, and `scores` (3,).
        segment: the JPEG and one click to `masks` (3, 3000, 4000), bool, and `scores` (3,).
        generate: everything mode on the photo: masks, or records of masks.
        ensemble: frame and one click to `masks` and `scores` as `decode` gives them.
    """

    precision: str
    encode: Callable[[], Arrays]
    decode: Callable[[NDArray[np.float32]], Arrays]
    click: Callable[[], Arrays]
    segment: Callable[[], Arrays]
    generate: Callable[[GenerateSettings], list[Any]] | None = None
    ensemble: Callable[[], Arrays] | None = None


def sam_model(scene: Scene, model: SamModel, with_pipeline: bool) -> Side:
    """`SamModel` as it is; the pipeline of everything mode runs on one of them."""

    def decode(embeddings: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        answer = model(image_embeddings=embeddings, input_points=points)
        return answer.pred_masks, answer.iou_scores

    generate = None
    if with_pipeline:
        pipeline = make_pipeline(model)
        generate = lambda settings: list(pipeline(scene.photo, settings)[0])  # noqa: E731
    return _theirs(scene, model.get_image_embeddings, decode, generate)


def plain_export(scene: Scene, model: PlainModel) -> Side:
    """The plain ONNX export in a runtime."""
    return _theirs(scene, model.encode, model.decode)


def _theirs(
    scene: Scene,
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    generate: Callable[[GenerateSettings], list[Any]] | None = None,
) -> Side:
    processor = SamImageProcessorPil()
    embeddings = torch.from_numpy(scene.embedding.image_embeddings.astype(np.float32))[None]

    def full_size(masks: Tensor, scores: Tensor, sizes: Any, input_sizes: Any) -> Arrays:
        (upscaled,) = processor.post_process_masks(masks, sizes, input_sizes)
        return {"masks": upscaled[0].numpy(), "scores": scores[0, 0].numpy()}

    def decode_clicks(points: NDArray[np.float32]) -> Arrays:
        masks, scores = decode(embeddings, torch.from_numpy(points)[None])
        return {"masks": masks[0].numpy(), "scores": scores[0].numpy()}

    def click() -> Arrays:
        masks, scores = decode(embeddings, torch.from_numpy(scene.clicks(1))[None])
        return full_size(
            masks, scores, [scene.embedding.original_size], [scene.embedding.input_size]
        )

    def segment() -> Arrays:
        image = Image.open(scene.jpeg)
        inputs = processor(images=image, return_tensors="pt")
        # The click is on the same thing as in the photo, and so at the same place of the frame.
        masks, scores = decode(
            encode(inputs["pixel_values"]), torch.from_numpy(scene.clicks(1))[None]
        )
        return full_size(masks, scores, inputs["original_sizes"], inputs["reshaped_input_sizes"])

    return Side(
        "fp32",
        lambda: {"image_embeddings": encode(scene.pixel_values)[0].numpy()},
        decode_clicks,
        click,
        segment,
        generate,
    )


def in_process(scene: Scene, repository: Path, precision: str) -> Side:
    """This project's artifacts, without a server."""
    model = InProcess(repository, precision)
    return _ours(scene, model, model.infer, precision)


@contextmanager
def served(scene: Scene, url: str) -> Iterator[Side]:
    """This project's server, through gRPC: its models, and the client for whole operations."""
    options = RequestOptions(timeout=600)
    connection = Connection(url, False)

    def infer(call: Call) -> Arrays:
        deadline = time.monotonic() + options.timeout
        attempts = connection.session.infer(call, options, deadline)
        with connection.run(attempts, options) as answer:
            return answer

    with SlimSam(url, timeout=600) as sam:
        try:
            yield _ours(scene, sam, infer, "fp32")
        finally:
            connection.close(options)


def _ours(
    scene: Scene, sam: SlimSam | InProcess, infer: Callable[[Call], Arrays], precision: str
) -> Side:
    frame: Arrays = {"image": scene.frame, "input_size": scene.input_size}
    embeddings: Arrays = {"image_embeddings": scene.embedding.image_embeddings}
    (point,) = scene.clicks(1)
    scale = np.divide(_size_of(scene.jpeg), scene.photo.shape[1::-1])

    def prompt(spec: ModelSpec, known: Arrays, points: NDArray[np.float32]) -> Arrays:
        size = scene.embedding
        prompts = encode_prompts(size.original_size, size.input_size, points)
        answer = infer(Call(spec, {**known, **prompt_arrays(prompts)}))
        masks, scores = answer["low_res_masks"], answer["iou_predictions"]
        return {"masks": masks[:, 1:NUM_MASKS], "scores": scores[:, 1:NUM_MASKS]}

    def click() -> Arrays:
        found = sam.predict(scene.embedding, points=point)
        return {"masks": found.masks, "scores": found.scores}

    def segment() -> Arrays:
        found = sam.segment(scene.jpeg, points=point * scale)
        return {"masks": found.masks, "scores": found.scores}

    return Side(
        precision,
        lambda: infer(Call(ENCODER, frame)),
        lambda points: prompt(DECODER, embeddings, points),
        click,
        segment,
        lambda settings: sam.generate(scene.photo, settings),
        lambda: prompt(ENSEMBLE, frame, scene.clicks(1)),
    )


def _size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        width, height = image.size
        return width, height
