"""Detections of others as prompts: COCO's JSON, YOLO's labels, Parquet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from slimsam_client.batch.coco_prompts import coco_prompts
from slimsam_client.batch.parquet_prompts import parquet_prompts
from slimsam_client.batch.pictures import Picture
from slimsam_client.batch.prompts import Prompts
from slimsam_client.batch.sources import PARQUETS
from slimsam_client.batch.yolo_prompts import yolo_prompts
from slimsam_client.errors import SettingsError

BESIDE: Final = "beside"
"""In place of a file of detections: the prompts lie in the pictures' own Parquet or tar."""


@dataclass(frozen=True)
class Categories:
    """The names of categories, by their ids; those without one are called by their number."""

    names: dict[int, str]

    def of(self, pictures: Sequence[Picture]) -> list[dict[str, object]]:
        """Give COCO's list of them, with all that pictures' prompts mention."""
        ids = set(self.names)
        for picture in pictures:
            ids.update((picture.prompts.categories or ()) if picture.prompts is not None else ())
        return [
            {"id": number, "name": self.names.get(number, str(number))} for number in sorted(ids)
        ]


def with_detections(
    pictures: Sequence[Picture], source: str
) -> tuple[list[Picture], list[dict[str, object]]]:
    """Give the pictures with their prompts, and COCO's categories of these.

    A picture without detections has no prompts, and no masks in the result.

    Args:
        pictures: the pictures.
        source: a .json of COCO's annotations or results, a .parquet, a folder of YOLO's labels; or
            BESIDE.

    Raises:
        SettingsError: it is none of these, or of other pictures.
        ImageError: it cannot be read.
    """
    names: dict[int, str] = {}
    if source == BESIDE:
        found = [_given(picture, picture.prompts) for picture in pictures]
    else:
        prompts_of: Callable[[Picture], Prompts | None]
        if source.lower().endswith(".json"):
            prompts_of, names = coco_prompts(source, pictures)
        elif source.lower().endswith(PARQUETS):
            prompts_of = parquet_prompts(source)
        else:
            prompts_of = yolo_prompts(source, pictures)
        found = [_given(picture, prompts_of(picture)) for picture in pictures]
    if not any(len(picture.prompts or ()) for picture in found):
        raise SettingsError(
            f"{source}: expected prompts of the pictures, found none; are they of these pictures? "
            f"The first is called {pictures[0].name!r:.200}"
        )
    return found, Categories(names).of(found)


def _given(picture: Picture, prompts: Prompts | None) -> Picture:
    return replace(picture, prompts=Prompts(boxes=[]) if prompts is None else prompts)
