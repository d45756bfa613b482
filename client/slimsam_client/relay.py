"""Requests that a gateway relays: files, ids and prompts go to the server as they came.

No picture is decoded on the way, so what is relayed costs the gateway its bytes and no more, and
what the server may read of strangers' files is decided in one place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.async_client import AsyncSlimSam
from slimsam_client.calls import Call, Operation
from slimsam_client.clicks.upload import checked_id, ids_of
from slimsam_client.contract import AUTOMATIC, CLICK, ID_IMAGE_KEY, IMAGE, NOT_KEPT, ModelSpec
from slimsam_client.errors import OTHER_CONTRACT, ContractError, NotKeptError
from slimsam_client.everything import GenerateSettings, MaskRecord
from slimsam_client.everything.answer import from_tensors
from slimsam_client.everything.remote import bytes_tensor, everything_arrays, picture_arrays
from slimsam_client.results import image_key

FORGET: Final = b'{"forget":true}'
"""The prompt by which a picture is erased."""


@dataclass(frozen=True)
class KeptImage:
    """A picture that the server keeps.

    Attributes:
        image_id: the id by which the server finds it, 64 hexadecimal digits.
        original_size: (height, width) of the picture, in pixels of which its masks are.
    """

    image_id: str
    original_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class RelayedMasks:
    """P objects with M masks each, as `slimsam_click` answers.

    Attributes:
        masks: (P, M) of bytes, in the form that the prompt asks for.
        scores: (P, M) float32, the model's own estimate of each mask's IoU.
        boxes: (P, M, 4) int32, x0, y0, x1, y1 in pixels, right and lower edge exclusive; zeros for
            an empty mask.
        areas: (P, M) int64, pixels of each mask.
        mask_ids: (P, M) of str, by which masks are refined; of None, if the prompt has
            `keep_masks` of false.
    """

    masks: NDArray[np.object_]
    scores: NDArray[np.float32]
    boxes: NDArray[np.int32]
    areas: NDArray[np.int64]
    mask_ids: NDArray[np.object_]


class Relay:
    """Passes requests on to a server.

    Every method raises the client's errors: InvalidRequestError where the server refuses a
    picture, an id or a prompt, and the others of `slimsam_client.errors`.

    Args:
        sam: a client, whose options hold for all requests: `with_options` gives one for each.
    """

    def __init__(self, sam: AsyncSlimSam) -> None:
        self._sam = sam

    async def first_missing(self, *specs: ModelSpec) -> ModelSpec | None:
        """Give the first of some models that the server does not serve (yet), if there is one."""
        for spec in specs:
            asking = self._sam._connection.session.serves(self._sam._options, spec)
            if not await self._sam._connection.run(asking, self._sam._options):
                return spec
        return None

    async def upload(
        self, content: bytes, original_size: tuple[int, int] | None = None
    ) -> KeptImage:
        """Have the server keep a picture.

        Args:
            content: the encoded picture.
            original_size: (height, width) before the picture was reduced to the 1024 frame; None
                if it was not.
        """
        return await self._sam._run(_uploaded(content, original_size))

    async def click(self, image_id: str, prompt: bytes) -> RelayedMasks:
        """Segment a picture that the server keeps.

        Args:
            image_id: its id, 64 hexadecimal digits.
            prompt: the prompt as JSON.

        Raises:
            NotKeptError: the server keeps the picture, or the mask that is refined, no longer.
        """
        return await self._sam._run(_clicked(image_id, prompt))

    async def forget(self, image_id: str) -> None:
        """Have the server erase a picture and its masks, if it keeps them."""
        await self.click(image_id, FORGET)

    async def generate(
        self,
        image_id: str,
        content: bytes,
        settings: GenerateSettings,
        original_size: tuple[int, int] | None = None,
    ) -> tuple[KeptImage, list[MaskRecord]]:
        """Segment everything in a picture, within one timeout.

        The server keeps the picture afterwards, and has then encoded it once.

        Args:
            image_id: the id that the picture has to have.
            content: the encoded picture.
            settings: settings of everything mode.
            original_size: as for `upload`.

        Raises:
            NotKeptError: the picture has another id.
        """
        return await self._sam._run(_generated(image_id, content, settings, original_size))


def _uploaded(content: bytes, original_size: tuple[int, int] | None) -> Operation[KeptImage]:
    arrays = picture_arrays(content, original_size)
    answer = yield Call(IMAGE, arrays, image_key=image_key(content))
    height, width = answer["original_size"].tolist()
    if min(height, width) < 1 or original_size not in (None, (height, width)):
        raise ContractError(
            f"{IMAGE.name}: expected the output original_size of the picture that was sent, got "
            f"{[height, width]}; {OTHER_CONTRACT}"
        )
    return KeptImage(checked_id(answer["image_id"][0], IMAGE.name, "image_id"), (height, width))


def _clicked(image_id: str, prompt: bytes) -> Operation[RelayedMasks]:
    tensors = {"image_id": bytes_tensor([image_id]), "prompt": bytes_tensor([prompt])}
    answer = yield Call(CLICK, tensors, image_key=image_id[ID_IMAGE_KEY])
    shape = answer["masks"].shape
    for name in ("scores", "areas", "mask_ids"):
        if answer[name].shape != shape:
            raise _broken(name, f"{list(shape)}, as masks", f"{list(answer[name].shape)}")
    if answer["boxes"].shape != (*shape, 4):
        raise _broken("boxes", f"{[*shape, 4]}", f"{list(answer['boxes'].shape)}")
    if not np.isfinite(answer["scores"]).all():
        raise _broken("scores", "finite numbers", "NaN or infinity")
    return RelayedMasks(
        answer["masks"].copy(),
        answer["scores"].copy(),
        answer["boxes"].copy(),
        answer["areas"].copy(),
        np.full(shape, None, np.object_)
        if all(one == b"" for one in answer["mask_ids"].flat) and not _keeps_masks(prompt)
        else ids_of(answer["mask_ids"], CLICK.name, "mask_ids"),
    )


def _keeps_masks(prompt: bytes) -> bool:
    """Whether a prompt that a server has answered asks it to keep the masks."""
    try:
        fields = json.loads(prompt)
    except (RecursionError, ValueError):  # a server of this contract has refused it
        return True
    return not (isinstance(fields, dict) and fields.get("keep_masks") is False)


def _generated(
    image_id: str,
    content: bytes,
    settings: GenerateSettings,
    original_size: tuple[int, int] | None,
) -> Operation[tuple[KeptImage, list[MaskRecord]]]:
    kept = yield from _uploaded(content, original_size)
    if kept.image_id != image_id:
        # Or the server has changed its checkpoint, and with it the ids of all pictures.
        raise NotKeptError(
            f"{NOT_KEPT}picture {image_id}; the one that was sent has another id: upload it again, "
            "or send what was uploaded, byte for byte, and the original size if it has one"
        )
    arrays = everything_arrays(content, settings, original_size)
    answer = yield Call(AUTOMATIC, arrays, continues=True, image_key=image_key(content))
    return kept, from_tensors(answer, kept.original_size)


def _broken(name: str, expected: str, got: str) -> ContractError:
    return ContractError(
        f"{CLICK.name}: expected the output {name} as {expected}, got {got}; {OTHER_CONTRACT}"
    )
