"""COCO's annotations, or a detector's results in its format, as prompts."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from slimsam_client.batch.locations import read
from slimsam_client.batch.matching import Matches
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
        SettingsError: it is something else, or has boxes that may be of either of two pictures.
        ImageError: it cannot be read.
    """
    text = read(source)
    ids = Matches(source, "image_id")
    try:
        content = json.loads(text)
        if isinstance(content, list):
            for picture in pictures:
                stem = PurePosixPath(picture.name).stem
                if stem.isdecimal():
                    ids.add(int(stem), picture.name)
            annotations, names = content, {}
        else:
            for image in content["images"]:
                ids.add(image["id"], str(image["file_name"]))
            annotations = content["annotations"]
            names = {int(kind["id"]): str(kind["name"]) for kind in content.get("categories", [])}
        boxes: dict[str, list[tuple[list[float], int]]] = defaultdict(list)
        for annotation in annotations:
            name = ids.get(annotation["image_id"])
            if name is not None:
                boxes[name].append((_corners(annotation["bbox"]), int(annotation["category_id"])))
    except SettingsError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(
            f"{source}: expected COCO's annotations or results with bbox and category_id, got "
            f"something else ({type(error).__name__}: {error!s:.200})"
        ) from error
    # Names are often without the folder, where it is the same for all.
    known = {picture.name for picture in pictures}
    last = Matches(source, "file_name")
    for picture in pictures:
        last.add(PurePosixPath(picture.name).name, picture.name)

    def prompts_of(picture: Picture) -> Prompts | None:
        found = boxes.get(picture.name)
        name = PurePosixPath(picture.name).name
        if not found and name in boxes and name not in known:
            last.get(name)
            found = boxes[name]
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
