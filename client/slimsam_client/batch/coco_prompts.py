"""COCO's annotations, or a detector's results in its format, as prompts."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from slimsam_client.batch.locations import read
from slimsam_client.batch.pictures import Picture
from slimsam_client.batch.prompts import Prompts
from slimsam_client.errors import SettingsError


def coco_prompts(
    source: str, pictures: Sequence[Picture]
) -> tuple[Callable[[Picture], Prompts | None], dict[int, str]]:
    """Read the boxes of COCO's JSON.

    Args:
        source: path or URL of annotations, an object with `images` and `annotations`; or of
            results, a list of `image_id`, `category_id`, `bbox`. The image_id of results is the
            number that a picture's name is, as in COCO's own 000000000139.jpg.
        pictures: the pictures, for their names.

    Returns:
        What gives the prompts of a picture, by its `file_name` or the last part of that; and the
        names of categories.

    Raises:
        SettingsError: it is something else.
        ImageError: it cannot be read.
    """
    text = read(source)
    try:
        content = json.loads(text)
        if isinstance(content, list):
            ids = {
                int(stem): picture.name
                for picture in pictures
                if (stem := PurePosixPath(picture.name).stem).isdecimal()
            }
            annotations, names = content, {}
        else:
            ids = {image["id"]: str(image["file_name"]) for image in content["images"]}
            annotations = content["annotations"]
            names = {int(kind["id"]): str(kind["name"]) for kind in content.get("categories", [])}
        boxes: dict[str, list[tuple[list[float], int]]] = defaultdict(list)
        for annotation in annotations:
            name = ids.get(annotation["image_id"])
            if name is not None:
                boxes[name].append((_corners(annotation["bbox"]), int(annotation["category_id"])))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(
            f"{source}: expected COCO's annotations or results with bbox and category_id, got "
            f"something else ({type(error).__name__}: {error!s:.200})"
        ) from error
    # Names are often without the folder, where it is the same for all.
    last = Counter(PurePosixPath(picture.name).name for picture in pictures)

    def prompts_of(picture: Picture) -> Prompts | None:
        name = PurePosixPath(picture.name).name
        found = boxes.get(picture.name) or (boxes.get(name) if last[name] == 1 else None)
        if not found:
            return None
        return Prompts([box for box, _ in found], categories=[kind for _, kind in found])

    return prompts_of, names


def _corners(bbox: Any) -> list[float]:
    x, y, width, height = (float(number) for number in bbox)
    corners = [x, y, x + width, y + height]
    if not np.isfinite(corners).all():
        raise ValueError(f"bbox: expected finite numbers, got {bbox!r:.80}")
    return corners
