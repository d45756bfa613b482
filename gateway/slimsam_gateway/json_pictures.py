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
from slimsam_gateway.problems import CONTENT, Problem
from slimsam_gateway.settings import GatewaySettings

ADVICE: Final = "reduce the picture"
_IMAGE: Final = re.compile(rb'"image"\s*:\s*"([^"\\]*)"')
_DATA_URL: Final = re.compile(rb"data:[^,]{0,200};base64,")


def max_bytes(settings: GatewaySettings) -> int:
    """Give how long a body may be that has a picture of the most bytes, and a prompt."""
    return -(-settings.max_image_bytes // 3) * 4 + settings.max_prompt_bytes


def read(body: bytes, settings: GatewaySettings) -> tuple[bytes, dict[str, Any]]:
    """Read a JSON object with a picture in its field `image`.

    The picture is taken out before JSON is read: many megabytes of small objects in its place would
    take a hundred times as much memory.

    Args:
        body: the object; `image` is base64, with or without the head of a data URL.
        settings: limits of the picture, and of what is beside it.

    Returns:
        The encoded picture, and the object with an empty `image`.

    Raises:
        ImageError: there is no picture, it is no base64, or it is longer.
        PromptError: it is no JSON object.
        Problem: what is beside the picture is longer.
    """
    found = _IMAGE.search(body)
    rest = body if found is None else body[: found.start(1)] + body[found.end(1) :]
    most = settings.max_prompt_bytes
    if len(rest) > most:
        raise Problem(
            CONTENT, f"body: expected at most {most:,} bytes beside image, got {len(rest):,}"
        )
    try:
        content = json.loads(rest)
    except (RecursionError, ValueError) as error:
        raise PromptError(f"body: expected a JSON object, got {quoted(str(error))}") from error
    if not isinstance(content, dict):
        raise PromptError(f"body: expected a JSON object, got {quoted_value(content)}")
    if found is None or not found[1] or content.get("image") != "":
        shown = quoted_value(content.get("image"))
        raise ImageError(f"image: expected a picture in base64, without escapes, got {shown}")
    return _decoded(found[1], settings.max_image_bytes), content


def _decoded(text: bytes, most: int) -> bytes:
    head = _DATA_URL.match(text)
    try:
        picture = base64.b64decode(text[head.end() :] if head else text, validate=True)
    except binascii.Error as error:
        raise ImageError(
            f"image: expected base64, got {quoted_value(text[:80])} ({quoted(str(error))})"
        ) from error
    if len(picture) > most:
        raise ImageError(f"image: expected at most {most:,} bytes, got {len(picture):,}; {ADVICE}")
    return picture


def written(prompt: dict[str, Any], most: int) -> bytes:
    """Write a prompt, and check its form before any picture is sent for it.

    These tools have no way to refine a mask by its id, so none is kept.

    Raises:
        PromptError: it is wrong.
    """
    text = json.dumps({**prompt, "keep_masks": False}).encode()
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
