"""The prompt of `slimsam_click`: a JSON object, in pixels of the picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Literal

from numpy.typing import ArrayLike

from slimsam_client.answers import Choice
from slimsam_client.clicks.schema import check_value
from slimsam_client.contract import BACKGROUND, FOREGROUND, ID_PATTERN, MAX_POINTS, MAX_PROMPTS
from slimsam_client.errors import PromptError
from slimsam_client.prompts.encode import Prompts, encode_prompts
from slimsam_client.quoting import quoted, quoted_value

MaskFormat = Literal["rle", "png", "polygons", "bits", "logits"]
"""How an answer has its masks."""

MAX_PROMPT_BYTES: Final = 2**16
"""A prompt of the most objects and points, coordinates in full, has about half as many bytes."""


def _lists_of(item: dict[str, Any], title: str, most: int, description: str) -> dict[str, Any]:
    """Describe what one object has, or a list of such for several objects."""
    of_one = {"title": title, "type": "array", "items": item, "maxItems": most}
    return _several(of_one, title, description)


def _several(of_one: dict[str, Any], title: str, description: str) -> dict[str, Any]:
    of_several = {
        "title": f"a list for at most {MAX_PROMPTS} objects",
        "type": "array",
        "items": of_one,
        "maxItems": MAX_PROMPTS,
    }
    return {
        "title": f"{title}, or a list of such",
        "description": description,
        "anyOf": [of_one, of_several],
    }


_NUMBER: Final = {"title": "a number", "type": "number"}
_POINT: Final = {"title": "[x, y]", "type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}
_LABEL: Final = {
    "title": "1 (foreground) or 0 (background)",
    "type": "integer",
    "enum": [BACKGROUND, FOREGROUND],
}
_BOX: Final = {
    "title": "[x0, y0, x1, y1]",
    "type": "array",
    "items": _NUMBER,
    "minItems": 4,
    "maxItems": 4,
}

SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "a JSON object",
    "description": "The prompt of slimsam_click, for one object of a picture or for several. It "
    "has points, a box or a mask_id, or more than one of these. Coordinates are in pixels of the "
    "picture, its edges included.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "points": _lists_of(
            _POINT,
            f"a list of at most {MAX_POINTS - 1} points",
            MAX_POINTS - 1,
            "Points [x, y] of one object, or a list of points for each of several objects.",
        ),
        "labels": _lists_of(
            _LABEL,
            f"a list of at most {MAX_POINTS - 1} labels",
            MAX_POINTS - 1,
            "A label for each point, in the same lists: 1 for the object, 0 for what is not of it. "
            "Left out, all points are of the object.",
        ),
        "box": _several(
            _BOX,
            "[x0, y0, x1, y1]",
            "The box of one object, or a list with a box for each of several objects.",
        ),
        "mask_id": {
            "title": "the mask_id of an answer, 64 hexadecimal digits",
            "description": "The mask that is refined: the mask_id of an answer for this picture.",
            "type": "string",
            "pattern": ID_PATTERN,
        },
        "multimask_output": {
            "title": "true or false",
            "description": "Whether the model gives three candidates for each object, as for a "
            "click that may mean a shirt or a person, or one mask.",
            "type": "boolean",
            "default": True,
        },
        "masks": {
            "title": "'best' or 'all'",
            "description": "Whether the answer has the candidate of the highest score of each "
            "object, or all of them.",
            "type": "string",
            "enum": ["best", "all"],
            "default": "best",
        },
        "format": {
            "title": "'rle', 'png', 'polygons', 'bits' or 'logits'",
            "description": "How the answer has each mask: the counts of COCO's compressed RLE; a "
            "PNG of one bit per pixel; a MultiPolygon of GeoJSON, in pixels; bits, row after row "
            "without gaps, the first pixel in the highest bit; or the decoder's 256 x 256 logits "
            "in half precision, little-endian.",
            "type": "string",
            "enum": ["rle", "png", "polygons", "bits", "logits"],
            "default": "rle",
        },
        "keep_masks": {
            "title": "true or false",
            "description": "Whether the server keeps the logits of the answer's masks, so that "
            "each can be refined by its mask_id. Each makes an older one go, so false is for "
            "previews; the mask_ids of the answer are empty then.",
            "type": "boolean",
            "default": True,
        },
        "forget": {
            "title": "true or false",
            "description": "Whether the server erases the picture and its masks at once, in place "
            "of an answer; no other field is beside it.",
            "type": "boolean",
            "default": False,
        },
    },
}
"""What a prompt has to be, as JSON Schema: what is published, and what checks."""


@dataclass(frozen=True)
class ClickRequest:
    """A prompt, of a form that has been checked; whether it fits the picture, `encode` says.

    Attributes:
        points: lists of (x, y), of one object or of several.
        labels: a label for each point.
        box: x0, y0, x1, y1, of one object or of several.
        mask_id: the id of the mask that is refined.
        multimask_output: whether the model gives three candidates for each object.
        masks: whether the answer has the best of them or all.
        format: how it has them.
        keep_masks: whether the server keeps their logits.
        forget: whether the picture and its masks are erased instead.
    """

    points: ArrayLike | None = None
    labels: ArrayLike | None = None
    box: ArrayLike | None = None
    mask_id: str | None = None
    multimask_output: bool = True
    masks: Literal["best", "all"] = "best"
    format: MaskFormat = "rle"
    keep_masks: bool = True
    forget: bool = False

    @classmethod
    def from_json(cls, content: bytes, max_bytes: int = MAX_PROMPT_BYTES) -> ClickRequest:
        """Read a JSON object; fields that it does not have keep their defaults.

        Args:
            content: the object in UTF-8.
            max_bytes: longer ones are refused before they are read, which bounds all that is
                made of them.

        Raises:
            PromptError: it is not what SCHEMA says, or asks for something else beside `forget`.
        """
        if len(content) > max_bytes:
            raise PromptError(
                f"prompt: expected at most {max_bytes:,} bytes of JSON, got {len(content):,}; "
                "ask for fewer objects at once"
            )
        try:
            value = json.loads(
                content.decode(), object_pairs_hook=_each_once, parse_constant=_no_number
            )
        except (RecursionError, ValueError) as error:
            raise PromptError(
                f"prompt: expected a JSON object, got {quoted(str(error))}"
            ) from error
        check_value(value, SCHEMA, "prompt")
        if value.get("forget") and len(value) > 1:
            raise PromptError(
                f"forget: expected no other field beside it, got {quoted(', '.join(value))}"
            )
        return cls(**value)

    @property
    def choice(self) -> Choice:
        """Which masks the answer has."""
        return Choice(self.multimask_output, self.masks)

    def encode(
        self,
        original_size: tuple[int, int],
        input_size: tuple[int, int],
        mask_input: ArrayLike | None = None,
    ) -> Prompts:
        """Give the decoder's tensors, as the SDK does for the same points, labels and boxes.

        Args:
            original_size: (height, width) of the picture.
            input_size: (height, width) of the picture in the 1024 frame.
            mask_input: (256, 256) or (1, 256, 256), the logits of the mask that is refined.

        Raises:
            PromptError: they do not fit together, lie outside the picture, or there are none.
        """
        if mask_input is None and self.points is None and self.box is None:
            raise PromptError("prompt: expected points, a box or a mask_id, got none of them")
        return encode_prompts(
            original_size, input_size, self.points, self.labels, self.box, mask_input
        )


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field that is there twice")
    return fields


def _no_number(text: str) -> None:
    raise ValueError(f"{quoted_value(text)}, which is no number of JSON")
