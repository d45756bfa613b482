"""Pictures within JSON, as annotation tools send them with every click."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, Final

from slimsam_client import ImageError, NotKeptError, PromptError
from slimsam_client.clicks.request import ClickRequest
from slimsam_client.contract import CLICK, IMAGE
from slimsam_client.quoting import quoted, quoted_value
from slimsam_client.relay import KeptImage, Relay, RelayedMasks
from slimsam_gateway.models import require
from slimsam_gateway.settings import GatewaySettings

ADVICE: Final = "reduce the picture"
_DATA_URL: Final = re.compile(r"data:[^,]{0,200};base64,", re.ASCII)


def max_bytes(settings: GatewaySettings) -> int:
    """Give how long a body may be that has a picture of the most bytes, and a prompt."""
    return -(-settings.max_image_bytes // 3) * 4 + settings.max_prompt_bytes


def read_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        PromptError: it is none.
    """
    try:
        content = json.loads(body)
    except (RecursionError, ValueError) as error:
        raise PromptError(f"body: expected a JSON object, got {quoted(str(error))}") from error
    if not isinstance(content, dict):
        raise PromptError(f"body: expected a JSON object, got {quoted_value(content)}")
    return content


def picture_of(content: dict[str, Any], most: int) -> bytes:
    """Give the encoded picture of the field `image`.

    Args:
        content: the body; `image` is base64, with or without the head of a data URL.
        most: bytes of a picture.

    Raises:
        ImageError: there is none, it is no base64, or it is longer.
    """
    text = content.get("image")
    if not isinstance(text, str) or not text:
        raise ImageError(f"image: expected a picture in base64, got {quoted_value(text)}")
    head = _DATA_URL.match(text)
    try:
        picture = base64.b64decode(text[head.end() :] if head else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(
            f"image: expected base64, got {quoted_value(text[:80])} ({quoted(str(error))})"
        ) from error
    if len(picture) > most:
        raise ImageError(f"image: expected at most {most:,} bytes, got {len(picture):,}; {ADVICE}")
    return picture


def written(prompt: dict[str, Any], most: int) -> bytes:
    """Write a prompt, and check its form before any picture is sent for it.

    Raises:
        PromptError: it is wrong.
    """
    text = json.dumps(prompt).encode()
    ClickRequest.from_json(text, most)
    return text


async def click(relay: Relay, picture: bytes, prompt: bytes) -> tuple[KeptImage, RelayedMasks]:
    """Have the server keep a picture, which it encodes once however often it comes, and click.

    Raises:
        Problem: the server has no model for it.
        SlimSamError: as the client has it.
    """
    await require(relay, IMAGE, CLICK)
    kept = await relay.upload(picture)
    try:
        return kept, await relay.click(kept.image_id, prompt)
    except NotKeptError:
        # Behind a balancer, another server may have taken the click; or others took the place.
        kept = await relay.upload(picture)
        return kept, await relay.click(kept.image_id, prompt)
