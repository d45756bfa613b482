"""YOLO's labels as prompts: a text file for each picture, a line for each box."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np

from slimsam_client.batch.locations import files_below, read
from slimsam_client.batch.pictures import Picture
from slimsam_client.batch.prompts import Prompts
from slimsam_client.errors import SettingsError


def yolo_prompts(folder: str) -> Callable[[Picture], Prompts | None]:
    """Give what reads the labels of a picture: those of `a/b.jpg` are in `a/b.txt` of the folder.

    A line is `class x y width height`, the box's middle and sides as shares of the picture's; what
    follows, such as a detector's confidence, is left alone.

    Raises:
        SettingsError: there is no such folder, or a line is another.
        ImageError: a file cannot be read.
    """
    root = folder.rstrip("/")
    try:
        known = {name for name in files_below(root) if name.endswith(".txt")}
    except FileNotFoundError as error:
        raise SettingsError(
            f"{folder}: expected a .json, a .parquet or a folder of labels, found none"
        ) from error

    def prompts_of(picture: Picture) -> Prompts | None:
        name = str(PurePosixPath(picture.name).with_suffix(".txt"))
        if name not in known:
            return None
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
