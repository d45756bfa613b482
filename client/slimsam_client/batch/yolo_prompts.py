"""YOLO's labels as prompts: a text file for each picture, a line for each box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import numpy as np

from slimsam_client.batch.locations import files_below, read
from slimsam_client.batch.matching import Matches
from slimsam_client.batch.pictures import Picture
from slimsam_client.batch.prompts import Prompts
from slimsam_client.errors import SettingsError


def yolo_prompts(folder: str, pictures: Sequence[Picture]) -> Callable[[Picture], Prompts | None]:
    """Give what reads the labels of a picture: those of `a/b.jpg` are in `a/b.txt` of the folder.

    A line is `class x y width height`, the box's middle and sides as shares of the picture's; what
    follows, such as a detector's confidence, is left alone.

    Args:
        folder: path or URL of the folder.
        pictures: the pictures, for their names.

    Raises:
        SettingsError: there is no such folder, a line is another, or two pictures' labels would be
            in one file.
        ImageError: a file cannot be read.
    """
    root = folder.rstrip("/")
    try:
        known = {name for name in files_below(root) if name.endswith(".txt")}
    except FileNotFoundError as error:
        raise SettingsError(
            f"{folder}: expected a .json, a .parquet or a folder of labels, found none"
        ) from error
    labels = Matches(folder, "labels")
    for picture in pictures:
        labels.add(_label(picture), picture.name)

    def prompts_of(picture: Picture) -> Prompts | None:
        name = _label(picture)
        if name not in known:
            return None
        labels.get(name)
        boxes, categories = [], []
        for number, line in enumerate(read(f"{root}/{name}").splitlines(), 1):
            if not line.strip():
                continue
            try:
                category = int(line.split()[0])
                x, y, width, height = (float(word) for word in line.split()[1:5])
                if not np.isfinite([x, y, width, height]).all():
                    raise ValueError("a number is not finite")
            except ValueError as error:
                raise SettingsError(
                    f"{root}/{name}, line {number}: expected class x y width height, got "
                    f"{line!r:.80}"
                ) from error
            boxes.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
            categories.append(category)
        return Prompts(boxes, categories=categories, relative=True)

    return prompts_of


def _label(picture: Picture) -> str:
    return str(PurePosixPath(picture.name).with_suffix(".txt"))
