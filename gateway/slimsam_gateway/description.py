"""What the gateway says of itself: OpenAPI, and the page of problems."""

from __future__ import annotations

import dataclasses
import html
from typing import Any, Final

from slimsam_client import GenerateSettings, __version__
from slimsam_client.clicks.request import SCHEMA
from slimsam_client.contract import ID_PATTERN
from slimsam_client.image.load import MAX_SIDE
from slimsam_gateway.problems import (
    CONTENT,
    FULL,
    HOST,
    IMAGE,
    INTERNAL,
    KINDS,
    MEDIA,
    MEDIA_TYPE,
    NOT_KEPT,
    ORIGIN,
    PATH,
    QUERY,
    SERVER,
    SLOW_UPLOAD,
    TIMEOUT,
    UNAUTHORIZED,
    Kind,
)
from slimsam_gateway.settings import GatewaySettings

Json = dict[str, Any]

DOCUMENTATION: Final = "https://slimsam-on-triton.example/blob/main/docs/gateway.md"
ALL_HAVE: Final = (
    QUERY,
    UNAUTHORIZED,
    ORIGIN,
    SLOW_UPLOAD,
    CONTENT,
    MEDIA,
    HOST,
    INTERNAL,
    SERVER,
    FULL,
    TIMEOUT,
)
"""A request that is passed on may end in one of these statuses, whatever it is."""


def about() -> Json:
    """Give the links of `/v1`."""
    return {
        "name": "slimsam-gateway",
        "version": __version__,
        "openapi": "/v1/openapi.json",
        "problems": PATH,
        "documentation": DOCUMENTATION,
    }


def explanation() -> str:
    """Give the page to which the `type` of each problem leads."""
    terms = "".join(
        f'<dt id="{kind.name}">{kind.status} {kind.name}'
        f"<dd>{html.escape(kind.title)}: {html.escape(kind.advice)}."
        for kind in KINDS
    )
    head = "<!doctype html><html lang=en><meta charset=utf-8><title>Problems</title>"
    return f"{head}<dl>{terms}</dl>"


def openapi(settings: GatewaySettings) -> Json:
    """Give the OpenAPI description of the requests that are passed on, and of /health.

    Args:
        settings: the gateway's, whose limits are said.
    """
    prompt = {name: value for name, value in SCHEMA.items() if name != "$schema"}
    picture = {
        "required": True,
        "description": f"The encoded picture, of at most {settings.max_image_bytes:,} bytes.",
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
    }
    waits = _parameter("timeout", "Seconds that all of it may take.", _number(settings.timeout))
    waits["schema"]["maximum"] = settings.max_timeout
    long = _parameter("timeout", "Seconds that all of it may take.", _number(settings.max_timeout))
    long["schema"]["maximum"] = settings.max_timeout
    paths = {
        "/v1/images": {
            "post": _operation(
                "upload",
                "Have the server keep a picture.",
                201,
                _ref("Image"),
                (IMAGE,),
                requestBody=picture,
                parameters=[waits, _side("height"), _side("width")],
            )
        },
        "/v1/images/{image_id}": {
            "parameters": [_IMAGE_ID],
            "delete": _operation(
                "forget", "Erase a picture and its masks.", 204, None, (), parameters=[waits]
            ),
        },
        "/v1/images/{image_id}/masks": {
            "parameters": [_IMAGE_ID],
            "post": _operation(
                "click",
                "Segment a picture that is kept.",
                200,
                _ref("Masks"),
                (NOT_KEPT,),
                requestBody={
                    "required": True,
                    "content": {"application/json": {"schema": _ref("Prompt")}},
                },
                parameters=[waits],
            ),
        },
        "/v1/images/{image_id}/everything": {
            "parameters": [_IMAGE_ID],
            "post": _operation(
                "everything",
                "Segment everything in a picture, whose file is sent once more.",
                200,
                _ref("Records"),
                (NOT_KEPT,),
                requestBody=picture,
                parameters=[long, _side("height"), _side("width"), *_settings()],
            ),
        },
        "/health": {
            "get": {
                "operationId": "health",
                "summary": "Whether the server serves what is asked for.",
                "security": [],
                "responses": {
                    "200": {"description": "It does.", **_json(_ref("Health"))},
                    "503": {"description": "It does not.", **_json(_ref("Health"))},
                },
            }
        },
    }
    components: Json = {"schemas": {**_SCHEMAS, "Prompt": prompt}}
    description: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "SlimSAM on Triton",
            "version": __version__,
            "summary": "Pictures and clicks in, masks out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "externalDocs": {"url": DOCUMENTATION},
        "paths": paths,
        "components": components,
    }
    if settings.keys is not None:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        description["security"] = [{"key": []}]
    return description


def _operation(
    name: str, summary: str, status: int, schema: Json | None, kinds: tuple[Kind, ...], **more: Any
) -> Json:
    well: Json = {"description": "All is well."}
    if schema is not None:
        well.update(_json(schema))
    responses = {str(status): well}
    for code in sorted({kind.status for kind in (*ALL_HAVE, *kinds)}):
        names = ", ".join(kind.name for kind in KINDS if kind.status == code)
        problem = {"content": {MEDIA_TYPE: {"schema": _ref("Problem")}}}
        responses[str(code)] = {"description": f"A problem: {names}.", **problem}
    return {"operationId": name, "summary": summary, "responses": responses, **more}


def _settings() -> list[Json]:
    parameters = []
    for setting in dataclasses.fields(GenerateSettings):
        kind = "integer" if isinstance(setting.default, int) else "number"
        low, high = setting.metadata["low"], setting.metadata["high"]
        schema = {"type": kind, "default": setting.default, "minimum": low, "maximum": high}
        parameters.append(_parameter(setting.name, setting.metadata["text"], schema))
    return parameters


def _side(name: str) -> Json:
    text = f"The {name} in pixels before the picture was reduced to 1024 pixels; both or none."
    schema = {"type": "integer", "minimum": 1, "maximum": MAX_SIDE}
    return _parameter(f"original_{name}", text, schema)


def _parameter(name: str, text: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": text, "schema": schema}


def _number(default: float) -> Json:
    return {"type": "number", "exclusiveMinimum": 0, "default": default}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: Json) -> Json:
    return {"content": {"application/json": {"schema": schema}}}


def _list(items: Json, text: str = "") -> Json:
    return {"type": "array", "items": items, **({"description": text} if text else {})}


def _object(**properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}


_TEXT: Final[Json] = {"type": "string"}
_INTEGER: Final[Json] = {"type": "integer"}
_NUMBER: Final[Json] = {"type": "number"}
_ID: Final[Json] = {"type": "string", "pattern": ID_PATTERN}
_IMAGE_ID: Final[Json] = {
    "name": "image_id",
    "in": "path",
    "required": True,
    "description": "The id of a picture that is kept: who has it may click on the picture.",
    "schema": _ID,
}
_MASK: Final[Json] = {
    "description": "The counts of COCO's compressed RLE; a MultiPolygon of GeoJSON; or base64.",
    "type": ["string", "object"],
}
_SCHEMAS: Final[Json] = {
    "Image": _object(id=_ID, width=_INTEGER, height=_INTEGER),
    "Masks": _object(
        format=_TEXT,
        masks=_list(_list(_MASK), "For each object, its masks."),
        scores=_list(_list(_NUMBER), "The model's own estimate of each mask's IoU."),
        boxes=_list(_list(_list(_INTEGER)), "x0, y0, x1, y1 in pixels, the latter two exclusive."),
        areas=_list(_list(_INTEGER), "Pixels of each mask."),
        mask_ids=_list(
            _list({**_ID, "type": ["string", "null"]}),
            "By each, a mask can be refined; null with keep_masks of false.",
        ),
    ),
    "Records": _object(
        width=_INTEGER,
        height=_INTEGER,
        records=_list({"type": "object"}, "As SAM's generator gives them, in its mode coco_rle."),
    ),
    "Problem": _object(type=_TEXT, title=_TEXT, status=_INTEGER, detail=_TEXT),
    "Health": _object(
        healthy={"type": "boolean"},
        live={"type": "boolean"},
        error={"type": ["string", "null"]},
        models=_list({"type": "object"}),
    ),
}
