"""The JSON document of one image's records, which says what it was made from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from math import isfinite
from pathlib import PurePosixPath
from typing import Any

from slimsam_client.cli.status import UsageError
from slimsam_client.everything import GenerateSettings, MaskRecord


@dataclass(frozen=True, eq=False)
class RecordFile:
    """What everything mode found in one image.

    Attributes:
        image: name of the image's file; its path below the folder that was annotated, with
            slashes.
        size: (height, width) of the image in pixels, turned upright.
        sha256: SHA-256 of the image's file, in hexadecimal.
        settings: settings of everything mode.
        records: a record for each mask.
    """

    image: str
    size: tuple[int, int]
    sha256: str
    settings: GenerateSettings
    records: list[MaskRecord]

    def is_of(self, content: bytes, settings: GenerateSettings) -> bool:
        """Whether these are the records of an image file's content, found with these settings."""
        return self.sha256 == sha256(content) and self.settings == settings

    def to_json(self) -> str:
        """Write the document; its records have SAM's names, and masks as COCO's compressed RLE."""
        height, width = self.size
        return json.dumps(
            {
                "image": self.image,
                "height": height,
                "width": width,
                "sha256": self.sha256,
                "settings": dataclasses.asdict(self.settings),
                "records": [record.as_dict("coco_rle") for record in self.records],
            }
        )

    @classmethod
    def from_json(cls, text: bytes, name: str) -> RecordFile:
        """Read a document.

        Args:
            text: text of the document.
            name: name of the file, for the message.

        Raises:
            UsageError: the text is no such document.
        """
        try:
            content = json.loads(text, parse_float=_number, parse_constant=_number)
            return cls(
                _image(content["image"]),
                (_pixels(content["height"]), _pixels(content["width"])),
                str(content["sha256"]),
                GenerateSettings(**content["settings"]),
                [MaskRecord.from_dict(record) for record in _list(content["records"])],
            )
        except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
            raise UsageError(
                f"{name}: expected records as `slimsam everything` writes them, "
                f"got something else ({type(error).__name__}: {error!s:.200})"
            ) from error


def _image(name: Any) -> str:
    """An image's name, which leads nowhere else when it is joined to a folder's."""
    if not isinstance(name, str):
        raise TypeError(f"image: expected text, got {type(name).__name__}")
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"image: expected a name below the folder of images, got {name!r}")
    return name


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"records: expected a list, got {type(value).__name__}")
    return value


def _pixels(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"height, width: expected whole numbers above 0, got {value!r:.80}")
    return value


def _number(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"expected finite numbers, got {text:.80}")
    return value


def sha256(content: bytes) -> str:
    """Give the SHA-256 of an image file, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
