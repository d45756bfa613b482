"""Prompts of slimsam_click: one schema, the tensors of the SDK's own prompts, and every mistake."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from installed import require

from slimsam_client import PromptError
from slimsam_client.answers import Choice
from slimsam_client.clicks.request import MAX_PROMPT_BYTES, SCHEMA, ClickRequest
from slimsam_client.clicks.schema import check_value
from slimsam_client.contract import MAX_POINTS, MAX_PROMPTS
from slimsam_client.image.load import resized_size
from slimsam_client.prompts.encode import encode_prompts, prompt_arrays

PUBLISHED = Path(__file__).parents[2] / "docs/click-prompt.schema.json"
SIZE = (300, 451)
ID = "0123456789abcdef" * 4


def read(**fields: Any) -> ClickRequest:
    return ClickRequest.from_json(json.dumps(fields).encode())


def test_the_schema_is_published() -> None:
    expected = json.dumps(SCHEMA, indent=2) + "\n"
    assert PUBLISHED.read_text("utf-8") == expected, "write it: make docs"


def test_defaults_are_those_of_the_schema() -> None:
    defaults = vars(ClickRequest())
    assert list(defaults) == list(SCHEMA["properties"])
    for name, schema in SCHEMA["properties"].items():
        assert defaults[name] == schema.get("default"), name
    assert read(box=[1, 2, 3, 4]) == ClickRequest(box=[1, 2, 3, 4])
    assert read(mask_id=ID, masks="all", multimask_output=False).choice == Choice(False, "all")


PROMPTS: dict[str, dict[str, Any]] = {
    "a click": {"points": [[220, 130.25]]},
    "clicks": {"points": [[1, 2], [0.1 + 0.2, 300], [451, 0]], "labels": [1, 0, 1]},
    "a box": {"box": [1.1, 2.2, 333.3, 1e2]},
    "a click in a box": {"points": [[100, 90]], "labels": [0], "box": [1, 2, 333, 299]},
    "an object in lists": {"points": [[[220, 130]]], "labels": [[0]]},
    "objects": {"points": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]},
    "objects of different lengths": {
        "points": [[[1, 2]], [[5, 6], [7, 8], [9, 10]]],
        "labels": [[1], [0, 1, 0]],
    },
    "boxes": {"box": [[0, 0, 5, 5], [0.5, 1, 7, 300]]},
    "boxes and some points": {"points": [[[1, 2]], []], "box": [[0, 0, 5, 5], [0, 1, 7, 300]]},
    "no objects": {"points": []},
    "no boxes": {"box": []},
    "less than a pixel outside": {"points": [[-0.5, 300.75]]},
    "the most": {
        "points": np.random.default_rng(0)
        .uniform(0, 299, (MAX_PROMPTS, MAX_POINTS - 2, 2))
        .tolist(),
        "box": np.tile([1.0, 2.0, 3.0, 4.0], (MAX_PROMPTS, 1)).tolist(),
    },
    "whole numbers as floats": {"points": [[1.0, 2.0]], "labels": [1.0]},
}


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("refined", [False, True])
def test_tensors_equal_those_of_the_sdk(name: str, refined: bool) -> None:
    fields = PROMPTS[name]
    mask = np.random.default_rng(1).normal(size=(256, 256)).astype(np.float16) if refined else None
    valid = resized_size(*SIZE)
    expected = encode_prompts(SIZE, valid, mask_input=mask, **fields)
    content = json.dumps({**fields, **({"mask_id": ID} if refined else {})}).encode()
    assert len(content) < MAX_PROMPT_BYTES
    prompts = ClickRequest.from_json(content).encode(SIZE, valid, mask)
    assert prompts.single == expected.single
    for tensor, array in prompt_arrays(expected).items():
        assert prompt_arrays(prompts)[tensor].tobytes() == array.tobytes(), tensor


def test_a_mask_alone_is_a_prompt() -> None:
    mask = np.ones((256, 256), np.float16)
    prompts = read(mask_id=ID).encode(SIZE, resized_size(*SIZE), mask)
    assert prompts.mask_input.min() == 1 and prompts.single


MISTAKES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "prompt: expected a JSON object, got Expecting value"),
    "not UTF-8": (b'{"\xff": 1}', "prompt: expected a JSON object, got 'utf-8' codec can't"),
    "UTF-16": ('{"points": [[1, 2]]}'.encode("utf-16"), "prompt: expected a JSON object, got"),
    "a list": (b"[1]", r"prompt: expected a JSON object, got \[1\]"),
    "null": (b"null", "prompt: expected a JSON object, got None"),
    "deep": (b'{"points": ' + b"[" * 60_000, "prompt: expected a JSON object, got "),
    "deep objects": (b'{"a":' * 12_000, "prompt: expected a JSON object, got "),
    "long": (b" " * (MAX_PROMPT_BYTES + 1), r"at most 65,536 bytes of JSON, got 65,537"),
    "twice": (b'{"box": [1, 2, 3, 4], "box": [1, 2, 3, 5]}', "a field that is there twice"),
    "NaN": (b'{"points": [[NaN, 1]]}', "got 'NaN', which is no number of JSON"),
    "infinity": (b'{"points": [[-Infinity, 1]]}', "got '-Infinity', which is no number of JSON"),
    "an unknown field": (
        b'{"point": [[1, 2]]}',
        "^prompt: expected points, labels, box, mask_id, multimask_output, masks, format, "
        "keep_masks, forget; got 'point'$",
    ),
    "a field of a long name": (b'{"' + b"x" * 9000 + b'": 1}', r"got 'x+\.\.\.x+'$"),
    "a flat point": (b'{"points": [1, 2]}', r"points\[0\]: expected \[x, y\], got 1$"),
    "a number": (
        b'{"points": 7}',
        "points: expected a list of at most 63 points, or a list of such, got 7$",
    ),
    "null for points": (b'{"points": null}', "points: expected a list .* got None$"),
    "a point of one": (b'{"points": [[1, 2], [3]]}', r"points\[1\]: expected \[x, y\], got \[3\]$"),
    "text in an object": (
        b'{"points": [[[1, 2]], [[1, 2], ["3", 4]]]}',
        r"points\[1\]\[1\]\[0\]: expected a number, got '3'$",
    ),
    "a truth value": (b'{"points": [[true, 2]]}', r"points\[0\]\[0\]: expected a number, got True"),
    "too many points": (
        json.dumps({"points": [[1, 2]] * 64}).encode(),
        "points: expected a list of at most 63 points, got ",
    ),
    "too many objects": (
        json.dumps({"box": [[0, 0, 1, 1]] * 17}).encode(),
        "box: expected a list for at most 16 objects, got ",
    ),
    "lists too deep": (
        b'{"points": [[[[1, 2]]]]}',
        r"points\[0\]: expected \[x, y\], got \[\[\[1, 2\]\]\]$",
    ),
    "label 2": (
        b'{"points": [[1, 2]], "labels": [2]}',
        r"labels\[0\]: expected 1 \(foreground\) or 0 \(background\), got 2$",
    ),
    "a true label": (b'{"points": [[1, 2]], "labels": [true]}', r"labels\[0\]: .* got True$"),
    "a box of three": (b'{"box": [1, 2, 3]}', r"box: expected \[x0, y0, x1, y1\], got \[1, 2, 3\]"),
    "another mask": (b'{"mask_id": "best"}', "mask_id: expected the mask_id of an answer, 64 "),
    "a mask as a number": (b'{"mask_id": 7}', "mask_id: expected the mask_id of an answer, 64 "),
    "another format": (
        b'{"box": [1, 2, 3, 4], "format": "jpeg"}',
        "format: expected 'rle', 'png', 'polygons', 'bits' or 'logits', got 'jpeg'$",
    ),
    "a format in a list": (b'{"format": ["rle"]}', r"format: expected .* got \['rle'\]$"),
    "text for a truth value": (
        b'{"multimask_output": "false"}',
        "multimask_output: expected true or false, got 'false'$",
    ),
    "1 for true": (b'{"multimask_output": 1}', "multimask_output: expected true or false, got 1$"),
    "a click beside forgetting": (
        b'{"forget": true, "points": [[1, 2]]}',
        "^forget: expected no other field beside it, got forget, points$",
    ),
    "another choice": (b'{"masks": "rle"}', "masks: expected 'best' or 'all', got 'rle'$"),
}
"""Not the form that a prompt has."""
WRONG: dict[str, tuple[bytes, str]] = {
    "none": (b"{}", "^prompt: expected points, a box or a mask_id, got none of them$"),
    "labels alone": (b'{"labels": [1]}', "^prompt: expected points, a box or a mask_id, got none"),
    "outside": (b'{"points": [[452.5, 1]]}', r"point 0: expected \(x, y\) within 0..451"),
    "huge": (b'{"points": [[1e999, 1]]}', "point 0: expected finite numbers"),
    "of 400 digits": (b'{"points": [[1' + b"0" * 400 + b", 1]]}", "points: expected an array of"),
    "width and height": (b'{"box": [300, 200, 20, 20]}', "is it x, y, width, height"),
    "too few labels": (b'{"points": [[1, 2], [3, 4]], "labels": [1]}', "labels: expected one per"),
    "objects that do not fit": (
        b'{"points": [[1, 2]], "box": [[0, 0, 5, 5]]}',
        "expected as many boxes",
    ),
    "one point too many": (
        json.dumps({"points": [[1, 2]] * 63, "box": [1, 2, 3, 4]}).encode(),
        "expected at most 64 points per prompt, box corners and SAM's padding point included",
    ),
}
"""Of the right form, but not of the picture."""


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_say_where_what_was_expected_and_what_came(name: str) -> None:
    content, said = MISTAKES[name]
    with pytest.raises(PromptError, match=said) as caught:
        ClickRequest.from_json(content)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", WRONG)
def test_prompts_that_are_not_of_the_picture(name: str) -> None:
    content, said = WRONG[name]
    request = ClickRequest.from_json(content)
    with pytest.raises(PromptError, match=said):
        request.encode(SIZE, resized_size(*SIZE))


def leaves(value: Any) -> list[tuple[Any, Any]]:
    """Places in lists and objects, as containers and keys."""
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    return [
        place
        for key, item in inner
        for place in ((value, key), *(leaves(item) if isinstance(item, list | dict) else ()))
    ]


def test_what_is_taken_is_what_the_published_schema_takes() -> None:
    require("jsonschema")
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(json.loads(json.dumps(SCHEMA)))
    chance = random.Random(0)
    good = [*PROMPTS.values(), {"mask_id": ID, "format": "png"}, {"masks": "all"}, {}]
    good = [fields for fields in good if len(str(fields)) < 500]
    values = [0, 1, 2, 1.5, -3, True, None, "rle", ID, [], [1], [[1, 2]], {}, [[]], [1, 2, 3, 4]]
    taken = 0
    for fields in good:
        for _ in range(150):
            document = copy.deepcopy(fields)
            for _ in range(chance.randrange(3)):
                places = leaves(document)
                if places and chance.random() < 0.7:
                    container, key = chance.choice(places)
                    container[key] = copy.deepcopy(chance.choice(values))
                else:
                    name = chance.choice([*SCHEMA["properties"], "other"])
                    document[name] = copy.deepcopy(chance.choice(values))
            try:
                check_value(document, SCHEMA, "prompt")
                accepted = True
            except PromptError:
                accepted = False
            assert accepted == validator.is_valid(document), document
            taken += accepted
    assert taken > 500
