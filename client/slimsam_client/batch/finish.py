"""The end of a batch: COCO's annotations of all shards, and a summary."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, Final

from slimsam_client.batch.answer import Answer
from slimsam_client.batch.plan import Plan, result_key
from slimsam_client.batch.shard_file import decode_answers
from slimsam_client.batch.store import Store
from slimsam_client.integrations.coco import coco_annotation

ANNOTATIONS: Final = "annotations.json"
SUMMARY: Final = "summary.json"
AHEAD: Final = 16
"""So many results are read at once: a store answers late, but to many."""


def finish(store: Store, plan: Plan) -> dict[str, Any]:
    """Put the results of all shards together, unless another worker has.

    Returns:
        `images` and `masks`, how many there are; and `failed`, the reason of each picture that has
        no masks, by its name.

    Raises:
        FileNotFoundError: a shard has no result.
    """
    try:
        summary: dict[str, Any] = json.loads(store.read(SUMMARY))
        return summary
    except FileNotFoundError:
        pass
    summary = {"images": 0, "masks": 0, "failed": {}}
    counted = _counted(results(store, plan), summary)
    if plan.task.format == "coco":
        with store.writing(ANNOTATIONS) as file:
            _write_coco(file, counted, store, plan)
    else:
        deque(counted, maxlen=0)
    store.replace(SUMMARY, json.dumps(summary, indent=1).encode())
    store.tidy()
    return summary


def results(store: Store, plan: Plan) -> Iterator[list[Answer]]:
    """Read the results of all shards in order; a few are in memory at once."""

    def read(shard: int) -> list[Answer]:
        return decode_answers(store.read(result_key(plan.task, shard)), plan.task)

    with ThreadPoolExecutor(AHEAD, "slimsam") as pool:
        reading: deque[Future[list[Answer]]] = deque()
        for shard in range(plan.shards):
            reading.append(pool.submit(read, shard))
            if len(reading) == AHEAD:
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()


def _counted(found: Iterator[list[Answer]], summary: dict[str, Any]) -> Iterator[list[Answer]]:
    """Pass results on, and count them in a summary: each is read as seldom as can be."""
    for answers in found:
        summary["images"] += len(answers)
        summary["masks"] += sum(len(answer.masks) for answer in answers)
        summary["failed"] |= {
            answer.image: answer.error for answer in answers if answer.error is not None
        }
        yield answers


def _write_coco(file: IO[bytes], counted: Iterator[list[Answer]], store: Store, plan: Plan) -> None:
    """Write a COCO dataset piece by piece: it may be larger than memory, so results are read twice.

    An image's id is its place in the batch, from 1; images that failed have none here.
    """
    head = {"info": {"description": "Masks of SlimSAM"}, "licenses": []}
    file.write(json.dumps(head)[:-1].encode() + b', "images": [')
    _write_items(file, _images(counted))
    file.write(b'], "annotations": [')
    _write_items(file, _annotations(results(store, plan)))
    file.write(b'], "categories": ' + json.dumps(plan.categories).encode() + b"}")


def _write_items(file: IO[bytes], items: Iterator[dict[str, Any]]) -> None:
    separator = b"\n"
    for item in items:
        file.write(separator + json.dumps(item).encode())
        separator = b",\n"


def _numbered(found: Iterator[list[Answer]]) -> Iterator[tuple[int, Answer]]:
    image_id = 0
    for answers in found:
        for answer in answers:
            image_id += 1
            if answer.error is None:
                yield image_id, answer


def _images(found: Iterator[list[Answer]]) -> Iterator[dict[str, Any]]:
    for image_id, answer in _numbered(found):
        yield {
            "id": image_id,
            "file_name": answer.image,
            "height": answer.height,
            "width": answer.width,
        }


def _annotations(found: Iterator[list[Answer]]) -> Iterator[dict[str, Any]]:
    annotation_id = 0
    for image_id, answer in _numbered(found):
        for mask in answer.masks:
            annotation_id += 1
            rle = {"size": [answer.height, answer.width], "counts": mask.counts}
            yield coco_annotation(
                annotation_id, image_id, mask.category_id, rle, mask.area, mask.bbox, mask.score
            )
