"""Prompts on an image that the server keeps: a little JSON up, and RLEs or logits down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimsam_client.answers import Choice
from slimsam_client.calls import Call, Operation
from slimsam_client.clicks.upload import ids_of, upload_again
from slimsam_client.contract import (
    ABSENT,
    CLICK,
    FOREGROUND,
    ID_PATTERN,
    LOW_RES_SIZE,
    MAX_PROMPTS,
    NOT_KEPT,
    Arrays,
)
from slimsam_client.encodings import Rle, from_rle, rle_area
from slimsam_client.errors import (
    OTHER_CONTRACT,
    ContractError,
    MaskError,
    NotKeptError,
    PromptError,
)
from slimsam_client.everything.remote import bytes_tensor
from slimsam_client.prompts.encode import check_count, is_single
from slimsam_client.prompts.values import Boxes, Points, check_mask_input, check_prompts
from slimsam_client.quoting import quoted_value
from slimsam_client.results import Prediction, UploadedImage

QUESTION: Final = replace(
    CLICK,
    outputs=tuple(
        tensor for tensor in CLICK.outputs if tensor.name in ("masks", "scores", "mask_ids")
    ),
)
"""Boxes and areas are not asked for: masks have them."""
ASKS: Final = 16
"""So often a prompt is asked before its image, or its mask, is called lost. A miss is a lookup."""
SENDS: Final = (2, 6, 11)
"""After these of the asks the image is sent again: when three servers by turns have been asked, and
later ones after four and five, so that not all of them come to the same of two or three servers."""
CHECKPOINTS: Final = 3
"""So often the requests of one prompt are begun, each time because another checkpoint answered."""


def predict_uploaded(
    image: UploadedImage,
    points: ArrayLike | None,
    labels: ArrayLike | None,
    box: ArrayLike | None,
    mask_input: ArrayLike | None,
    choice: Choice,
    keep_masks: bool = True,
) -> Operation[Prediction]:
    """Segment an image that the server keeps; arguments: see `SlimSam.predict`."""
    mask_id = mask_input if isinstance(mask_input, str) else None
    if mask_id is not None and not re.fullmatch(ID_PATTERN, mask_id):
        raise PromptError(
            "mask_input: expected logits, or a mask_id as mask_ids of a prediction has it, "
            f"got {quoted_value(mask_id)}"
        )
    size = image.original_size
    # The same checks as for an embedding, with the same messages; the server makes the tensors.
    given, boxes = check_prompts(points, labels, box, size)
    mask = None if mask_id else check_mask_input(mask_input)
    check_count(given, boxes, mask_id is not None or mask is not None)
    single = is_single(given, boxes)
    form = "logits" if choice.masks is None else "rle"
    asked: dict[str, Any] = {
        "multimask_output": choice.multimask_output,
        "masks": "all" if choice.masks in ("all", None) else "best",
        "format": form,
    }
    if mask_id is not None:
        asked["mask_id"] = mask_id
    if not keep_masks:  # servers of before there was the field refuse it
        asked["keep_masks"] = False
    tensors: Arrays = {} if mask is None else {"mask_input": mask}
    requests = []
    for count, prompt in _prompts(given, boxes):
        text = json.dumps({**prompt, **asked}, separators=(",", ":"))
        requests.append(((count, choice.count), {"prompt": bytes_tensor([text]), **tensors}))
    answers = yield from _ask_one_checkpoint(image, requests)
    return _to_prediction(answers, choice, single, size, keep_masks)


def _prompts(points: Points | None, boxes: Boxes | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the fields of each request's prompt, and how many objects it has."""
    if points is None and boxes is None:
        yield 1, {}
        return
    total = len(points.coords if points is not None else boxes.corners)  # type: ignore[union-attr]
    for start in range(0, total, MAX_PROMPTS):
        part = slice(start, start + MAX_PROMPTS)
        fields: dict[str, Any] = {}
        there = None if points is None else points.labels[part] != ABSENT
        if points is not None and there is not None and there.any():
            pairs = list(zip(points.coords[part], points.labels[part], there, strict=True))
            fields["points"] = [coords[is_there].tolist() for coords, _, is_there in pairs]
            if (points.labels[part][there] != FOREGROUND).any():
                fields["labels"] = [labels[is_there].tolist() for _, labels, is_there in pairs]
        if boxes is not None:
            fields["box"] = boxes.corners[part].tolist()
        yield min(MAX_PROMPTS, total - start), fields


def _ask_one_checkpoint(
    image: UploadedImage, requests: list[tuple[tuple[int, int], Arrays]]
) -> Operation[list[Arrays]]:
    """Ask all of them, and from the first one on again when another checkpoint answers.

    Args:
        image: what they are on.
        requests: the shape (P, M) of each one's answer, and its inputs.

    Raises:
        ContractError: an answer is of another shape.
        NotKeptError: none answered them all.
    """
    for _ in range(CHECKPOINTS):
        answers: list[Arrays] = []
        first_id = None
        for shape, arrays in requests:
            image_id, answer = yield from _ask(image, arrays)
            first_id = first_id or image_id
            if image_id != first_id:
                break
            _check_shapes(answer, shape)
            answers.append(answer)
        else:
            return answers
    raise NotKeptError(
        f"{CLICK.name}: expected one checkpoint to answer the {len(requests)} requests of this "
        f"prompt, got another before the last, {CHECKPOINTS} times; ask again when the servers "
        "have changed theirs"
    )


def _ask(image: UploadedImage, arrays: Arrays) -> Operation[tuple[str, Arrays]]:
    """Ask, and again if the server keeps the image, or the mask, no longer, or never has.

    The answer comes with the id that was asked with, which is of one checkpoint.

    An address may lead to several servers by turns. One of the next asks then comes to that which
    keeps it, which spares sending the image; and if none does, it is sent. A proxy that goes by the
    image's key sends all of these to one server. Of a list the client itself asks one after the
    other, from the one that the image is sent to.

    A server that misses the mask has the image. It is not sent then, for no server would know the
    mask by that.
    """
    turn = 0
    missed: NotKeptError | None = None
    of_mask = False
    for ask in range(ASKS):
        image_id = image.image_id  # another thread may change it
        tensors = {"image_id": bytes_tensor([image_id]), **arrays}
        try:
            answer: Arrays = yield Call(
                QUESTION, tensors, None, ask > 0, image_key=image.key, turn=turn
            )
            return image_id, {name: array.copy() for name, array in answer.items()}
        except NotKeptError as error:
            # What a mask's prompt was, the client does not know; another server may keep it.
            if not of_mask:
                missed, of_mask = error, f"{NOT_KEPT}mask" in str(error)
        turn += 1
        if ask in SENDS and not of_mask:
            yield from upload_again(image)
            turn = 0
    assert missed is not None
    raise missed


def _check_shapes(answer: Arrays, shape: tuple[int, int]) -> None:
    for name, array in answer.items():
        if array.shape != shape:
            raise ContractError(
                f"{CLICK.name}: expected the output {name} as {list(shape)}, "
                f"got {list(array.shape)}; {OTHER_CONTRACT}"
            )


def _to_prediction(
    answers: list[Arrays], choice: Choice, single: bool, size: tuple[int, int], kept: bool
) -> Prediction:
    nothing = np.zeros((0, choice.count))
    scores = np.concatenate([nothing.astype(np.float32), *(one["scores"] for one in answers)])
    encoded = np.concatenate([nothing.astype(np.object_), *(one["masks"] for one in answers)])
    found = np.concatenate([nothing.astype(np.object_), *(one["mask_ids"] for one in answers)])
    ids = ids_of(found, CLICK.name, "mask_ids") if kept else None
    logits = masks = rles = None
    if choice.masks is None:
        logits = _logits(encoded)
    elif choice.masks == "rle":
        rles = [_checked(one, size) for one in encoded[:, 0]]
    else:
        masks = np.empty((*encoded.shape, *size), np.bool_)
        for place in np.ndindex(encoded.shape):
            masks[place] = from_rle(_checked(encoded[place], size))
    if single:
        scores, ids = scores[0], None if ids is None else ids[0]
        masks = None if masks is None else masks[0]
        logits = None if logits is None else logits[0]
    return Prediction(masks, scores, logits, rles, ids)


def _checked(counts: Any, size: tuple[int, int]) -> Rle:
    """Give a mask that is one of the image."""
    rle: Rle = {"size": list(size), "counts": counts}
    try:
        rle_area(rle)
    except MaskError as error:
        raise _broken("RLEs of the image", str(error)) from error
    return rle


def _logits(encoded: NDArray[np.object_]) -> NDArray[np.float32]:
    shape = (*encoded.shape, LOW_RES_SIZE, LOW_RES_SIZE)
    if any(len(one) != 2 * LOW_RES_SIZE**2 for one in encoded.ravel()):
        raise _broken("logits in half precision", "others")
    content = np.frombuffer(b"".join(encoded.ravel()), "<f2").astype(np.float32)
    if not np.isfinite(content).all():
        raise _broken("finite logits", "NaN or infinity")
    return content.reshape(shape)


def _broken(expected: str, got: str) -> ContractError:
    return ContractError(
        f"{CLICK.name}: expected the output masks as {expected}, got {got}; {OTHER_CONTRACT}"
    )
