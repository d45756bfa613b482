"""The JSON document of one image's records, which says what it was made from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from slimsam_client.cli.status import UsageError
from slimsam_client.everything import GenerateSettings, MaskRecord


@dataclass(frozen=True, eq=False)
class RecordFile:
    """What everything mode found in one image.

    Attributes:
        image: name of the image's file; below the folder that was annotated, with slashes.
        size: (height, width) of the image in pixels, turned upright.
        sha256: of the image's file, in hexadecimal.
        settings: of everything mode.
        records: one for each mask.
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
            text: of the document.
            name: for the message.

        Raises:
            UsageError: it is none.
        """
        try:
            content = json.loads(text)
            return cls(
                str(content["image"]),
                (int(content["height"]), int(content["width"])),
                str(content["sha256"]),
                GenerateSettings(**content["settings"]),
                [MaskRecord.from_dict(record) for record in content["records"]],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{name}: expected records as `slimsam everything` writes them, "
                f"got something else ({type(error).__name__}: {error})"
            ) from error


def sha256(content: bytes) -> str:
    """Give the hash of an image file, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
