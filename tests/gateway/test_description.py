"""The OpenAPI description and the pages beside it say what the gateway does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from running_gateway import Gateway

from slimsam_client.version import __version__
from slimsam_gateway import GatewaySettings
from slimsam_gateway.app import PASSED_ON
from slimsam_gateway.description import openapi
from slimsam_gateway.problems import KINDS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return openapi(GatewaySettings())


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def checked(description: dict[str, Any], name: str, content: Any) -> None:
    schema = {**description, "$ref": f"#/components/schemas/{name}"}
    Draft202012Validator(schema).validate(content)


def test_it_has_every_address(description: dict[str, Any]) -> None:
    described = {
        (method.upper(), path)
        for path, methods in description["paths"].items()
        for method in methods
        if method != "parameters"
    }
    assert described == {*PASSED_ON, ("GET", "/health")}
    ids = [
        operation["operationId"]
        for methods in description["paths"].values()
        for name, operation in methods.items()
        if name != "parameters"
    ]
    assert len(set(ids)) == len(ids)


def test_its_schemas_are_some(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1")
    schemas = description["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    assert references(description) == {f"#/components/schemas/{name}" for name in schemas}


def test_answers_are_as_described(
    gateway: Gateway, picture: bytes, description: dict[str, Any]
) -> None:
    served = gateway.http.get("/v1/openapi.json").json()
    assert served == openapi(GatewaySettings())
    kept = gateway.http.post("/v1/images", content=picture).json()
    checked(served, "Image", kept)
    url = f"/v1/images/{kept['id']}"
    for form in ("rle", "png", "polygons", "bits", "logits"):
        prompt = {"points": [[90, 90]], "masks": "all", "format": form}
        checked(served, "Prompt", prompt)
        checked(served, "Masks", gateway.http.post(f"{url}/masks", json=prompt).json())
    answer = gateway.http.post(f"{url}/everything?points_per_side=3", content=picture)
    checked(served, "Records", answer.json())
    checked(served, "Health", gateway.http.get("/health").json())
    checked(served, "Problem", gateway.http.get("/nothing").json())


def test_every_status_of_a_problem_is_described(description: dict[str, Any]) -> None:
    expected = {str(kind.status) for kind in KINDS} - {"405"}  # of what is no operation
    found: set[str] = set()
    for methods in description["paths"].values():
        for name, operation in methods.items():
            if name != "parameters":
                found |= set(operation["responses"])
    assert expected <= found


def test_the_links(gateway: Gateway) -> None:
    about = gateway.http.get("/v1").json()
    assert about["version"] == __version__
    assert gateway.http.get(about["openapi"]).status_code == 200
    page = about["documentation"].partition("/blob/main/")[2]
    assert (ROOT / page).is_file()
    problems = gateway.http.get(about["problems"])
    assert problems.headers["content-type"].startswith("text/html")
    named = re.findall(r'id="([\w-]+)"', problems.text)
    assert named == [kind.name for kind in KINDS]
