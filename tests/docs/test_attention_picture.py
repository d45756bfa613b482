"""The picture of the attention kernel is what its script draws."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_picture_is_that_of_its_script() -> None:
    spec = importlib.util.spec_from_file_location("drawn", DOCS / "attention_picture.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.picture() == script.PICTURE.read_text("utf-8"), "run `make docs`"
